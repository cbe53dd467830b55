# SPDX-License-Identifier: MIT
"""QEMU command lines. An ISA is one entry of ISAS; everything else here is the same for all of them."""
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ui import Problem

MIB = 1 << 20
COMMAND_LINE_MAX = 2047         # what the kernel keeps (BOOT_CMDLINE_MAX)
NODES_MAX = 64                  # TOPO_MAX_NODES
GICV2_CPUS = 8
STATUS_OK, STATUS_FAILED = 33, 35


@dataclass(frozen=True)
class Isa:
    name: str
    machine: str
    cpu: str
    exit_device: tuple          # what lets the kernel choose QEMU's exit status

    @property
    def emulator(self):
        return f"qemu-system-{self.name}"


ISAS = {isa.name: isa for isa in (
    Isa("x86_64", "q35", "max", ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")),
    Isa("riscv64", "virt", "rv64", ()),                 # virt has its own device for that
    Isa("aarch64", "virt", "cortex-a57", ("-semihosting-config", "enable=on,target=native")),
)}


@dataclass(frozen=True)
class Machine:
    isa: str
    cpus: int = 4
    mem: int = 1024 * MIB
    nodes: int = 1
    cpu: str | None = None      # None: the ISA's default
    append: str = ""
    initrd: str | None = None
    chain: str = "direct"       # how the kernel is booted: see chains.py
    extra: tuple = field(default=())


def parse_size(text):
    """Bytes from 512M, 1G, 1.5G; a plain number counts MiB, and all is rounded to 8 KiB, as in QEMU."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(i?B)?", text, re.IGNORECASE)
    if match is None:
        raise ValueError("not a size such as 512M or 2G")
    unit = 1 << {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[match[2].upper()]
    size = int(float(match[1]) * unit) // 8192 * 8192
    if size == 0:
        raise ValueError("less than 8 KiB")
    return size


def parse_count(most):
    def parse(text):
        if not re.fullmatch(r"\d+", text):
            raise ValueError("not a number")
        if not 1 <= int(text) <= most:
            raise ValueError(f"must be 1 to {most}")
        return int(text)
    return parse


def share(total, parts):
    """Cuts `total` into `parts` that differ by at most one, the larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def node_sizes(mem, nodes):
    sizes = [part * MIB for part in share(mem // MIB, nodes)]
    sizes[-1] += mem % MIB
    if min(sizes) < MIB:
        raise Problem(f"{nodes} nodes need at least {nodes} MiB of memory", status=2)
    return sizes


def node_cpus(cpus, nodes):
    """First and last CPU of each node; nodes beyond the number of CPUs have none."""
    first = 0
    for count in share(cpus, nodes):
        yield (first, first + count - 1) if count else None
        first += count


def node_distance(a, b, nodes):
    """Nodes stand in a ring; each hop costs as much as local memory."""
    hops = min(abs(a - b), nodes - abs(a - b))
    return min(10 + 10 * hops, 254)


def numa_arguments(machine):
    if machine.nodes == 1:
        return []
    if machine.isa == "riscv64" and machine.cpus < machine.nodes:
        raise Problem(f"riscv64 machines in QEMU have no nodes without CPUs: {machine.nodes} nodes need "
                      f"--cpus {machine.nodes} or more", status=2)
    arguments = []
    cpus = list(node_cpus(machine.cpus, machine.nodes))
    for node, size in enumerate(node_sizes(machine.mem, machine.nodes)):
        arguments += ["-object", f"memory-backend-ram,id=m{node},size={size}"]
        own = f",cpus={cpus[node][0]}-{cpus[node][1]}" if cpus[node] else ""
        arguments += ["-numa", f"node,nodeid={node}{own},memdev=m{node}"]
    for a in range(machine.nodes):
        for b in range(a + 1, machine.nodes):
            arguments += ["-numa", f"dist,src={a},dst={b},val={node_distance(a, b, machine.nodes)}"]
    return arguments


def machine_type(machine):
    name = ISAS[machine.isa].machine
    if machine.isa == "aarch64" and machine.cpus > GICV2_CPUS:
        return f"{name},gic-version=3"
    if machine.isa == "riscv64" and (machine.nodes > 2 or machine.cpus % machine.nodes):
        return f"{name},aia=aplic"  # QEMU 7.2's default interrupt controller takes two nodes of equal size at most
    return name


def kernel_line(machine, script):
    """Options, then ` -- ` and the monitor's commands. qemu-exit asks the kernel to end with a status."""
    if script is not None and "--" in machine.append.split():
        raise Problem("--append holds commands after \"--\" already; --exec cannot add to them", status=2)
    words = ["qemu-exit", machine.append] + ([] if script is None else ["--", script])
    line = " ".join(word for word in words if word)
    if len(line.encode()) > COMMAND_LINE_MAX:
        raise Problem(f"options and commands have {len(line.encode())} bytes; the kernel takes {COMMAND_LINE_MAX}",
                      status=2)
    return line


def emulated(machine):
    """The emulator's command line without what is booted, and without its console (see chains.py, emulator.py)."""
    isa = ISAS[machine.isa]
    if machine.initrd is not None and not Path(machine.initrd).is_file():
        raise Problem(f"--initrd {machine.initrd}: no such file", status=2)
    return [isa.emulator, "-M", machine_type(machine), "-cpu", machine.cpu or isa.cpu,
            "-smp", str(machine.cpus), "-m", f"{machine.mem // 1024}K",
            *numa_arguments(machine), *isa.exit_device,
            "-display", "none", "-nic", "none", "-no-reboot"]


def with_enough_cpus(machine):
    """For a machine whose number of CPUs nobody chose: one per node at least."""
    return replace(machine, cpus=max(machine.cpus, machine.nodes))
