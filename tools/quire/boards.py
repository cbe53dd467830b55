# SPDX-License-Identifier: MIT
"""QEMU's models of boards: what each is, and where its device tree comes from. A board is one entry of BOARDS. Its tree is
Linux' (compiled from the source package, once), QEMU's own, or QEMU's with what that leaves out.

The kernel is loaded by QEMU itself; the exit status goes through semihosting, which every board model has."""
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import places
import tool
import ui
import versions
from devicetree import fdtput, put, two_cells
from machine import GIB, ISAS, MIB, Machine
from ui import Problem

SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")
TREES = places.BUILD / "trees"
SOURCE = "/usr/src/linux-source-6.1.tar.xz"
SOURCE_PARTS = ("arch/arm/boot/dts/bcm*", "arch/arm64/boot/dts/broadcom", "arch/arm64/boot/dts/xilinx",
                "arch/riscv/boot/dts", "include/dt-bindings", "include/uapi/linux/input-event-codes.h",
                "scripts/dtc/include-prefixes")
SBSA_SPIN = 0x10000001000       # in the board's RAM; see spin_table.S
SBSA_INITRD = 0x10010000000     # QEMU 7.2 would tell the lower 32 bits of its own choice only
SPIN_SIZE, SPIN_RELEASE = 0x1000, 0x800
OPENSBI = "/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin"


@dataclass(frozen=True)
class Board:
    isa: str
    machine: str                # QEMU's name for it
    cpus: tuple                 # the fewest and the most that run the kernel; 4 unless asked for others
    mem: tuple                  # the least and the most; the first is taken unless another is asked for
    ram: Callable               # ram(mem) returns the ranges of its RAM, in order, as QEMU's source has them
    tree: Callable              # tree(machine, folder) returns QEMU's arguments for the device tree
    arguments: tuple = ()       # more for QEMU; the console is its next serial port
    small_cpus: int = 0         # in QEMU's count of CPUs, but not able to run the kernel
    tools: tuple = ()           # for the tree, by packages.py's names
    kept: int = 0               # bytes that its tree reserves
    own_initrd: bool = False    # tree() places the boot archive
    qemu: int = 0               # the first major version of QEMU that has the model


# ---- Device trees -----------------------------------------------------------------------------------------

ONE_AT_A_TIME = threading.Lock()


def linux_source():
    """What device trees are made of in Linux' source, taken out of its archive. Others see the whole or nothing."""
    target = TREES / f"source-{os.stat(SOURCE).st_mtime_ns}"
    if not target.is_dir():
        TREES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TREES) as folder, ui.Step("device trees out of Linux' source") as step:
            step.note()
            tool.run(["tar", "-C", folder, "--strip-components=1", "-xJf", SOURCE, "--wildcards",
                     *(f"linux-source-*/{part}" for part in SOURCE_PARTS)])
            os.mkdir(f"{folder}/whole")
            for part in ("arch", "include", "scripts"):
                shutil.move(f"{folder}/{part}", f"{folder}/whole/{part}")
            try:
                os.rename(f"{folder}/whole", target)
            except OSError:
                if not target.is_dir():     # another quire was faster otherwise
                    raise
    return target


def compiled(name):
    """The tree arch/NAME.dts of Linux' source."""
    if not Path(SOURCE).is_file():
        raise Problem(f"{SOURCE} is missing (Debian's package linux-source-6.1)")
    with ONE_AT_A_TIME:
        source = linux_source()
        tree = source / (Path(name).name + ".dtb")
        if not tree.is_file():
            dts = source / "arch" / f"{name}.dts"
            text = tool.run(["cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp",
                            "-I", str(source / "scripts/dtc/include-prefixes"), "-I", str(dts.parent), str(dts)])
            part = tree.with_suffix(".part")
            tool.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(part), "-"], input=text)
            part.rename(tree)
    return tree


def linux(name):
    return lambda machine, folder: ["-dtb", str(compiled(name))]


def linux_with_memory(name):
    """Where QEMU does not write the memory nodes itself."""
    def tree(machine, folder):
        path = shutil.copy(compiled(name), folder / "board.dtb")
        for node in re.findall(r"^memory@\w+$", tool.run(["fdtget", "-l", str(path), "/"]), re.MULTILINE):
            fdtput(path, ["-r"], [f"/{node}"])
        for start, end in ram(machine):
            put(path, f"/memory@{start:x}", {"device_type": "memory", "reg": two_cells(start) + two_cells(end - start)})
        return ["-dtb", str(path)]
    return tree


