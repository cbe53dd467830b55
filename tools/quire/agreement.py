# SPDX-License-Identifier: MIT
"""Whether a kernel sees the machine that QEMU was told to make: all memory in some region of the map, nodes, distances and
CPUs, and no more kept by firmware than its kind is known to keep. The same for every chain, so they agree."""
import json

from machine import MIB, node_distance, node_sizes

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


def documents(output):
    """What the JSON documents in a console's output say, each on a line of its own."""
    return {key: value for line in output.splitlines() if line.startswith("{")
            for key, value in json.loads(line).items()}


def kept_in(machine, output):
    """What firmware keeps of the machine's RAM, by type and size; None if the output does not say."""
    regions = documents(output).get("regions")
    return None if regions is None else kept(expected_ram(machine), regions)


def phantom(machine, node):
    """U-Boot calls a PC's window for device registers cacheable, so the nearest node, the last, seems to have it."""
    return 256 * MIB if (machine.isa, machine.chain, node) == ("x86_64", "uboot-efi", machine.nodes - 1) else 0


def agrees(machine):
    """Checks nodes, distances, CPUs and memory against what QEMU was told."""
    def check(output):
        found = documents(output)
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
