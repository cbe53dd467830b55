/* SPDX-License-Identifier: MIT
 *
 * The machine, as the kernel sees it: the one contract that a port meets. Three parts:
 *
 *   <arch/layout.h>  constants for the linker script and assembly, over arch/address_map.h
 *   <arch/pte.h>     page-table entries as whole words (pure C, no asm; unit-tested on the host)
 *   this file        what the port does (hal_*), and what it calls upwards
 *
 * Inline hooks are declared here before <arch/cpu.h> defines them, so a wrong signature does not compile.
 *
 * Entry. A port's start.S is entered by its boot protocol anywhere in physical memory (4 KiB aligned), builds
 * early page tables that hold exactly two things: the image, by 4 KiB entries, readable, writable and
 * executable, at KERNEL_BASE; and two empty level-0 tables under FIXMAP_BASE (early_fixmap). It zeroes .bss,
 * sets up a boot stack (HAL_STACK_SIZE bytes in .bss), points the CPU's per-CPU register at percpu_boot and
 * calls kmain at its linked address with interrupts masked. Everything after that is shared until it asks
 * hal_*. EFI's entry is boot/efi's; start.S has efi_leave, which turns its end into the native entry.
 */
#ifndef ARCH_HAL_H
#define ARCH_HAL_H

#include <arch/layout.h>
#include <mm/pt.h>
#include <mm/types.h>

struct boot_info;
struct percpu;
struct hal_regs;

/* ---- Boot ------------------------------------------------------------------------------------------- */

/* Puts what the boot protocol handed over into info: firmware table addresses, e820 entries, command line,
 * modules. handoff is the protocol's pointer (riscv64, aarch64: the device tree; x86_64: the PVH start
 * info); not that of the EFI stub, which kernel/early_efi.c reads. May use early_map. ERR_CORRUPT: the hand-off is not what the protocol says. Boot CPU, once. */
MUST_CHECK status_t hal_boot_info(paddr_t handoff, struct boot_info *info);

/* The first thing kmain does: control registers that do not depend on the machine (write protect, NX, trap
 * vectors for faults during boot). Early console output is allowed afterwards. Each CPU calls it for itself;
 * the boot CPU once more when cpu->emergency_top is known (0 before). */
void hal_cpu_init(struct percpu *cpu);

/* A console that needs no description and works before any mapping, or NULL (SBI; COM1 where it answers). */
struct console;
struct console *hal_console_early(void);

/* The console that the ISA's platform has when no firmware table names one, or NULL. */
struct console *hal_console_default(void);

/* ---- MMU -------------------------------------------------------------------------------------------- */

/* What this CPU's MMU offers; the other CPUs are taken to be alike. */
struct mmu_features {
    unsigned min_levels, max_levels; /* paging modes, 3 … 5; all between exist */
    unsigned max_leaf;               /* highest level with leaves: 1 (2 MiB) or 2 (1 GiB) */
    unsigned paddr_bits;             /* physical addresses; at most PTE_PADDR_BITS */
};
struct mmu_features hal_mmu_probe(void);

/* "Sv39", "4-level", …, for 3 to 5 levels, offered or not. */
const char *hal_mmu_mode_name(unsigned levels);

/* Loads a root on this CPU and flushes its TLB, global entries included. The image, the current stack and
 * the fixmap must be mapped alike in it. May change the paging mode (riscv64 Sv39 → Sv57, x86_64 4 → 5
 * level; early tables use the smallest). */
void hal_mmu_activate(paddr_t root, unsigned levels);

/* Drops this CPU's translations of [start, start + size), global ones included. Both are frame aligned. */
void hal_tlb_flush_local(vaddr_t start, uint64_t size);

static inline void hal_pte_sync(void);

/* ---- CPU -------------------------------------------------------------------------------------------- */

static inline struct percpu *hal_percpu(void);
void hal_percpu_set(struct percpu *cpu);

static inline uint64_t hal_irq_save(void);
static inline void hal_irq_restore(uint64_t state);
static inline void hal_irq_enable(void);
static inline bool hal_irq_enabled(void);
static inline void hal_cpu_relax(void);

/* Waits for an interrupt with interrupts enabled; returns after one was handled, interrupts enabled. No
 * wake-up is lost between the caller's last look (made with interrupts masked) and the wait. */
static inline void hal_idle(void);

/* Free-running counters of this CPU. hal_instructions counts retired instructions exactly under -icount; 0
 * where the machine has no such counter. */
static inline uint64_t hal_cycles(void);
static inline uint64_t hal_instructions(void);

/* The counter under hal_time_ns, which all CPUs share; and what a difference of two readings lasted: 0 before
 * hal_irq_init. */
static inline uint64_t hal_ticks(void);
uint64_t hal_ticks_to_ns(uint64_t ticks);