def own(machine, folder):
    return []


def sbsa(machine, folder):
    """QEMU's own has memory and CPUs only; the firmware that it is for knows the rest (hw/arm/sbsa-ref.c)."""
    path = folder / "board.dtb"
    tool.run(emulated(machine, f",dumpdtb={path}"))
    for cpu in re.findall(r"^cpu@\w+$", tool.run(["fdtget", "-l", str(path), "/cpus"]), re.MULTILINE):
        put(path, f"/cpus/{cpu}", {"device_type": "cpu", "compatible": "arm,armv8"})
    put(path, "/interrupt-controller", {"compatible": "arm,gic-v3", "#interrupt-cells": [3],
                                        "reg": [0, 0x40060000, 0, 0x10000, 0, 0x40080000, 0, 0x4000000]})
    put(path, "/timer", {"compatible": "arm,armv8-timer", "interrupts": [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]})
    put(path, "/uart@60000000", {"compatible": "arm,pl011", "reg": [0, 0x60000000, 0, 0x1000]})
    put(path, "/chosen", {"stdout-path": "/uart@60000000"})
    arguments = sbsa_cpus(machine, path, folder) if machine.cpus > 1 else []
    if machine.initrd:
        size = os.stat(machine.initrd).st_size
        put(path, "/chosen", {"linux,initrd-start": two_cells(SBSA_INITRD),
                              "linux,initrd-end": two_cells(SBSA_INITRD + size)})
        arguments += ["-device", f"loader,file={machine.initrd},addr={SBSA_INITRD:#x},force-raw=on"]
    return ["-dtb", str(path), *arguments]


def sbsa_cpus(machine, path, folder):
    """QEMU leaves all CPUs but the first to firmware, which nobody offers here: they start in a spin table of ours."""
    code = folder / "spin_table.bin"
    prefix = f"{machine.isa}-linux-gnu-"
    tool.run([f"{prefix}gcc", "-c", "-o", str(folder / "spin_table.o"), str(Path(__file__).with_name("spin_table.S"))])
    tool.run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", str(folder / "spin_table.o"), str(code)])
    put(path, "/reserved-memory", {"#address-cells": [2], "#size-cells": [2]})
    put(path, f"/reserved-memory/spin-table@{SBSA_SPIN:x}", {"reg": two_cells(SBSA_SPIN) + two_cells(SPIN_SIZE)})
    arguments = ["-device", f"loader,file={code},addr={SBSA_SPIN:#x},force-raw=on"]
    for cpu in range(1, machine.cpus):
        put(path, f"/cpus/cpu@{cpu}", {"enable-method": "spin-table",
                                       "cpu-release-addr": two_cells(SBSA_SPIN + SPIN_RELEASE + 8 * cpu)})
        arguments += ["-device", f"loader,addr={SBSA_SPIN:#x},cpu-num={cpu}"]
    return arguments


def icicle_ram(mem):
    """1 GiB low, the rest high. Linux' tree describes another setting of the board's address switches."""
    return [(0x80000000, 0x80000000 + GIB), (0x1000000000, 0x1000000000 + mem - GIB)]


def from_start(start, end=None):
    """RAM in one piece, perhaps not all of it the processor's."""
    return lambda mem: [(start, end or start + mem)]


# ---- The boards -------------------------------------------------------------------------------------------

VIDEOCORE = 960 * MIB           # from here to 1 GiB, RAM of Raspberry Pis is the graphics processor's
FROM_LINUX = ("linux-source", "dtc", "gcc", "libc")

