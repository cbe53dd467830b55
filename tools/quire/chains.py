# SPDX-License-Identifier: MIT
"""Boot chains: what runs between QEMU's reset and the kernel. A chain is one entry of CHAINS, with a Way for each ISA on
which it exists and the reason on the others. Nobody types at a loader's prompt: command lines come in files on the
disk, or from QEMU itself."""
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import boards
import devicetree
import disk
import machine as machines
import packages
import tool
import versions
from machine import ISAS, MIB
from ui import Problem

EFI_NAME = {"x86_64": "BOOTX64.EFI", "riscv64": "BOOTRISCV64.EFI", "aarch64": "BOOTAA64.EFI"}
OVMF = "/usr/share/ovmf/OVMF.fd"
EDK2_AARCH64 = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
EDK2_RISCV64 = "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd"
EDK2_RISCV64_VARIABLES = "/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"
EDK2_RISCV64_QEMU = (8, 1)      # the first whose machine has flash as it wants it
UBOOT = {"x86_64": "/usr/lib/u-boot/qemu-x86_64/u-boot.rom",
         "riscv64": "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin",
         "aarch64": "/usr/lib/u-boot/qemu_arm64/u-boot.bin"}
UBOOT_NO_LAST_NODE = (2025, 1)    # the first tried that cannot load into it; 2023.01 can
AARCH64_RAM = 0x40000000        # where it starts on QEMU's virt
UBOOT_AARCH64_USUAL = 128 * MIB # what U-Boot's own load addresses there are good for


@dataclass(frozen=True)
class Way:
    """How a chain runs on one ISA."""
    build: Callable             # build(job) returns QEMU's arguments for what is booted
    tools: tuple = ()           # what it needs beside the emulator, by packages.py's names
    machine: str = ""           # more properties of QEMU's machine
    nodes: Callable | None = None   # nodes() returns why there can be one NUMA node only, or None
    lacks: Callable | None = None   # lacks() returns why it cannot run with what is installed here, or None


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
    by_board = job.machine.board and boards.of(job.machine).own_initrd
    initrd = ["-initrd", job.machine.initrd] if job.machine.initrd and not by_board else []
    return ["-kernel", str(kernel), "-append", job.line, *initrd]


def direct(job):
    return by_qemu(job.kernel.boot, job)


def linux(job):
    return by_qemu(job.kernel.image, job)


# ---- Firmware loads it from a disk ------------------------------------------------------------------------

def drive(path, device, name="disk", more=""):
    file = str(path).replace(",", ",,")
    return ["-drive", f"if=none,id={name},file={file},format=raw{more}", "-device", f"{device},drive={name}"]


def boot_drive(job, make, device="virtio-blk-pci"):
    """The disk that the chain makes, or the given image, which stays as it is whatever firmware writes to it."""
    if job.machine.image:
        return drive(job.machine.image, device, more=",snapshot=on")
    return drive(make(job), device)


def make_disk(job, files, **options):
    """A disk with these files, and the boot archive if there is one."""
    archive = {"quire.initrd": job.machine.initrd} if job.machine.initrd else {}
    return disk.make(job.folder / "disk.img", files | archive, **options)


def efi_disk(job):
    """The removable medium that every UEFI firmware looks for, with the command line beside the kernel."""
    return make_disk(job, {f"EFI/BOOT/{EFI_NAME[job.machine.isa]}": job.kernel.image, "quire.cfg": job.line.encode()})


def ovmf(job):
    return ["-bios", OVMF, *boot_drive(job, efi_disk)]


def edk2(job):
    return ["-boot", "menu=on,splash-time=0", "-bios", EDK2_AARCH64, *boot_drive(job, efi_disk)]


def edk2_riscv64(job):
    """Two flash devices: the firmware, and its variables, which it writes to. By ACPI the kernel learns of no device that
    ends QEMU with a status, so it calls the emulator itself."""
    variables = job.folder / "variables.fd"
    shutil.copyfile(EDK2_RISCV64_VARIABLES, variables)
    return ["-blockdev", f"driver=file,node-name=code,read-only=on,filename={EDK2_RISCV64}",
            "-blockdev", f"driver=file,node-name=variables,filename={variables}",
            "-semihosting-config", "enable=on,target=native",
            "-boot", "menu=on,splash-time=0", *boot_drive(job, efi_disk)]


