# SPDX-License-Identifier: MIT
"""Boot chains: what runs between QEMU's reset and the kernel. A chain is one entry of CHAINS, with a Way for each ISA on
which it exists and the reason on the others. Nobody types at a loader's prompt: command lines come in files on the
disk, or from QEMU itself."""
import subprocess
from dataclasses import dataclass
from typing import Callable

import disk
import machine as machines
import packages
from machine import ISAS, MIB
from ui import Problem

EFI_NAME = {"x86_64": "BOOTX64.EFI", "riscv64": "BOOTRISCV64.EFI", "aarch64": "BOOTAA64.EFI"}
OVMF = "/usr/share/ovmf/OVMF.fd"
EDK2_AARCH64 = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
UBOOT = {"x86_64": "/usr/lib/u-boot/qemu-x86_64/u-boot.rom",
         "riscv64": "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin",
         "aarch64": "/usr/lib/u-boot/qemu_arm64/u-boot.bin"}
AARCH64_RAM = 0x40000000        # where it starts on QEMU's virt


@dataclass(frozen=True)
class Way:
    """How a chain runs on one ISA."""
    build: Callable             # build(job) returns QEMU's arguments for what is booted
    tools: tuple = ()           # what it needs beside the emulator, by packages.py's names
    machine: str = ""           # more properties of QEMU's machine
    nodes: str | None = None    # why there can be one NUMA node only


@dataclass(frozen=True)
class Job:
    """One boot that is being prepared."""
    machine: machines.Machine
    kernel: object              # build.Kernel
    line: str                   # the kernel's command line
    emulated: list              # QEMU's command line so far
    folder: object              # for files, which are gone after the boot


# ---- QEMU loads the kernel --------------------------------------------------------------------------------

def by_qemu(kernel, job):
    initrd = ["-initrd", job.machine.initrd] if job.machine.initrd else []
    return ["-kernel", str(kernel), "-append", job.line, *initrd]


def direct(job):
    return by_qemu(job.kernel.boot, job)


def linux(job):
    return by_qemu(job.kernel.image, job)


# ---- Firmware loads it from a disk ------------------------------------------------------------------------

def drive(path, device):
    return ["-drive", f"if=none,id=disk,file={path},format=raw", "-device", f"{device},drive=disk"]


def make_disk(job, files, **options):
    """A disk with these files, and the boot archive if there is one."""
    archive = {"quire.initrd": job.machine.initrd} if job.machine.initrd else {}
    return disk.make(job.folder / "disk.img", files | archive, **options)


def efi_disk(job):
    """The removable medium that every UEFI firmware looks for, with the command line beside the kernel."""
    return make_disk(job, {f"EFI/BOOT/{EFI_NAME[job.machine.isa]}": job.kernel.image, "quire.cfg": job.line.encode()})


def ovmf(job):
    return ["-bios", OVMF, *drive(efi_disk(job), "virtio-blk-pci")]


def edk2(job):
    return ["-boot", "menu=on,splash-time=0", "-bios", EDK2_AARCH64, *drive(efi_disk(job), "virtio-blk-pci")]


def uboot_tree(job, boot_command):
    """QEMU's own device tree, with a node in it from which U-Boot learns not to wait for a key, and what to do."""
    tree = str(job.folder / "machine.dtb")
    dump = job.emulated.copy()
    dump[dump.index("-M") + 1] += f",dumpdtb={tree}"
    settings = [["-t", "i", tree, "/config", "bootdelay", "0"]]
    if boot_command:
        settings.append(["-t", "s", tree, "/config", "bootcmd", boot_command])
    for words in (dump, ["fdtput", "-p", "-c", tree, "/config"], *(["fdtput", *setting] for setting in settings)):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise Problem(f"{words[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return ["-dtb", tree]


def uboot(job, path, boot_command=None):
    if job.machine.isa == "x86_64":
        return ["-bios", UBOOT["x86_64"], *drive(path, "virtio-blk-pci")]
    load = "-kernel" if job.machine.isa == "riscv64" else "-bios"   # OpenSBI starts it, or nobody does
    return [load, UBOOT[job.machine.isa], *uboot_tree(job, boot_command), *drive(path, "virtio-blk-device")]


def uboot_efi(job):
    return uboot(job, efi_disk(job))


def uboot_extlinux(job):
    conf = f"default quire\ntimeout 0\nlabel quire\n  kernel /quire.img\n  append {job.line}\n"
    if job.machine.initrd:
        conf += "  initrd /quire.initrd\n"
    path = make_disk(job, {"quire.img": job.kernel.image, "extlinux/extlinux.conf": conf.encode()})
    return uboot(job, path, in_last_node(job.machine) if job.machine.nodes > 1 and job.machine.isa == "aarch64" else None)


def in_last_node(machine):
    """U-Boot 2023.01 takes the first memory node of the device tree, which on aarch64 is that of the last NUMA node, for
    all memory there is; what it loads has to lie in there, and the tree stay where QEMU put it."""
    start = AARCH64_RAM + machine.mem - machines.node_sizes(machine.mem, machine.nodes)[-1]
    settings = {"scriptaddr": start + 2 * MIB, "pxefile_addr_r": start + 3 * MIB, "kernel_addr_r": start + 4 * MIB,
                "ramdisk_addr_r": start + 16 * MIB, "fdt_addr": AARCH64_RAM, "fdt_high": (1 << 64) - 1}
    return "; ".join([*(f"setenv {name} {value:#x}" for name, value in settings.items()), "virtio scan",
                      "sysboot virtio 0:1 any ${scriptaddr} /extlinux/extlinux.conf"])


# ---- GRUB -------------------------------------------------------------------------------------------------

def grub_config(job):
    """Each word quoted by itself: GRUB passes a word with spaces on in quotation marks."""
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in job.line.split())
    archive = "initrd /quire.initrd\n" if job.machine.initrd else ""
    return f"linux /quire.img {words}\n{archive}boot\n".encode()


