# SPDX-License-Identifier: MIT
"""Machines of many kinds; on each the self-tests run, and what the monitor shows is what QEMU was told."""
import json
import re
import subprocess
from pathlib import Path

import build
import trees
import versions
from boot import Boot
from machine import GIB, MIB, STATUS_FAILED, Machine


def documents(output):
    """The JSON documents in a console's output: each on a line of its own."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def shows(nodes, cpus, mem):
    """Checks the output of JSON_SCRIPT against what the machine has; a PC's firmware keeps a little for itself."""
    def check(output):
        found = {key: value for document in documents(output) for key, value in document.items()}
        memory = sum(node["bytes"] for node in found["nodes"])
        if len(found["nodes"]) != nodes or not mem - MIB < memory <= mem:
            return f"{len(found['nodes'])} nodes with {memory} bytes, expected {nodes} with {mem}"
        if [cpu["online"] for cpu in found["cpus"]] != [True] * cpus:
            return f"{len(found['cpus'])} CPUs, or one of them is off; expected {cpus}"
        if found["usable_bytes"] > mem or found["managed"] * 4096 > found["usable_bytes"]:
            return "more memory is managed than there is"
        costs = found["metadata_bytes"] + found["descriptor_bytes"] + found["table_bytes"]
        return f"metadata takes {costs} of {mem} bytes" if costs * 100 > mem else None
    return check


JSON_SCRIPT = "map --json; nodes --json; cpus --json; zones --json; frames --json; layout --json; stat --json"


def sizes(isa):
    for cpus in (1, 2, 4, 8):
        yield Boot(f"{cpus} CPU{'s' * (cpus > 1)}", Machine(isa, cpus=cpus), expect=(f"^cpus: {cpus} of {cpus} running",))
    yield Boot("32 MiB", Machine(isa, mem=32 * MIB, cpus=2))
    yield Boot("8 GiB", Machine(isa, mem=8 * GIB, cpus=2))
    yield Boot("odd memory size", Machine(isa, mem=333 * MIB + 4096 * 2, cpus=3))


def nodes(isa):
    yield Boot("4 nodes", Machine(isa, cpus=4, nodes=4, mem=2 * GIB), "map; nodes; zones; selftest",
               expect=(r"on 4 nodes", r"^ +0 +51[12] MiB +1 +10 +20 +30 +20 +1 3 2"))
    yield Boot("2 nodes, uneven", Machine(isa, cpus=3, nodes=2, mem=1001 * MIB), "nodes; selftest")
    if isa != "riscv64":
        yield Boot("nodes without CPUs", Machine(isa, cpus=2, nodes=3), "nodes; selftest",
                   expect=(r"^ +2 +\S+ MiB +0 ",))
        yield Boot("8 nodes", Machine(isa, cpus=8, nodes=8), "nodes; selftest frame", expect=("on 8 nodes",))


def data(isa):
    yield Boot("JSON", Machine(isa), JSON_SCRIPT, check=shows(1, 4, GIB))
    many = 4 if isa == "riscv64" else 6
    yield Boot("JSON, nodes", Machine(isa, nodes=many, cpus=6), JSON_SCRIPT, check=shows(many, 6, GIB))