def uboot_tree(job, boot_command):
    """QEMU's own device tree, with a node in it from which U-Boot learns not to wait for a key, and what to do."""
    tree = str(job.folder / "machine.dtb")
    dump = job.emulated.copy()
    dump[dump.index("-M") + 1] += f",dumpdtb={tree}"
    tool.run(dump)
    devicetree.put(tree, "/config", {"bootdelay": [0]} | ({"bootcmd": boot_command} if boot_command else {}))
    return ["-dtb", tree]


def uboot(job, make, boot_command=None):
    if job.machine.isa == "x86_64":
        return ["-bios", UBOOT["x86_64"], *boot_drive(job, make)]
    load = "-kernel" if job.machine.isa == "riscv64" else "-bios"   # OpenSBI starts it, or nobody does
    return [load, UBOOT[job.machine.isa], *uboot_tree(job, boot_command), *boot_drive(job, make, "virtio-blk-device")]


FIND_PARTITION = "virtio scan; part list virtio 0 -bootable part; "


def uboot_efi(job):
    """An image has extlinux.conf as well, which U-Boot prefers: there it is told to take the EFI application."""
    name = f"EFI/BOOT/{EFI_NAME[job.machine.isa]}"
    command = f"{FIND_PARTITION}load virtio 0:${{part}} ${{kernel_addr_r}} {name}; bootefi ${{kernel_addr_r}} ${{fdtcontroladdr}}"
    return uboot(job, efi_disk, command if job.machine.image else None)


def extlinux(line, archive):
    """U-Boot hands its own device tree over, as there is no `fdt` line: boards differ, and U-Boot knows its board."""
    words = (("kernel", "/quire.img"), ("append", line), ("initrd", "/quire.initrd" if archive else ""))
    rows = "".join(f"  {key} {value}\n" for key, value in words if value)
    return f"default quire\ntimeout 0\nlabel quire\n{rows}".encode()


def extlinux_disk(job):
    return make_disk(job, {"quire.img": job.kernel.image, "extlinux/extlinux.conf": extlinux(job.line, job.machine.initrd)})


def uboot_extlinux(job):
    machine = job.machine
    tight = machine.isa == "aarch64" and (machine.nodes > 1 or machine.mem < UBOOT_AARCH64_USUAL)
    return uboot(job, extlinux_disk, in_last_node(machine) if tight else None)


def in_last_node(machine):
    """U-Boot 2023.01 takes the first memory node of the device tree, which on aarch64 is that of the last NUMA node, for
    all memory there is; what it loads has to lie in there, and the tree stay where QEMU put it."""
    start = AARCH64_RAM + machine.mem - machines.node_sizes(machine.mem, machine.nodes)[-1]
    settings = {"scriptaddr": start + 2 * MIB, "pxefile_addr_r": start + 3 * MIB, "kernel_addr_r": start + 4 * MIB,
                "ramdisk_addr_r": start + 16 * MIB, "fdt_addr": AARCH64_RAM, "fdt_high": (1 << 64) - 1}
    return "; ".join([*(f"setenv {name} {value:#x}" for name, value in settings.items()),
                      FIND_PARTITION + "sysboot virtio 0:${part} any ${scriptaddr} /extlinux/extlinux.conf"])


# ---- GRUB -------------------------------------------------------------------------------------------------

def grub_config(line, archive):
    """Each word quoted by itself: GRUB passes a word with spaces on in quotation marks."""
    words = "".join(" '" + word.replace("'", "'\\''") + "'" for word in line.split())
    initrd = "initrd /quire.initrd\n" if archive else ""
    return f"linux /quire.img{words}\n{initrd}boot\n".encode()


def grub_image(folder, form, modules):
    """A GRUB that reads grub.cfg from the first partition it finds it on."""
    search, image = folder / "search.cfg", folder / f"grub-{form}"
    search.write_text("search --file /grub.cfg --set root\nconfigfile /grub.cfg\n")
    tool.run(["grub-mkimage", "-O", form, "-o", str(image), "-c", str(search), "-p", "/",
              "part_gpt", "fat", "search", "configfile", "linux", "boot", "normal", *modules])
    return image