/* Stops this CPU for good, interrupts masked. */
_Noreturn void hal_cpu_halt(void);

/* Sets up interrupts on the boot CPU: the controller and timer that the machine's description names
 * (drivers/irqchip, drivers/timer); hal_irq_init_cpu is the part that each other CPU does for itself, and
 * halts that CPU if it cannot. ERR_UNSUPPORTED, ERR_NO_MEMORY, ERR_NOT_FOUND: not possible; the reason is
 * logged. */
MUST_CHECK status_t hal_irq_init(void);
void hal_irq_init_cpu(void);

/* Raises the inter-processor interrupt on a CPU (its hardware id is in percpu); ipi_handle runs there. */
void hal_ipi_send(const struct percpu *target);

/* Monotonic time since boot in nanoseconds; 0 before hal_irq_init. */
uint64_t hal_time_ns(void);

/* One timer interrupt on this CPU, `ns` from now (at least 1 µs). timer_handle runs. */
void hal_timer_set(uint64_t ns);

/* Starts a CPU at kmain_secondary(cpu) on cpu->stack_top, with the page tables of hal_mmu_activate's last
 * root. Returns when the request was accepted; cpu->online tells the rest.
 * ERR_UNSUPPORTED: no means to start CPUs. ERR_INVALID: the firmware refused. */
MUST_CHECK status_t hal_cpu_start(struct percpu *cpu);

/* Ends the machine. With `info->qemu_exit` the emulator's exit status is 33 for ok and 35 otherwise; without,
 * the machine powers off, and if it cannot, halts. */
_Noreturn void hal_exit(bool ok);

/* ---- Port input and output (x86_64; elsewhere there is no such space: hal_has_ports is false) ------------ */

extern const bool hal_has_ports;
uint8_t hal_port_read8(uint16_t port);
void hal_port_write8(uint16_t port, uint8_t value);

/* ---- Traps ------------------------------------------------------------------------------------------ */

typedef enum trap_kind {
    TRAP_PAGE_FAULT,
    TRAP_STACK_OVERFLOW, /* reported on the emergency stack */
    TRAP_ILLEGAL,
    TRAP_BREAKPOINT,
    TRAP_ALIGNMENT,
    TRAP_ACCESS,         /* bus error, access fault, general protection */
    TRAP_OTHER,
} trap_kind_t;

enum { TRAP_READ = 1, TRAP_WRITE = 2, TRAP_EXEC = 4, TRAP_USER = 8 };

struct trap_info {
    trap_kind_t kind;
    unsigned access;     /* TRAP_READ …, for page faults */
    vaddr_t address;     /* page faults: what was touched */
    vaddr_t pc, sp, fp;
    vaddr_t ra;          /* the return-address register; 0 where calls push theirs */
    const char *cause;   /* the ISA's own words: "store page fault", "#GP" */
    uint64_t code;       /* scause, ESR, vector and error code, as the manual counts */
};

/* struct hal_regs is an array of 64-bit values in the ISA's order; value i belongs to name i. NULL ends. */
extern const char *const hal_reg_names[];

/* <arch/layout.h> says where, from the frame pointer, a function keeps its caller's frame pointer
 * (HAL_FRAME_CALLER) and its return address (HAL_FRAME_RETURN). */

/* setjmp and longjmp for faults that a test provokes on purpose: hal_catch returns 0 first and 1 after
 * hal_throw, which may be called from kernel_trap on any stack. */
struct hal_catch {
    uint64_t word[16];
};
int hal_catch(struct hal_catch *where) __attribute__((returns_twice));
_Noreturn void hal_throw(const struct hal_catch *where);

/* Executes an instruction that is never legal; the ISA's breakpoint instruction. */
static inline void hal_illegal_instruction(void);
static inline void hal_breakpoint(void);

/* Calls next on another stack; top is one past its last byte. next must not return. */
_Noreturn void hal_call_on_stack(uint64_t top, void (*next)(void));

/* Endless recursion that touches its stack, for the overflow test (assembly, so no compiler unrolls it). */
_Noreturn void hal_overflow_stack(void);

/* ---- What a port calls ------------------------------------------------------------------------------- */

/* boot_cpu: hart id, MPIDR affinity, APIC id; BOOT_CPU_UNKNOWN where only a table says. handoff: see hal_boot_info. image: physical address
 * of the image's first byte. */
_Noreturn void kmain(uint64_t boot_cpu, paddr_t handoff, paddr_t image);
_Noreturn void kmain_secondary(struct percpu *cpu);

/* A trap that the port does not resolve itself. Returns only if the trap was handled (breakpoint: the port
 * has advanced the pc). */
void kernel_trap(const struct trap_info *trap, const struct hal_regs *regs);
void ipi_handle(void);
void timer_handle(void);

#include <arch/cpu.h>

#endif