def frame_figures(output):
    """Whether the allocator's figures agree with each other. The caches move between one command and the next."""
    found = {key: value for document in documents(output) for key, value in document.items()}
    for frames in (*found["zones"], *found["node_frames"]):
        if frames["free"] + frames["cached"] + frames["used"] != frames["managed"]:
            return f"free, cached and used frames are not what is managed: {frames}"
    for frag in found["frag"]:
        unusable = frag["unusable_permille"]
        if sum(blocks << order for order, blocks in enumerate(frag["blocks"])) != frag["free"]:
            return f"the free blocks are not the free frames: {frag}"
        if unusable[0] != 0 or unusable != sorted(unusable) or unusable[-1] > 1000:
            return f"permille that cannot be: {unusable}"
        if not frag["largest_run"] * 1000 >= frag["mean_run_thousandths"] >= 1000:
            return f"runs that cannot be: {frag}"
    if [cache["cpu"] for cache in found["caches"]] != list(range(4)) or not any(c["filled"] for c in found["caches"]):
        return f"not the caches of 4 CPUs: {found['caches']}"
    latency = found["latency"]
    if any(path["calls"] != sum(path["buckets"]) for path in latency["paths"]) or \
            [path["path"] for path in latency["paths"]] != ["refill", "spill", "alloc", "free", "drain"]:
        return f"calls that are in no bucket: {latency}"
    kinds = [event["kind"] for event in found["trace"]["shown"] if not event["kind"].startswith("chunk")]
    calls = {path["path"]: path["calls"] for path in latency["paths"]}
    if not latency["measured"] or calls["drain"] < 1 or calls["alloc"] < 2:
        return f"calls that were not measured: {latency}"
    return None if kinds == ["alloc", "alloc"] else f"not the two allocations: {kinds}"


def slabs_add_up(output):
    """`slabs --json` after the self-test, which gives all objects back: none is in use, and the sums agree."""
    slabs, = documents(output)
    for cache in (found := {cache["name"]: cache for cache in slabs["slabs"]}).values():
        if cache["used"] != 0 or cache["free"] + cache["depot"] + cache["cpus"] != cache["objects"]:
            return f"objects that are nowhere, or in use: {cache}"
    return None if {"magazine", "slab header", "thing", "page"} <= found.keys() else f"not the caches: {[*found]}"


RESERVES = {"page tables": 8, "interrupt": 16, "reclaim": 16, "report": 4}   # of a node with two CPUs


def reserves_add_up(output):
    """`reserve --json` against what `frames`, `zones` and `stat` say of the same moment: nothing happens in between."""
    reserve, frames, zones, stat = documents(output)
    nodes = [node["node"] for node in frames["node_frames"]]
    if [(pool["node"], pool["class"], pool["size"]) for pool in reserve["reserves"]] != \
            [(node, *pool) for node in nodes for pool in RESERVES.items()]:
        return f"not the reserves of two nodes with two CPUs each: {reserve['reserves']}"
    for pool in reserve["reserves"]:
        if not pool["held"] == pool["size"] == pool["filled"] - pool["taken"]:
            return f"not full, or not as full as it was filled: {pool}"
    if sum(pool["held"] for pool in reserve["reserves"]) != stat["reserved"]:
        return f"the reserves hold something else than the {stat['reserved']} frames that are reserved"
    if stat["free"] + stat["used"] + stat["reserved"] != stat["managed"]:
        return f"free, used and reserved frames are not what is managed: {stat}"
    if sum(node["used"] for node in frames["node_frames"]) != stat["used"] + stat["reserved"]:
        return "used frames of the nodes are not those in use and those in reserves"
    for marks, counted, zone in zip(reserve["zones"], frames["zones"], zones["zones"], strict=True):
        if len({(entry["node"], entry["zone"]) for entry in (marks, counted, zone)}) != 1:
            return f"not the same zone: {marks}, {counted}, {zone}"
        if not marks["free"] == counted["free"] + counted["cached"] == zone["free"]:
            return f"not as many free frames: {marks}, {counted}, {zone}"
        if not marks["free"] >= marks["high"] > marks["low"] > marks["min"] > marks["critical"] or marks["level"] != "none":
            return f"no pressure, and marks below what is free, would be right: {marks}"
    return None


def helpful(output):
    """Each command of the monitor has its line in `help`."""
    source = (Path(__file__).parents[2] / "kernel/commands.c").read_text()
    names = re.findall(r'^    \{"(\w+)", "', source, re.MULTILINE)
    lines = dict(re.findall(r"^  (\w+) +(\S.+)$", output, re.MULTILINE))
    missing = [name for name in names if len(lines.get(name, "").split()) < 2]
    return f"no help for {missing} of {len(names)} commands" if missing or len(names) < 20 else None