def grub_files(job):
    return {"quire.img": job.kernel.image, "grub.cfg": grub_config(job.line, job.machine.initrd)}


def grub_efi(job):
    """With an image, GRUB is on a disk of its own, as on a PC that has it installed, and finds the image's grub.cfg."""
    loader = {f"EFI/BOOT/{EFI_NAME['x86_64']}": grub_image(job.folder, "x86_64-efi", ("serial", "terminal"))}
    if not job.machine.image:
        return ["-bios", OVMF, *drive(make_disk(job, loader | grub_files(job)), "virtio-blk-pci")]
    own = disk.make(job.folder / "disk.img", loader)
    return ["-bios", OVMF, *drive(own, "virtio-blk-pci,bootindex=0", "loader"), *boot_drive(job, None)]


def grub_disk(job):
    path = make_disk(job, grub_files(job), layout=disk.WITH_BIOS)
    disk.install_grub(path, grub_image(job.folder, "i386-pc", ("biosdisk",)))
    return path


def grub_bios(job):
    return boot_drive(job, grub_disk)


# ---- The chains -------------------------------------------------------------------------------------------

FLASH = "pflash0=code,pflash1=variables"
NO_GRUB = "Debian has GRUB's images for the ISA it runs on only"
LINUX_ALREADY = "its direct chain is Linux' boot protocol already"


def old_qemu_riscv64():
    found = versions.qemu("riscv64")
    if found is None or found >= EDK2_RISCV64_QEMU:
        return None
    return (f"EDK2 for riscv64 needs QEMU {versions.shown(EDK2_RISCV64_QEMU)} or newer; this is {versions.shown(found)}. "
            "uboot-efi is an EFI chain that runs here")


def last_node_only():
    return f"U-Boot {uboot_shown('aarch64')} takes the last node for all memory there is"


def last_node_reserved():
    """2023.01 lets itself be told where to load; later ones hold all of that node for reserved, and load nothing."""
    found = versions.uboot(UBOOT["aarch64"])
    return None if found is None or found < UBOOT_NO_LAST_NODE else last_node_only()


def uboot_shown(isa):
    found = versions.uboot(UBOOT[isa])
    return versions.shown(found) if found else "there"


CHAINS = {
    "direct": {isa: Way(direct) for isa in ISAS},
    "linux": {"x86_64": Way(linux), "riscv64": LINUX_ALREADY, "aarch64": LINUX_ALREADY},
    "uboot-extlinux": {
        "x86_64": "U-Boot enters a bzImage by its 32-bit entry in 64-bit mode; uboot-efi works",
        "riscv64": Way(uboot_extlinux, ("u-boot", "mtools", "dtc")),
        "aarch64": Way(uboot_extlinux, ("u-boot", "mtools", "dtc"), nodes=last_node_reserved)},
    "uboot-efi": {
        "x86_64": Way(uboot_efi, ("u-boot", "mtools"), machine="sata=off"),
        "riscv64": Way(uboot_efi, ("u-boot", "mtools", "dtc")),
        "aarch64": Way(uboot_efi, ("u-boot", "mtools", "dtc"), nodes=last_node_only)},
    "uefi": {"x86_64": Way(ovmf, ("edk2-x86_64", "mtools")),
             "riscv64": Way(edk2_riscv64, ("edk2-riscv64", "mtools"), machine=FLASH, lacks=old_qemu_riscv64),
             "aarch64": Way(edk2, ("edk2-aarch64", "mtools"))},
    "uefi-dt": {"x86_64": "a PC has no device tree",
                "riscv64": Way(edk2_riscv64, ("edk2-riscv64", "mtools"), machine=f"{FLASH},acpi=off",
                               lacks=old_qemu_riscv64),
                "aarch64": Way(edk2, ("edk2-aarch64", "mtools"), machine="acpi=off")},
    "grub-bios": {"x86_64": Way(grub_bios, ("grub", "grub-pc", "mtools")),
                  "riscv64": "only PCs have a BIOS", "aarch64": "only PCs have a BIOS"},
    "grub-efi": {"x86_64": Way(grub_efi, ("grub", "grub-efi-x86_64", "edk2-x86_64", "mtools")),
                 "riscv64": NO_GRUB, "aarch64": NO_GRUB},
}
ALIASES = {"uboot": "uboot-efi", "grub": "grub-efi"}
WITHOUT_DISK = ("direct", "linux")
IMAGE_CHAIN = {"x86_64": "uefi", "riscv64": "uboot-efi", "aarch64": "uefi"}   # if nobody chooses one


