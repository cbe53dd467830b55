# SPDX-License-Identifier: MIT
"""QEMU's models of boards beyond the matrix: other sizes, and what boards' device trees may lack or get wrong."""
import shutil
import subprocess
from pathlib import Path

import boards
import devicetree
from agreement import agrees
from boot import Boot
from machine import GIB, STATUS_FAILED, Machine


def variants(isa):
    if isa == "aarch64":
        yield Boot("board sbsa-ref, 9 CPUs", boards.machine("sbsa-ref", cpus=9), "cpus", timeout=120,
                   expect=("^cpus: 9 of 9 running", r"^ +\d+ +0x100 .* running"))
        yield Boot("board raspi3b, nothing starts CPUs", boards.machine("raspi3b"), "cpus; selftest machine",
                   prepare=without_method, expect=("^cpus: 1 of 4 running", "^warning: .* start 3 of the CPUs by; they stay off$"))
        yield from spin_tables()
        yield Boot("board raspi3b, zones", boards.machine("raspi3b"), "zones", expect=("^ +0  DMA  ",),
                   refuse=("^ +0  DMA32 ",))
    if isa == "riscv64":
        large = boards.machine("sifive_u", mem=5 * GIB, cpus=2)
        yield Boot("board sifive_u, memory above 4 GiB", large, "map --json; nodes --json; cpus --json; selftest machine",
                   check=agrees(large))


# ---- Trees that lack something -----------------------------------------------------------------------------

def fdtput(tree, *words):
    devicetree.fdtput(tree, words[:-1], words[-1])


def without_method(command, folder):
    """The board's tree, in which nothing says how CPUs start."""
    tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
    for cpu in range(4):
        fdtput(tree, "-d", (f"/cpus/cpu@{cpu}", "enable-method", "cpu-release-addr"))
    return ["-dtb", str(tree)]


PEN, SHARED_WORD = 0x800, 0xf00     # in the frame that the board's tree keeps for the firmware


def with_pen(cpus, *changes, defined=()):
    """These CPUs wait for one word (pen.S), as do the others by the tree; fdtput makes more changes."""
    def prepare(command, folder):
        tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
        for cpu in range(4):
            fdtput(tree, "-t", "x", (f"/cpus/cpu@{cpu}", "cpu-release-addr", "0", f"{SHARED_WORD:x}"))
        for change in changes:
            fdtput(tree, *change)
        subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", f"-Wl,--build-id=none,-Ttext={PEN:#x}",
                        "-Wl,-e,0", f"-DRELEASE={SHARED_WORD:#x}", *(f"-D{name}" for name in defined),
                        "-o", str(folder / "pen.elf"), str(Path(__file__).with_name("pen.S"))], check=True, capture_output=True)
        subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", "-j", ".text", str(folder / "pen.elf"),
                        str(folder / "pen.bin")], check=True, capture_output=True)
        words = ["-dtb", str(tree), "-device", f"loader,file={folder / 'pen.bin'},addr={PEN:#x},force-raw=on"]
        return words + [word for cpu in cpus for word in ("-device", f"loader,addr={PEN:#x},cpu-num={cpu}")]
    return prepare


def released_at(address):
    """The board's tree, in which CPU 1 polls another word than it does."""
    def prepare(command, folder):
        tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
        fdtput(tree, *(("-d", ("/cpus/cpu@1", "cpu-release-addr")) if address is None else
                       ("-t", "x", ("/cpus/cpu@1", "cpu-release-addr", "0", f"{address:x}"))))
        return ["-dtb", str(tree)]
    return prepare


def spin_tables():
    board, three = boards.machine("raspi3b"), "^cpus: 3 of 4 running"
    yield Boot("board raspi3b, one word for all CPUs", board, "cpus; selftest machine", prepare=with_pen((1, 2, 3)),
               expect=("^cpus: 4 of 4 running",), refuse=("^warning: ",))
    for name, address, said in (("no word", None, "^warning: .* start 1 of the CPUs by; they stay off$"),
                                ("a word where nothing is", 0x50000000, "^smp: CPU 0x1 polls 0x50000000, .*: .*abort"),
                                ("a word in the kernel", 0x201000, "^smp: CPU 0x1 polls 0x201000, which cannot be written$"),
                                ("a word off its border", 0xe4, "^smp: CPU 0x1 polls 0xe4, which cannot be written$"),
                                ("a word in free memory", 0x10000000, "^warning: CPU 0x1 was started but did not come up$")):
        yield Boot(f"board raspi3b, {name} for CPU 1", board, "why 0x10000000; cpus",
                   prepare=released_at(address), expect=(three, said, *(("reserved",) if address == 0x10000000 else ())))
    yield Boot("board raspi3b, an interrupt left enabled", board, "cpus", prepare=with_pen((1,), defined=("INTERRUPT",)),
               expect=("^cpus: 2 of 4 running",), timeout=20)
    yield Boot("board raspi3b, an interrupt that nothing turns off", board, "cpus", status=STATUS_FAILED, timeout=20,
               prepare=with_pen((1,), ("-t", "s", ("/soc/interrupt-controller@7e00b200", "compatible", "other")),
                                defined=("INTERRUPT",)),
               expect=(r"^\*\*\* quire stops: bcm2836: core 0 has an interrupt without end that nobody claims .pending 0x100",))
    yield Boot("board raspi3b, a timer without interrupts", board, "cpus; selftest machine",
               prepare=without_timer, expect=("^cpus: 4 of 4 running",))


def without_timer(command, folder):
    tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
    fdtput(tree, "-d", ("/timer", "interrupts"))
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
        yield Boot("board raspi3b, a console that is not there", boards.machine("raspi3b"), "stat", prepare=console_elsewhere,
                   expect=("^warning: the console at 0x3f300000 cannot be used$", "^quire> stat"))


def console_elsewhere(command, folder):
    """The board's tree, which names the PL011 where it is not; the console is the other part."""
    tree = shutil.copy(command[command.index("-dtb") + 1], folder / "changed.dtb")
    fdtput(tree, "-t", "x", ("/soc/serial@7e201000", "reg", "7e300000", "200"))
    fdtput(tree, "-t", "s", ("/chosen", "stdout-path", "/soc/serial@7e201000"))
    return ["-dtb", str(tree)]


# ---- The end of a machine ----------------------------------------------------------------------------------

def ends(isa):
    """A status is asked for, and nobody serves the call by which it would be told: nothing comes behind the result."""
    unserved = {"prepare": lambda command, folder: ["-semihosting-config", "enable=off"],
                "expect": ("^quire: all commands succeeded",), "refuse": ("^breakpoint ", r"^\*\*\* ")}
    if isa == "aarch64":
        yield Boot("nobody serves semihosting", Machine(isa, cpus=1), "stat", status=0, **unserved)
    if isa == "riscv64":   # the board's firmware cannot turn it off either
        yield Boot("board sifive_u, nobody serves semihosting", boards.machine("sifive_u"), "stat", status=None, timeout=4,
                   **unserved)


def boots(isa):
    for group in (variants, consoles, ends):
        yield from group(isa)
