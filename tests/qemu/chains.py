# SPDX-License-Identifier: MIT
"""Boot chains beyond the matrix: other machines through EFI, entries that QEMU's loaders do not use, what goes wrong."""
import subprocess
from pathlib import Path

import chains
import disk
import versions
from agreement import agrees
from boot import Boot
from machine import MIB, STATUS_FAILED, Machine

ARCHIVE = __file__              # any file will do
MODULE = rf"^  0x\S+ 0x\S+ +{(Path(__file__).stat().st_size + 4095) // 4096 * 4} KiB  module "
SCRIPT = "map --json; nodes --json; cpus --json; map; selftest"


def efi_machines(isa):
    """Other machines through the stub."""
    chain = "uboot-efi" if isa == "riscv64" else "uefi"
    large = Machine(isa, chain=chain, mem=4200 * MIB, cpus=2)
    yield Boot("EFI, 4 GiB and a bit, 2 CPUs", large, SCRIPT + " machine", check=agrees(large), timeout=120)
    yield Boot("EFI, 1 CPU", Machine(isa, chain=chain, cpus=1, mem=256 * MIB), "map; selftest machine", timeout=120)
    if isa == "riscv64" and chains.runs("uefi", isa):
        yield Boot("EFI by ACPI, 5 CPUs on 3 nodes, Sv39", Machine(isa, chain="uefi", cpus=5, nodes=3, cpu="rv64,sv57=off,sv48=off"),
                   SCRIPT + " machine", check=agrees(Machine(isa, chain="uefi", cpus=5, nodes=3)), timeout=120,
                   expect=("paging Sv39$",))
    if isa == "aarch64":
        yield Boot("EFI at EL2, by ACPI", Machine(isa, chain=chain, extra=("-M", "virtualization=on")),
                   "cpus; selftest machine", timeout=120, expect=("^cpus: 4 of 4 running",))
        yield Boot("EFI with GICv3, by ACPI", Machine(isa, chain=chain, cpus=12), "cpus; selftest machine", timeout=120,
                   expect=("^cpus: 12 of 12 running",))
    if isa == "x86_64":
        yield Boot("EFI on an old CPU", Machine(isa, chain=chain, cpu="qemu64"), "selftest machine", timeout=120,
                   expect=("paging 4-level$",))


def by_64_bit_entry(command, folder):
    """Puts a boot loader of ours before the bzImage."""
    loader, kernel = folder / "entry64.elf", Path(command[command.index("-kernel") + 1])
    subprocess.run(["x86_64-linux-gnu-gcc", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-Ttext=0x4000000",
                    "-o", str(loader), str(Path(__file__).with_name("entry64.S"))], check=True, capture_output=True)
    return ["-kernel", str(loader), "-initrd", str(kernel.with_suffix(".img"))]


def entries(isa):
    if isa == "x86_64":
        yield Boot("the 64-bit entry of Linux' protocol", Machine(isa, nodes=2), "map; selftest machine",
                   prepare=by_64_bit_entry, expect=(r"^quire \S+: x86_64, bzImage", r"^  0x0000000002000000 .* kernel "))


def long_config(command, folder):
    """Makes the disk's quire.cfg longer than a command line can be."""
    config = folder / "long"
    config.write_text("qemu-exit " + "x" * 3000)
    subprocess.run(["mcopy", "-o", "-i", f"{folder / 'disk.img'}@@{disk.ESP_START}", str(config), "::/quire.cfg"],
                   check=True, capture_output=True)
    return []


def long_lines(isa):
    chain = "uboot-efi" if isa == "riscv64" else "uefi"
    yield Boot("a command line that is too long", Machine(isa, chain=chain), typed="selftest base\npoweroff\n",
               prepare=long_config, expect=('option "x{2037}" is not known', "^quire: the command line is too long with "
                                            "quire.cfg; it is cut to 2047 characters"))


def archive_by_loader(isa):
    """Makes U-Boot's boot manager offer the archive itself: under another name, the stub does not find it."""
    def prepare(command, folder):
        on_disk = ["-i", f"{folder / 'disk.img'}@@{disk.ESP_START}"]
        subprocess.run(["mren", *on_disk, "::/quire.initrd", "::/other"], check=True, capture_output=True)
        boot = (f"virtio scan; efidebug boot add -b 1 quire virtio 0:1 /EFI/BOOT/{chains.EFI_NAME[isa]} -i virtio 0:1 /other; "
                "efidebug boot order 1; bootefi bootmgr")
        subprocess.run(["fdtput", "-t", "s", str(folder / "machine.dtb"), "/config", "bootcmd", boot], check=True)
        return []
    return prepare


def archives(isa):
    if isa == "aarch64" and (versions.uboot(chains.UBOOT[isa]) or (0, 0)) >= (2025, 1):     # older ones lack efidebug
        yield Boot("an archive from the EFI loader", Machine(isa, chain="uboot-efi", cpus=1, initrd=ARCHIVE), "map",
                   prepare=archive_by_loader(isa), expect=(MODULE,), timeout=30)


def failures(isa):
    """A command that fails does so through a loader as well."""
    chain = "uboot-extlinux" if isa == "riscv64" else "uefi"
    yield Boot(f"a failure through {chain}", Machine(isa, chain=chain), "nonsense", status=STATUS_FAILED, timeout=120,
               expect=("^nonsense: no such command",))


def boots(isa):
    for group in (efi_machines, entries, long_lines, archives, failures):
        yield from group(isa)