def grub_image(job, form, modules):
    """A GRUB that reads grub.cfg from the first partition it finds it on."""
    search, image = job.folder / "search.cfg", job.folder / f"grub-{form}"
    search.write_text("search --file /grub.cfg --set root\nconfigfile /grub.cfg\n")
    done = subprocess.run(["grub-mkimage", "-O", form, "-o", str(image), "-c", str(search), "-p", "/",
                           "part_gpt", "fat", "search", "configfile", "linux", "boot", "normal", *modules],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f"grub-mkimage failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return image


def grub_efi(job):
    loader = grub_image(job, "x86_64-efi", ("serial", "terminal"))
    path = make_disk(job, {f"EFI/BOOT/{EFI_NAME['x86_64']}": loader, "quire.img": job.kernel.image,
                           "grub.cfg": grub_config(job)})
    return ["-bios", OVMF, *drive(path, "virtio-blk-pci")]


def grub_bios(job):
    core = grub_image(job, "i386-pc", ("biosdisk",))
    path = make_disk(job, {"quire.img": job.kernel.image, "grub.cfg": grub_config(job)}, bios_boot=True)
    disk.install_grub(path, core)
    return drive(path, "virtio-blk-pci")


# ---- The chains -------------------------------------------------------------------------------------------

NO_EDK2_RISCV64 = "EDK2 for riscv64 needs QEMU 8.1 or newer, and Debian 12 has none; uboot-efi is the EFI chain there"
NO_GRUB = "Debian has GRUB's images for the ISA it runs on only"
LINUX_ALREADY = "its direct chain is Linux' boot protocol already"

CHAINS = {
    "direct": {isa: Way(direct) for isa in ISAS},
    "linux": {"x86_64": Way(linux), "riscv64": LINUX_ALREADY, "aarch64": LINUX_ALREADY},
    "uboot-extlinux": {
        "x86_64": "U-Boot 2023.01 enters a bzImage by its 32-bit entry in 64-bit mode; uboot-efi works",
        "riscv64": Way(uboot_extlinux, ("u-boot", "mtools", "dtc")),
        "aarch64": Way(uboot_extlinux, ("u-boot", "mtools", "dtc"))},
    "uboot-efi": {
        "x86_64": Way(uboot_efi, ("u-boot", "mtools"), machine="sata=off"),
        "riscv64": Way(uboot_efi, ("u-boot", "mtools", "dtc")),
        "aarch64": Way(uboot_efi, ("u-boot", "mtools", "dtc"),
                       nodes="U-Boot 2023.01 takes the last node for all memory there is")},
    "uefi": {"x86_64": Way(ovmf, ("edk2-x86_64", "mtools")), "riscv64": NO_EDK2_RISCV64,
             "aarch64": Way(edk2, ("edk2-aarch64", "mtools"))},
    "uefi-dt": {"x86_64": "a PC has no device tree", "riscv64": NO_EDK2_RISCV64,
                "aarch64": Way(edk2, ("edk2-aarch64", "mtools"), machine="acpi=off")},
    "grub-bios": {"x86_64": Way(grub_bios, ("grub", "grub-pc", "mtools")),
                  "riscv64": "only PCs have a BIOS", "aarch64": "only PCs have a BIOS"},
    "grub-efi": {"x86_64": Way(grub_efi, ("grub", "grub-efi-x86_64", "edk2-x86_64", "mtools")),
                 "riscv64": NO_GRUB, "aarch64": NO_GRUB},
}
ALIASES = {"uboot": "uboot-efi", "grub": "grub-efi"}


def named(name):
    return ALIASES.get(name, name) or "direct"


def way(machine):
    found = CHAINS[machine.chain][machine.isa]
    if isinstance(found, str):
        raise Problem(f"there is no {machine.chain} on {machine.isa}: {found}", status=2)
    if found.nodes and machine.nodes > 1:
        raise Problem(f"{machine.chain} on {machine.isa} takes one node only: {found.nodes}", status=2)
    return found


def runs(chain, isa):
    return isinstance(CHAINS[chain][isa], Way)


def firmware(isa):
    """What all chains of an ISA need."""
    return [tool for chain in CHAINS if runs(chain, isa) for tool in CHAINS[chain][isa].tools]


def tools(machine):
    """What booting it needs, by packages.py's names."""
    return (*packages.emulator(machine.isa), *way(machine).tools)


def prepared(machine):
    chosen = way(machine)
    words = machines.emulated(machine)
    if chosen.machine:
        words[words.index("-M") + 1] += f",{chosen.machine}"
    return chosen, words


def check(machine, script=None):
    """Complains about wrong options before anything is built."""
    prepared(machine)
    machines.kernel_line(machine, script)


def command(machine, kernel, script=None, folder=None):
    """The emulator's whole command line but for its console (see emulator.py). folder: for files that the chain needs as
    long as the machine runs; the direct chain needs none."""
    chosen, words = prepared(machine)
    job = Job(machine, kernel, machines.kernel_line(machine, script), words, folder)
    return [*words, *chosen.build(job), *machine.extra]
