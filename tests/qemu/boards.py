# SPDX-License-Identifier: MIT
"""QEMU's models of boards: the self-tests on each with all CPUs it has and all its memory in the map, and what the boards'
device trees may lack."""
import json
import shutil
import subprocess

import boards
from boot import Boot
from machine import MIB, Machine

GIB = 1024 * MIB
RAM = {                         # what each has, as QEMU's source says (hw/arm, hw/riscv)
    "raspi3b": [(0, 960 * MIB)],        # the rest is the graphics processor's
    "raspi4b": [(0, 960 * MIB), (GIB, 2 * GIB)],
    "xlnx-zcu102": [(0, 2 * GIB)],
    "sbsa-ref": [(1 << 40, (1 << 40) + GIB)],
    "sifive_u": [(2 * GIB, 3 * GIB)],
    "microchip-icicle-kit": [(2 * GIB, 3 * GIB), (64 * GIB, 65 * GIB)],
}
OURS = ("usable", "kernel", "metadata", "boot data")
KEPT = 5 * MIB                  # OpenSBI's half, and what the trees reserve: 4 MiB at most


def has_memory(ranges):
    """Checks that no more than KEPT of the ranges is not the kernel's, and nothing else is."""
    def check(output):
        regions = next(json.loads(line)["regions"] for line in output.splitlines() if line.startswith('{"regions"'))
        ours = [(int(region["start"], 16), int(region["end"], 16)) for region in regions if region["type"] in OURS]
        size = sum(end - start for start, end in ranges)
        covered = sum(max(0, min(end, last) - max(start, first)) for start, end in ranges for first, last in ours)
        if covered < sum(last - first for first, last in ours):
            return "memory is in use that the board does not have"
        return f"{size - covered} bytes of RAM are not in use" if size - covered > KEPT else None
    return check


def models(isa):
    for name, board in boards.BOARDS.items():
        if board.isa != isa or boards.unavailable(name):
            continue
        machine = boards.machine(name)
        yield Boot(f"board {name}", machine, "map --json; cpus; selftest", check=has_memory(RAM[name]), timeout=180,
                   expect=(f"^cpus: {machine.cpus} of {machine.cpus} running",), refuse=("^warning: CPU",))


def variants(isa):
    if isa == "aarch64":
        yield Boot("board sbsa-ref, 9 CPUs", boards.machine("sbsa-ref", cpus=9), "cpus", timeout=120,
                   expect=("^cpus: 9 of 9 running", r"^ +\d+ +0x100 .* running"))
        yield Boot("board raspi3b, nothing starts CPUs", boards.machine("raspi3b"), "cpus; selftest machine",
                   prepare=without_method, expect=("^cpus: 1 of 1 running", "^warning: .* they stay off$"))
        yield Boot("board raspi3b, zones", boards.machine("raspi3b"), "zones", expect=("^ +0  DMA  ",),
                   refuse=("^ +0  DMA32 ",))
    if isa == "riscv64":
        yield Boot("board sifive_u, memory above 4 GiB", boards.machine("sifive_u", mem=5 * GIB, cpus=2),
                   "map --json; cpus; selftest machine", check=has_memory([(2 * GIB, 7 * GIB)]),
                   expect=("^cpus: 2 of 2 running",))


# ---- Trees that lack something -----------------------------------------------------------------------------

def fdtput(tree, *words):
    subprocess.run(["fdtput", *words[:-1], str(tree), *words[-1]], check=True, capture_output=True)


def without_method(command, folder):
    """The board's tree, in which nothing says how CPUs start."""
    tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
    for cpu in range(4):
        fdtput(tree, "-d", (f"/cpus/cpu@{cpu}", "enable-method", "cpu-release-addr"))
    return ["-dtb", str(tree)]


def without_stdout(*alias):
    """QEMU's own tree with no console named in /chosen, and perhaps an alias."""
    def prepare(command, folder):
        tree = folder / "changed.dtb"
        subprocess.run([*command, "-M", f"dumpdtb={tree}"], check=True, capture_output=True)
        fdtput(tree, "-d", ("/chosen", "stdout-path"))
        for name in alias:
            fdtput(tree, "-p", "-t", "s", ("/aliases", name, "/pl011@9000000"))
        return ["-dtb", str(tree)]
    return prepare


def consoles(isa):
    if isa == "aarch64":
        for name, prepare in (("no stdout-path", without_stdout()), ("alias serial0", without_stdout("serial0"))):
            yield Boot(name, Machine(isa, cpus=1), "stat", prepare=prepare, expect=("^quire> stat",))


def boots(isa):
    for group in (models, variants, consoles):
        yield from group(isa)