def live_frames(output):
    """The frames of each allocation that a page trace in a console's output leaves, and the frees of others."""
    live, strangers, inside = {}, 0, False
    for line in output.splitlines():
        kind, *numbers = line.split() or [""]
        if line.startswith("# page-trace-1"):
            inside = True
        elif not inside or line == "# end":
            inside = False
        elif kind in "AR":
            live[numbers[0]] = set(range(1 << int(numbers[1]) if kind == "A" else int(numbers[1])))
        elif kind == "F" and numbers[0] not in live:
            strangers += 1
        elif kind == "F":
            first, count = map(int, numbers[2:]) if len(numbers) > 2 else (0, len(live[numbers[0]]))
            live[numbers[0]] -= set(range(first, first + count))
    return sorted(sorted(frames) for frames in live.values() if frames), strangers


def traced(output):
    """The dump says what the commands did, and so does its replay on this machine, from the console's output as it is."""
    live, strangers = live_frames(output)
    expected = [[0], [0, 1, 5, 6, 7]], 1
    if (live, strangers) != expected:
        return f"{live} and {strangers} frees of others, expected {expected}"
    done = subprocess.run([build.page_replay(), "0"], input=output.encode(), capture_output=True)
    if done.returncode != 0:
        return f"the replay failed: {done.stderr.decode()}"
    found = json.loads(done.stdout)
    figures = found["live_at_end_blocks"], found["live_at_end_pages"], found["strangers"], found["not_served"]
    return None if figures == (2, 6, 1, 0) else f"the replay has {figures} blocks, pages, frees of others, not served"


def figures(isa):
    """What the allocator says about itself."""
    yield Boot("figures of the allocator", Machine(isa, nodes=2),
               "latency on; alloc 1; trace on 128; alloc 3; alloc 3; trace show --json; trace off; frames --json; frag --json; "
               "caches --json; latency --json; frames; frag; frag node=1; frag dma32; caches; latency; trace on 256 slow; "
               "alloc 7; trace show; trace off", check=frame_figures,
               expect=(r"^ +0  in all ", r"^  node 1: \d+ frames free", r"^  node 1, DMA32: ", r"^ +calls( +\d+){5}$",
                       r"^  of slow calls; room for 256 events; \d+ so far"))
    yield Boot("reserves", Machine(isa, nodes=2), "reserve --json; frames --json; zones --json; stat --json; reserve",
               check=reserves_add_up, expect=(r"^ +1  page tables +8 +8 +0 +8$", r"^ +1  DMA32 +none +\d+ +\d+ +\d+"))
    yield Boot("slabs", Machine(isa), "slabs; selftest slab; slabs --json; slabs", check=slabs_add_up,
               expect=(r"^ok \d+ slab\.storm_on_all_cpus$", r"^  thing +64 +\d+ +\d+ +\d+ +0 +\d+ +0 +0$"))
    yield Boot("help", Machine(isa, cpus=1, mem=64 * MIB), "help; help reserve", check=helpful,
               expect=(r"^reserve \[--json\]$",))
    base = {"x86_64": 0x10000000, "riscv64": 0x90000000, "aarch64": 0x50000000}[isa]
    yield Boot("a trace", Machine(isa),
               f"alloc 5 at={base:#x}; trace on; alloc 8 at={base + 0x10000:#x}; alloc 512 align=512 at={base + 0x400000:#x}; "
               f"alloc 1 at={base + 0x20000:#x}; free {base + 0x12000:#x} 3; free {base:#x} 5; free {base + 0x400000:#x} 512; "
               "trace dump; trace off", check=traced, expect=(rf"^# page-trace-1 {isa} partial$", r"^A \d+ 9 8 0 0 0$", "^# end$"))
    for wrong, expect in (("frag nowhere", "^  nowhere: no such zone or node here"), ("frag node=9", "^  node=9: no such"),
                          ("frag DMA32 node=0", "^usage: frag"), ("caches now", "^usage: caches"),
                          ("reserve all", "^usage: reserve"), ("help nothing", "^help: no such command: nothing"),
                          ("latency 1", "^usage: latency"), ("trace", "^usage: trace"), ("trace dump", "no trace of every"),
                          ("trace off", "no trace is on"), ("trace on 100", "^  100: not a power of two"),
                          ("trace on; trace on", "a trace is on already"), ("trace on slow; trace dump", "no trace of every"),
                          ("trace show x", "^usage: trace"), ("frames all", "^usage: frames")):
        yield Boot(f"wrong use: {wrong}", Machine(isa, cpus=1, mem=64 * MIB), wrong, status=35, expect=(expect,))