def named(name):
    return ALIASES.get(name, name) or "direct"


def check_image(machine):
    """Complains about what can be no disk for this machine."""
    name, path = f"--image {machine.image}", Path(machine.image)
    if machine.chain in WITHOUT_DISK:
        raise Problem(f"{name}: with --boot {machine.chain} QEMU loads the kernel itself, and no disk", status=2)
    if not path.is_file():
        raise Problem(f"{name}: {'a folder' if path.is_dir() else 'no such file'}", status=2)
    starts = [start for kind, start, _ in disk.partitions(path).values() if kind == disk.ESP]
    if not starts:
        packed = " (compressed? xz -dk unpacks it)" if path.suffix == ".xz" else ""
        raise Problem(f"{name}: no disk with a GPT and an EFI system partition{packed}", status=2)


def check_image_files(machine):
    """The same with mtools, once they are there: is it for this ISA?"""
    start = next(start for kind, start, _ in disk.partitions(machine.image).values() if kind == disk.ESP)
    wanted = f"EFI/BOOT/{EFI_NAME[machine.isa]}"
    if not disk.holds(machine.image, start, wanted):
        raise Problem(f"--image {machine.image}: no {wanted} in it; was it made for {machine.isa}?", status=2)


def absent(chain, isa):
    """Why a chain is not there on an ISA, or cannot run with what is installed here; None: it runs."""
    found = CHAINS[chain][isa]
    if isinstance(found, str):
        return found
    return found.lacks() if found.lacks else None


def one_node(chain, isa):
    """Why a chain that runs takes machines of one node only, or None."""
    nodes = CHAINS[chain][isa].nodes
    return nodes() if nodes else None


def way(machine):
    reason = absent(machine.chain, machine.isa)
    if reason:
        raise Problem(f"there is no {machine.chain} on {machine.isa}: {reason}", status=2)
    if machine.image:
        check_image(machine)
    reason = one_node(machine.chain, machine.isa)
    if reason and machine.nodes > 1:
        raise Problem(f"{machine.chain} on {machine.isa} takes one node only: {reason}", status=2)
    return CHAINS[machine.chain][machine.isa]


def runs(chain, isa):
    return absent(chain, isa) is None


def firmware(isa):
    """What all chains of an ISA need."""
    return [tool for chain in CHAINS if runs(chain, isa) for tool in CHAINS[chain][isa].tools]


def tools(machine):
    """What booting it needs, by packages.py's names."""
    return (*packages.emulator(machine.isa), *way(machine).tools, *(boards.of(machine).tools if machine.board else ()))


def prepared(machine):
    chosen = way(machine)
    if machine.board:
        boards.check(machine)
        return chosen, boards.emulated(machine)
    words = machines.emulated(machine)
    if chosen.machine:
        words[words.index("-M") + 1] += f",{chosen.machine}"
    return chosen, words


def check(machine, script=None):
    """Complains about wrong options before anything is built."""
    prepared(machine)
    machines.kernel_line(machine, script)


def command(machine, kernel, script=None, folder=None):
    """The emulator's whole command line but for its console (see emulator.py). folder: for files that the chain or the
    board needs as long as the machine runs; the direct chain on QEMU's virt and q35 needs none."""
    chosen, words = prepared(machine)
    job = Job(machine, kernel, machines.kernel_line(machine, script), words, folder)
    tree = boards.of(machine).tree(machine, folder) if machine.board else []
    return [*words, *chosen.build(job), *tree, *machine.extra]
