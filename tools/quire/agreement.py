# SPDX-License-Identifier: MIT
"""Whether a kernel sees the machine that QEMU was told to make: all memory in some region of the map, nodes, distances and
CPUs, and no more kept by firmware than its kind is known to keep. The same for every chain, so they agree."""
import json

import boards
from machine import MIB, node_cpus, node_distance, node_sizes

RAM_START = {"x86_64": 0, "riscv64": 0x80000000, "aarch64": 0x40000000}
PC_HOLE = (0xa0000, 0x100000)   # of a PC's RAM, taken by its video memory and ROM
Q35_LOW_MAX, Q35_LOW = 2816 * MIB, 2048 * MIB   # RAM below 4 GiB: all of less than this, or so much
OURS = ("usable", "kernel", "metadata", "boot data", "module")
ODDS = MIB                      # which every chain may leave out: frame 0, a BIOS' data, OpenSBI
OWN_MAX = 12 * MIB              # the kernel's image and boot data; what it adds is a share of the memory
KEPT = {"uefi": 16 * MIB, "uefi-dt": 16 * MIB, "grub-efi": 16 * MIB, "uboot-efi": 4 * MIB}


def expected_ram(machine):
    """Its ranges, in order."""
    if machine.board:
        return boards.ram(machine)
    start = RAM_START[machine.isa]
    if machine.isa != "x86_64":
        return [(start, start + machine.mem)]
    low = machine.mem if machine.mem < Q35_LOW_MAX else Q35_LOW
    high = [(4096 * MIB, 4096 * MIB + machine.mem - low)] if machine.mem > low else []
    return [(0, PC_HOLE[0]), (PC_HOLE[1], low), *high]


def overlap(ranges, region):
    first, last = int(region["start"], 16), int(region["end"], 16)
    return sum(max(0, min(end, last) - max(start, first)) for start, end in ranges)


def uncovered(ranges, regions):
    """The bytes of the ranges that no region names. Regions are sorted and do not overlap."""
    return sum(end - start for start, end in ranges) - sum(overlap(ranges, region) for region in regions)


def kept(ranges, regions):
    """Bytes of the ranges that are not the kernel's to use, by type."""
    sizes = {}
    for region in regions:
        size = overlap(ranges, region)
        if size and region["type"] not in OURS:
            sizes[region["type"]] = sizes.get(region["type"], 0) + size
    return sizes


def documents(output):
    """What the JSON documents in a console's output say, each on a line of its own; broken ones say nothing."""
    found = {}
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                found |= json.loads(line)
            except ValueError:
                continue
    return found


def kept_in(machine, output):
    """What firmware keeps of the machine's RAM, by type and size; None if the output does not say."""
    regions = documents(output).get("regions")
    return None if regions is None else kept(expected_ram(machine), regions)


def phantom(machine, node):
    """U-Boot calls a PC's window for device registers cacheable, so the nearest node, the last, seems to have it."""
    return 256 * MIB if (machine.isa, machine.chain, node) == ("x86_64", "uboot-efi", machine.nodes - 1) else 0


# ---- What QEMU was told ------------------------------------------------------------------------------------

def sizes_of_nodes(machine, ranges):
    return [sum(end - start for start, end in ranges)] if machine.board else node_sizes(machine.mem, machine.nodes)


def rams_of_nodes(machine):
    """The ranges of each node: memory is cut in the order of its addresses, a PC's hole counted in."""
    ranges = expected_ram(machine)
    sizes = sizes_of_nodes(machine, ranges)
    if ranges[0] == (0, PC_HOLE[0]) and machine.isa == "x86_64":
        ranges = [(0, ranges[1][1]), *ranges[2:]]
    rest = list(ranges)
    for size in sizes:
        own = []
        while size > 0:
            start, end = rest.pop(0)
            taken = min(size, end - start)
            own.append((start, start + taken))
            size -= taken
            if start + taken < end:
                rest.insert(0, (start + taken, end))
        yield own


def node_of_cpus(machine):
    """By the order of hardware ids."""
    for node, cpus in enumerate(node_cpus(machine.cpus, machine.nodes)):
        yield from [node] * (cpus[1] - cpus[0] + 1 if cpus else 0)


# ---- Whether it is what was found --------------------------------------------------------------------------

def wrong_memory(machine, found):
    ranges = expected_ram(machine)
    if missing := uncovered(ranges, found["regions"]):
        yield f"{missing} bytes of RAM are in no region"
    by_type = kept(ranges, found["regions"])
    lost = sum(by_type.values())
    if lost > KEPT.get(machine.chain, 0) + ODDS + (boards.of(machine).kept if machine.board else 0):
        yield f"more is kept than there should be: {by_type}"
    usable = [region for region in found["regions"] if region["type"] == "usable"]
    size = sum(int(region["end"], 16) - int(region["start"], 16) for region in usable)
    if size != found["usable_bytes"] or size != sum(overlap(ranges, region) for region in usable):
        yield f"{size} bytes are called usable, also {found['usable_bytes']}; not all of them are RAM"
    if size < sum(end - start for start, end in ranges) - lost - machine.mem // 64 - OWN_MAX:
        yield f"{size} bytes are usable, and firmware keeps {lost}: the kernel takes too much for itself"


def wrong_nodes(machine, found):
    ranges = expected_ram(machine)
    lost = sum(kept(ranges, found["regions"]).values())
    rams, sizes = list(rams_of_nodes(machine)), sizes_of_nodes(machine, ranges)
    if len(found["nodes"]) != machine.nodes:
        yield f"{len(found['nodes'])} nodes instead of {machine.nodes}"
        return
    for i, node in enumerate(found["nodes"]):
        distances = [10 if i == j else node_distance(i, j, machine.nodes) for j in range(machine.nodes)]
        if node["distances"] != distances:
            yield f"node {i} has distances {node['distances']}, expected {distances}"
        if not sizes[i] - lost - ODDS <= node["bytes"] <= sizes[i] + phantom(machine, i):
            yield f"node {i} has {node['bytes']} bytes, expected {sizes[i]}"
    for region in found["regions"]:
        for i, ram in enumerate(rams):
            if region["type"] in OURS and region["node"] != i and overlap(ram, region) > 0:
                yield f"{region['start']} is said to be in node {region['node']}, and is in node {i}"


def wrong_cpus(machine, found):
    cpus = sorted(found["cpus"], key=lambda cpu: int(cpu["id"], 16))
    if [cpu["online"] for cpu in cpus] != [True] * machine.cpus:
        yield f"not {machine.cpus} CPUs that run: {cpus}"
    elif [cpu["node"] for cpu in cpus] != list(node_of_cpus(machine)):
        yield f"CPUs in other nodes than {list(node_of_cpus(machine))}: {cpus}"


def agrees(machine):
    """A check of the output of `map --json; nodes --json; cpus --json`: what is wrong first, or None."""
    def check(output):
        found = documents(output)
        if lacking := {"regions", "usable_bytes", "nodes", "cpus"} - found.keys():
            return f"no figures of {', '.join(sorted(lacking))} in the output"
        wrong = [*wrong_memory(machine, found), *wrong_nodes(machine, found), *wrong_cpus(machine, found)]
        return wrong[0] if wrong else None
    return check