def paging(isa):
    modes = {"x86_64": (("4", "4-level"), ("5", "5-level")), "aarch64": (("4", "4-level"),),
             "riscv64": (("sv39", "Sv39"), ("sv48", "Sv48"), ("sv57", "Sv57"))}
    for option, shown in modes[isa]:
        yield Boot(f"paging={option}", Machine(isa, append=f"paging={option}", mem=2 * GIB),
                   expect=(f"paging {shown}$",))


def zone_sizes(output):
    """Managed bytes of each kind of zone, from `zones --json`."""
    sizes = {}
    for document in documents(output):
        for zone in document.get("zones", ()):
            sizes[zone["zone"]] = sizes.get(zone["zone"], 0) + zone["managed"] * 4096
    return sizes


def about(**expected):
    """Zones of these sizes in MiB, each but for the 2 MiB to which a border is rounded, and no others above Normal."""
    def check(output):
        sizes = zone_sizes(output)
        for zone in ("HighMem", "Movable", "Device"):
            size, wanted = sizes.get(zone, 0), expected.get(zone, 0) * MIB
            if abs(size - wanted) > 3 * MIB or (size > 0) != (wanted > 0):
                return f"zone {zone} has {size} bytes, expected about {wanted}"
        return None
    return check


HIGHMEM_SCRIPT = "zones --json; selftest; alloc 1000 zone=HighMem zeroed; alloc 600 zone=HighMem; map; layout; stat"


def zones(isa):
    yield Boot("directmap=256M", Machine(isa, append="directmap=256M"), HIGHMEM_SCRIPT, check=about(HighMem=767))
    yield Boot("directmap=64M", Machine(isa, nodes=2, append="directmap=64M"), HIGHMEM_SCRIPT,
               check=about(HighMem=958))
    yield Boot("movable=256M", Machine(isa, append="movable=256M"), "zones --json; selftest; alloc 512 zone=Movable",
               check=about(Movable=256))
    yield Boot("directmap=200M movable=500M", Machine(isa, nodes=2, append="directmap=200M movable=500M"),
               HIGHMEM_SCRIPT, check=about(HighMem=323, Movable=500))
    yield Boot("movable, mapped in part", Machine(isa, append="movable=700M directmap=600M"),
               "zones --json; selftest", check=about(Movable=700))
    # A PC's memory has a hole below 4 GiB.
    yield Boot("5 GiB, directmap=3500M movable=1G", Machine(isa, mem=5 * GIB, append="directmap=3500M movable=1G"),
               HIGHMEM_SCRIPT, check=about(HighMem=595, Movable=1024))


def no_zones(isa):
    """What cannot be is said, and the kernel does without."""
    yield Boot("borders that leave no room", Machine(isa, cpus=2, append="directmap=1M movable=1020M"),
               "zones --json; selftest zones", check=about(),
               expect=("^warning: directmap=1 MiB leaves too little memory to the kernel; left out",
                       "^warning: movable=1020 MiB leaves too little memory to the kernel; left out"))
    yield Boot("sizes that are none", Machine(isa, cpus=1, append="directmap=0 movable=12Q directmap="),
               "zones --json", check=about(),
               expect=('option "directmap=0"', 'option "movable=12Q"', 'option "directmap="'))
    yield Boot("more than there is", Machine(isa, cpus=1, append="directmap=1T movable=1T"), "zones --json",
               check=about(), expect=("^warning: movable=1 TiB leaves",), refuse=("warning: directmap",))
    yield Boot("HighMem where there is none", Machine(isa, cpus=1), "alloc 1 zone=HighMem; zones --json",
               check=about())


