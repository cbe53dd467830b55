# SPDX-License-Identifier: MIT
"""The same machine through every boot chain: the self-tests run in each, and each finds the same nodes, distances and
memory, but for what its firmware keeps for itself."""
import json
import subprocess
from pathlib import Path

import chains
import disk
from boot import Boot
from machine import MIB, STATUS_FAILED, Machine, node_distance, node_sizes

RAM_START = {"x86_64": 0, "riscv64": 0x80000000, "aarch64": 0x40000000}
PC_HOLE = (0xa0000, 0x100000)   # of a PC's RAM, taken by its video memory and ROM
Q35_LOW_MAX, Q35_LOW = 2816 * MIB, 2048 * MIB   # RAM below 4 GiB: all of less than this, or so much
OURS = ("usable", "kernel", "metadata", "boot data", "module")
ODDS = MIB                      # which every chain may leave out: frame 0, a BIOS' data, OpenSBI
KEPT = {"uefi": 16 * MIB, "uefi-dt": 16 * MIB, "grub-efi": 16 * MIB, "uboot-efi": 4 * MIB}


def expected_ram(machine):
    """Its ranges, in order."""
    start = RAM_START[machine.isa]
    if machine.isa != "x86_64":
        return [(start, start + machine.mem)]
    low = machine.mem if machine.mem < Q35_LOW_MAX else Q35_LOW
    high = [(4096 * MIB, 4096 * MIB + machine.mem - low)] if machine.mem > low else []
    return [(0, PC_HOLE[0]), (PC_HOLE[1], low), *high]


def uncovered(ranges, regions):
    """The bytes of the ranges that no region names. Regions are sorted and do not overlap."""
    total = sum(end - start for start, end in ranges)
    for region in regions:
        first, last = int(region["start"], 16), int(region["end"], 16)
        total -= sum(max(0, min(end, last) - max(start, first)) for start, end in ranges)
    return total


def kept(ranges, regions):
    """Bytes of the ranges that are not the kernel's to use, by type."""
    sizes = {}
    for region in regions:
        first, last = int(region["start"], 16), int(region["end"], 16)
        size = sum(max(0, min(end, last) - max(start, first)) for start, end in ranges)
        if size and region["type"] not in OURS:
            sizes[region["type"]] = sizes.get(region["type"], 0) + size
    return sizes


def phantom(machine, node):
    """U-Boot calls a PC's window for device registers cacheable, so the nearest node, the last, seems to have it."""
    return 256 * MIB if (machine.isa, machine.chain, node) == ("x86_64", "uboot-efi", machine.nodes - 1) else 0


def agrees(machine):
    """Checks nodes, distances, CPUs and memory against what QEMU was told."""
    def check(output):
        found = {key: value for line in output.splitlines() if line.startswith("{")
                 for key, value in json.loads(line).items()}
        ranges, sizes = expected_ram(machine), node_sizes(machine.mem, machine.nodes)
        if missing := uncovered(ranges, found["regions"]):
            return f"{missing} bytes of RAM are in no region"
        lost = kept(ranges, found["regions"])
        if sum(lost.values()) > KEPT.get(machine.chain, 0) + ODDS:
            return f"more is kept than there should be: {lost}"
        for i, node in enumerate(found["nodes"]):
            distances = [10 if i == j else node_distance(i, j, machine.nodes) for j in range(machine.nodes)]
            if node["distances"] != distances:
                return f"node {i} has distances {node['distances']}, expected {distances}"
            if not sizes[i] - sum(lost.values()) - ODDS <= node["bytes"] <= sizes[i] + phantom(machine, i):
                return f"node {i} has {node['bytes']} bytes, expected {sizes[i]}"
        if len(found["nodes"]) != machine.nodes or [cpu["online"] for cpu in found["cpus"]] != [True] * machine.cpus:
            return f"{len(found['nodes'])} nodes and CPUs {found['cpus']}"
        usable = sum(int(region["end"], 16) - int(region["start"], 16) for region in found["regions"]
                     if region["type"] == "usable")
        return None if usable == found["usable_bytes"] else f"usable are {usable} and {found['usable_bytes']} bytes"
    return check


ARCHIVE = __file__              # any file will do
MODULE = rf"^  0x\S+ 0x\S+ +{(Path(__file__).stat().st_size + 4095) // 4096 * 4} KiB  module "
SCRIPT = "map --json; nodes --json; cpus --json; map; selftest"
PROTOCOLS = {"linux": "bzImage", "grub-bios": "bzImage", "grub-efi": "bzImage", "uefi": "EFI", "uefi-dt": "EFI",
             "uboot-efi": "EFI", "uboot-extlinux": "Image"}


def every_chain(isa):
    for chain in chains.CHAINS:
        if not chains.runs(chain, isa):
            continue
        one_node = chains.CHAINS[chain][isa].nodes is not None
        machine = Machine(isa, chain=chain, nodes=1 if one_node else 4, initrd=ARCHIVE)
        protocol = PROTOCOLS.get(chain, "PVH" if isa == "x86_64" else "Image")
        yield Boot(f"chain {chain}", machine, SCRIPT, check=agrees(machine), timeout=120,
                   expect=(rf"^quire \S+: {isa}, {protocol}\b", MODULE),
                   refuse=(r"^warning: (acpi|efi|fdt|memory map|topology)",))


def efi_machines(isa):
    """Other machines through the stub."""
    chain = "uboot-efi" if isa == "riscv64" else "uefi"
    large = Machine(isa, chain=chain, mem=4200 * MIB, cpus=2)
    yield Boot("EFI, 4 GiB and a bit, 2 CPUs", large, SCRIPT + " machine", check=agrees(large), timeout=120)
    yield Boot("EFI, 1 CPU", Machine(isa, chain=chain, cpus=1, mem=256 * MIB), "map; selftest machine", timeout=120)
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


def failures(isa):
    """A command that fails does so through a loader as well."""
    chain = "uboot-extlinux" if isa == "riscv64" else "uefi"
    yield Boot(f"a failure through {chain}", Machine(isa, chain=chain), "nonsense", status=STATUS_FAILED, timeout=120,
               expect=("^nonsense: no such command",))


def boots(isa):
    for group in (every_chain, efi_machines, entries, long_lines, failures):
        yield from group(isa)
