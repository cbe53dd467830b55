# SPDX-License-Identifier: MIT
"""quire run, quire inspect."""
import os
import sys

import build
import chains
import emulator
import packages
import places
import ui
from machine import ISAS, Machine, NODES_MAX, parse_count, parse_size, with_enough_cpus
from options import Command, Operand, Option
from ui import Problem

EXEC_TIMEOUT = 60.0


def parse_seconds(text):
    seconds = float(text) if text.replace(".", "", 1).isdigit() else 0
    if not 0 < seconds < 1e6:
        raise ValueError("not a number of seconds")
    return seconds


ISA = Operand("ISA", build.ISAS, "riscv64")

MACHINE_OPTIONS = (
    Option("--cpus", "N", "number of CPUs (default 4, or one per node)", parse_count(1024)),
    Option("--mem", "SIZE", "memory: 32M, 1G, … (default 1G); a plain number counts MiB", parse_size),
    Option("--nodes", "N", "cut memory and CPUs into N NUMA nodes that stand in a ring (default 1)",
           parse_count(NODES_MAX)),
    Option("--cpu", "MODEL", "QEMU's CPU model (default "
           + ", ".join(f"{isa.cpu} on {isa.name}" for isa in ISAS.values()) + ")"),
    Option("--boot", "CHAIN", "how the kernel is booted: " + ", ".join(chains.CHAINS) + "; uboot and grub mean their "
           "EFI forms (default direct)", choices=(*chains.CHAINS, *chains.ALIASES)),
    Option("--append", "OPTIONS", "kernel options: paging=sv39|sv48|sv57|4|5, cpus=N, directmap=SIZE, movable=SIZE"),
    Option("--initrd", "FILE", "a file that the boot loader places in memory"),
    Option("--qemu-arg", "A", "one more word for QEMU's command line", repeat=True),
    Option("--exec", "\"CMD; CMD\"", "run these monitor commands, then end; status 0 only if all succeeded"),
    Option("--release", None, "the release build"),
    Option("--clang", None, "the build by clang and lld"),
)


def machine_from(options):
    machine = Machine(options.isa, mem=options.mem or Machine.mem, nodes=options.nodes or 1,
                      cpus=options.cpus or Machine.cpus, cpu=options.cpu, append=options.append or "",
                      initrd=options.initrd and os.path.abspath(options.initrd), extra=tuple(options.qemu_arg),
                      chain=chains.named(options.boot))
    return machine if options.cpus else with_enough_cpus(machine)


def variant_from(options):
    if options.release and options.clang:
        raise Problem("--release and --clang are two builds: choose one", status=2)
    return "release" if options.release else "clang" if options.clang else "debug"


def write_output(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def run(options):
    machine = machine_from(options)
    variant = variant_from(options)
    chains.check(machine, options.exec)
    packages.ensure((*chains.tools(machine), *packages.compilers(machine.isa, variant)))
    kernel = build.kernel(machine.isa, variant)
    with places.scratch() as folder:
        outcome = start(chains.command(machine, kernel, options.exec, folder), options)
    if outcome.problem():
        raise Problem(outcome.problem())
    return 0


def start(line, options):
    if options.exec is not None:
        return emulator.run(line, write_output, options.timeout or EXEC_TIMEOUT)
    if sys.stdin.isatty():
        ui.say("Ctrl-A X ends QEMU; Ctrl-A H lists its other keys")
        return emulator.run_on_terminal(line, options.timeout)
    return emulator.run(line, write_output, options.timeout, typed=sys.stdin.fileno())


def inspect(words):
    program = build.inspect()
    os.execv(program, ["inspect", *words])


RUN = Command(
    "run", "boots the kernel in QEMU, to a prompt or to run commands", run, operands=(ISA,),
    options=MACHINE_OPTIONS + (
        Option("--timeout", "S", f"give up after S seconds (default {EXEC_TIMEOUT:.0f} with --exec, else none)",
               parse_seconds),),
    text="Without --exec the terminal is the machine's console; Ctrl-A X leaves. From a pipe, lines are typed at the "
         "prompt\nand the end of input powers off. The status is 0 only if the machine ended by itself with "
         "success: a failed command, a\npanic, a hang, a reset and a triple fault are not.",
    examples=("quire run riscv64", 'quire run x86_64 --cpus 4 --nodes 4 --mem 2G --exec "map; nodes; zones; selftest"',
              "quire run riscv64 --append paging=sv39", "quire run aarch64 --qemu-arg -d --qemu-arg int"))

INSPECT = Command(
    "inspect", "shows what the kernel would make of a machine, from its firmware's tables", inspect,
    passes_on="[--json] [--efi-desc-size N] [KIND:]FILE…",
    text="""
FILE is one of these; several together describe one machine:
  fdt    a device tree
  acpi   an ACPI table, or a folder of them: files named APIC, SSDT1, APIC.bin, apic.dat
  phys   an image of physical memory with ACPI tables in it (PHYSIMG1)
  e820   a memory map: binary, entries of 20 bytes; or text, lines of START END TYPE
  efi    a memory map: binary, descriptors of N bytes; or text, lines of START END TYPE ATTRIBUTES
  topo   a topology: lines of node ID memtotal_kb N cpus LIST, and distance ID ROW…
KIND is the word on the left; without it the content decides, then the names of the file and its folder.
In text, END is the first address after the range, and # begins a comment.

  --json             the same for programs
  --efi-desc-size N  bytes per descriptor of an EFI map (default 48)""",
    examples=("quire inspect board.dtb", "quire inspect --json e820:map.bin acpi:/sys/firmware/acpi/tables"))