def owners_add_up(output):
    """Types and sites of `owners --json` against the counts of `stat --json`."""
    found = {key: value for document in documents(output) for key, value in document.items()}
    types = {entry["type"]: entry["frames"] for entry in found["types"]}
    if sum(types.values()) != found["managed"] or types["free"] != found["free"]:
        return f"{types} are not the {found['managed']} frames that are managed, or the {found['free']} that are free"
    recorded = sum(entry["frames"] for entry in found["sites"])
    if not found["recorded"] or recorded != found["used"]:
        return f"{recorded} frames are on record, {found['used']} are in use"
    return None if types.get("stack", 0) > 0 and types.get("page table", 0) > 0 else f"no stacks or tables in {types}"


def debug_modes(isa):
    base = {"x86_64": 0, "riscv64": 0x80000000, "aarch64": 0x40000000}[isa] + 64 * MIB
    run = f"{base:#x}"
    free = rf"frame_free\({base >> 12:#x}, \d+\) at command_free\+0x[0-9a-f]+: frame "
    yield Boot("debug=owner,poison", Machine(isa, mem=160 * MIB, append="debug=owner,poison"),
               "owners; owners --json; stat --json; selftest", check=owners_add_up, expect=(r"^  stack +\d+ ",), timeout=120)
    yield Boot("debug=poison with HighMem", Machine(isa, mem=160 * MIB, append="debug=poison directmap=64M"),
               "alloc 5000 zone=HighMem; owners; selftest frame; owners", expect=(r"^  command_alloc\+0x\w+ +5000 ",),
               timeout=120)
    yield Boot("a double free", Machine(isa, cpus=2, append="debug=owner"),
               f"alloc 4 at={run}; owners {run}; free {run} 4; owners {run}; free {run} 4", status=STATUS_FAILED,
               expect=("^  allocated at command_alloc", "^  freed at command_free", f"^warning: {free}" + (
                   rf"{base >> 12:#x} is free; freed before at command_free\+0x[0-9a-f]+, allocated at command_alloc\+0x"),))
    yield Boot("a free of two allocations", Machine(isa, cpus=2, append="debug=owner"),
               f"alloc 4 at={run}; alloc 4 at={base + 0x4000:#x}; free {run} 8", status=STATUS_FAILED,
               expect=(f"^warning: {free}{(base >> 12) + 3:#x} ends its allocation; allocated at command_alloc",))
    yield Boot("owners without records", Machine(isa, cpus=1), f"owners; owners {run}; owners {1 << 50:#x}",
               status=STATUS_FAILED, expect=("types are as named by their users", "is free$", "not RAM of the allocator"))
    yield Boot("debug options that are none", Machine(isa, cpus=1, append="debug=owner, debug= debug=poison,owners"),
               "owners", expect=('option "debug=owner,"', 'option "debug="', 'option "debug=poison,owners"'))