BOARDS = {
    "raspi3b": Board("aarch64", "raspi3b", cpus=(4, 4), mem=(GIB, GIB), ram=from_start(0, VIDEOCORE),
                     tools=FROM_LINUX, arguments=("-serial", "null"),
                     tree=linux("arm64/boot/dts/broadcom/bcm2837-rpi-3-b")),
    "raspi4b": Board("aarch64", "raspi4b", cpus=(4, 4), mem=(2 * GIB, 2 * GIB), ram=from_start(0, VIDEOCORE), qemu=9,
                     tools=FROM_LINUX, arguments=("-serial", "null"),
                     tree=linux("arm64/boot/dts/broadcom/bcm2711-rpi-4-b")),    # QEMU says nothing of what is above 1 GiB
    "xlnx-zcu102": Board("aarch64", "xlnx-zcu102", cpus=(4, 4), mem=(2 * GIB, 2 * GIB), ram=from_start(0),
                         tools=FROM_LINUX, tree=linux("arm64/boot/dts/xilinx/zynqmp-zcu102-rev1.0")),
    "sbsa-ref": Board("aarch64", "sbsa-ref", cpus=(1, 32), mem=(GIB, 8 * GIB), ram=from_start(1 << 40),
                      tools=("dtc", "gcc-aarch64"), own_initrd=True, tree=sbsa),
    "sifive_u": Board("riscv64", "sifive_u", cpus=(1, 4), mem=(GIB, 8 * GIB), ram=from_start(2 * GIB), small_cpus=1,
                      tree=own),
    "microchip-icicle-kit": Board("riscv64", "microchip-icicle-kit", cpus=(4, 4), mem=(2 * GIB, 2 * GIB), small_cpus=1,
                                  ram=icicle_ram, kept=4 * MIB, tools=FROM_LINUX,
                                  arguments=("-bios", OPENSBI, "-serial", "null"),
                                  tree=linux_with_memory("riscv/boot/dts/microchip/mpfs-icicle-kit")),
}


def tools(isa):
    """What the boards of an ISA need, by packages.py's names."""
    return [tool for board in BOARDS.values() if board.isa == isa for tool in board.tools]


def of(machine):
    return BOARDS[machine.board]


def ram(machine):
    return of(machine).ram(machine.mem)


def machine(name, **changes):
    """The board with all it has, for who asks for nothing else."""
    board = BOARDS[name]
    return replace(Machine(board.isa, board=name, cpus=min(4, board.cpus[1]), mem=board.mem[0]), **changes)


def unavailable(name):
    """Why this machine's QEMU does not run the board, in one line; None if it does."""
    board = BOARDS[name]
    found = versions.qemu(board.isa)
    if found is None or found >= (board.qemu, 0):
        return None
    return f"the model {board.machine} needs QEMU {board.qemu}.0 or newer; this is {versions.shown(found)}"


def size(count):
    return f"{count // GIB}G" if count % GIB == 0 else f"{count // MIB}M"


def between(least, most, show=str):
    return show(least) if least == most else f"{show(least)} to {show(most)}"


def check(machine):
    """Complains about what the board does not have."""
    board = of(machine)
    if machine.isa != board.isa:
        raise Problem(f"{machine.board} is a board for {board.isa}: quire run {board.isa} --board {machine.board}", status=2)
    if machine.chain != "direct":
        raise Problem(f"{machine.board} is booted by direct only, not by {machine.chain}", status=2)
    if machine.cpu:
        raise Problem(f"{machine.board} has its own CPUs; --cpu cannot change them", status=2)
    if machine.nodes != 1:
        raise Problem(f"{machine.board} has one node; --nodes cannot change that", status=2)
    if not board.cpus[0] <= machine.cpus <= board.cpus[1]:
        raise Problem(f"{machine.board} has {between(*board.cpus)} CPUs, not {machine.cpus}", status=2)
    if not board.mem[0] <= machine.mem <= board.mem[1]:
        raise Problem(f"{machine.board} has {between(*board.mem, size)} of memory, not {size(machine.mem)}", status=2)
    if reason := unavailable(machine.board):
        raise Problem(f"{machine.board} is not run here: {reason}", status=2)


def emulated(machine, properties=""):
    """QEMU's command line without the device tree, what is booted, and the console."""
    board, isa = of(machine), ISAS[machine.isa]
    if machine.initrd is not None and not Path(machine.initrd).is_file():
        raise Problem(f"--initrd {machine.initrd}: no such file", status=2)
    return [isa.emulator, "-M", board.machine + properties, "-smp", str(machine.cpus + board.small_cpus),
            "-m", f"{machine.mem // MIB}M", *SEMIHOSTING, "-display", "none", "-nic", "none", "-no-reboot", *board.arguments]
