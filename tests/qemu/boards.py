# SPDX-License-Identifier: MIT
"""QEMU's models of boards: the self-tests on each with all CPUs it has and all its memory in the map, and what the boards'
device trees may lack."""
import shutil
import subprocess

import boards
from agreement import agrees
from boot import Boot
from machine import MIB, Machine

GIB = 1024 * MIB


def variants(isa):
    if isa == "aarch64":
        yield Boot("board sbsa-ref, 9 CPUs", boards.machine("sbsa-ref", cpus=9), "cpus", timeout=120,
                   expect=("^cpus: 9 of 9 running", r"^ +\d+ +0x100 .* running"))
        yield Boot("board raspi3b, nothing starts CPUs", boards.machine("raspi3b"), "cpus; selftest machine",
                   prepare=without_method, expect=("^cpus: 1 of 1 running", "^warning: .* they stay off$"))
        yield Boot("board raspi3b, zones", boards.machine("raspi3b"), "zones", expect=("^ +0  DMA  ",),
                   refuse=("^ +0  DMA32 ",))
    if isa == "riscv64":
        large = boards.machine("sifive_u", mem=5 * GIB, cpus=2)
        yield Boot("board sifive_u, memory above 4 GiB", large, "map --json; nodes --json; cpus --json; selftest machine",
                   check=agrees(large))


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
    for group in (variants, consoles):
        yield from group(isa)