def models(isa):
    if isa == "x86_64":
        for cpu in ("qemu64", "max", "max,la57=off,smap=off"):
            yield Boot(f"CPU {cpu}", Machine(isa, cpu=cpu))
        yield Boot("sparse CPU ids", Machine(isa, cpus=6, extra=("-smp", "6,sockets=2,cores=3,threads=1")),
                   "cpus; selftest", expect=("^cpus: 6 of 6 running", r"^ +\d +0x6 "))
        yield Boot("machine pc", Machine(isa, extra=("-M", "pc")))
    if isa == "riscv64" and (versions.qemu(isa) or (0, 0)) >= (10, 0):   # older ones offer Sv57 on every model
        for cpu, mode in (("rv64,sv57=off", "Sv48"), ("rv64,sv57=off,sv48=off", "Sv39"),
                          ("rva22s64", "Sv39"),                         # faults where accessed or dirty is not set
                          ("rva23s64", "Sv39")):
            yield Boot(f"CPU {cpu}", Machine(isa, cpu=cpu), "cpus; selftest", expect=(f"paging {mode}$",))
    if isa == "aarch64":
        for cpu in ("cortex-a53", "cortex-a76", "max"):
            yield Boot(f"CPU {cpu}", Machine(isa, cpu=cpu))
        yield Boot("from EL2", Machine(isa, extra=("-M", "virtualization=on")))
        yield Boot("17 CPUs, GICv3", Machine(isa, cpus=17), "cpus; selftest machine",
                   expect=("^cpus: 17 of 17 running", r"^ +\d+ +0x100 "), timeout=120)


# ---- Changed device trees --------------------------------------------------------------------------------

def all_but_little(command, folder):
    """A device tree that reserves all memory but the image and 32 KiB behind it. QEMU rewrites /memory itself."""
    image = Path(command[command.index("-kernel") + 1]).read_bytes()
    base, start = (0x80000000, 0x80200000) if "riscv64" in command[0] else (0x40000000, 0x40200000)
    end = start + int.from_bytes(image[16:24], "little") + 32 * 1024
    parent = "/reserved-memory"

    def region(first, last):
        node = f"{parent}/test@{first:x}"
        return ("-p", "-t", "x", (node, "reg", "0", f"{first:x}", "0", f"{last - first:x}"))
    cells = [("-p", "-t", "x", (parent, name, "2")) for name in ("#address-cells", "#size-cells")]
    return trees.changed(*cells, ("-p", "-t", "x", (parent, "ranges")), region(base, start),
                        region(end, base + GIB))(command, folder)


def with_changed_trees(isa):
    if isa == "x86_64":
        return
    for status in "disabled", "fail":   # a disabled CPU with an enable-method is one that waits for it
        waits = isa == "aarch64" and status == "disabled"
        yield Boot(f"a CPU with status {status}", Machine(isa), "cpus; selftest machine",
                   prepare=trees.changed(("-t", "s", ("/cpus/cpu@1", "status", status))),
                   expect=("^cpus: 4 of 4 running" if waits else "^cpus: 3 of 3 running",),
                   refuse=() if waits else (r"^ +\d +0x1 ",))
    yield Boot("too little memory", Machine(isa, cpus=1), "", status=35, prepare=all_but_little,
               expect=(r"too little memory: \d+ KiB in one piece are needed",))


def typed(isa):
    yield Boot("typed commands", Machine(isa, cpus=2), typed="help\nnodes\nselftest base\npoweroff\n",
               expect=(r"quire> help$", r"quire> nodes$", r"^ok \d+ base\."))


def benchmarks(isa):
    """The command itself checks that it gave everything back, of every node. One CPU runs: under -icount a CPU that waits
    for another may wait for the end of its turn."""
    yield Boot("benchmarks on nodes", Machine(isa, cpus=2, nodes=2, mem=64 * MIB, append="cpus=1",
                                              extra=("-icount", "shift=0,sleep=off")), "bench",
               expect=(r"^order0_pair \d+$", r"^slab_pair \d+$", r"^fail_order9 \d+$", r"^alloc_large_max \d+$"),
               refuse=("^bench:",))


def variants(isa):
    for variant in ("release", "clang"):
        yield Boot(f"{variant} build", Machine(isa, mem=2 * GIB, nodes=2), variant=variant)


def boots(isa):
    for group in (sizes, nodes, data, figures, paging, zones, no_zones, debug_modes, models, with_changed_trees, typed,
                  benchmarks, variants):
        yield from group(isa)
