# SPDX-License-Identifier: MIT
"""Hand-offs that are missing or wrong: the kernel says so on a console that may be there, then goes on without or stops.
The boot loaders that make them are a few instructions long. Where no console is known on aarch64, the line comes by
semihosting, and so does the status."""
import re
import struct
import subprocess
from pathlib import Path

import trees
from boot import Boot
from machine import MIB, STATUS_FAILED, Machine

RAM = {"riscv64": 0x80000000, "aarch64": 0x40000000}
KERNEL, DATA = 48 * MIB, 32 * MIB   # from the start of RAM
NO_COMMAND_LINE = {"riscv64": 0, "aarch64": STATUS_FAILED, "x86_64": None}  # nobody asked for a status
LITTLE = {"cpus": 1, "mem": 128 * MIB}


# ---- A device tree that is none ---------------------------------------------------------------------------

def aarch64_loader(handoff, kernel):
    """ldr x0, handoff; ldr x1, kernel; br x1; nop"""
    return struct.pack("<4I2Q", 0x58000080, 0x580000a1, 0xd61f0020, 0xd503201f, handoff, kernel)


def riscv64_loader(handoff, kernel):
    """auipc t0, 0; ld a1, 16(t0); ld t1, 24(t0); jr t1"""
    return struct.pack("<4I2Q", 0x00000297, 0x0102b583, 0x0182b303, 0x00030067, handoff, kernel)


def from_loader(offset=None, handoff=0, data=b""):
    """Boots by a loader that hands over `handoff`, or the place `offset` from the start of RAM, where `data` lies."""
    def prepare(command, folder):
        isa = re.search(r"riscv64|aarch64", command[0])[0]
        image, loader, file = command[command.index("-kernel") + 1], folder / "loader", folder / "data"
        where = handoff if offset is None else RAM[isa] + offset
        loader.write_bytes({"riscv64": riscv64_loader, "aarch64": aarch64_loader}[isa](where, RAM[isa] + KERNEL))
        words = ["-kernel", str(loader), "-device", f"loader,file={image},addr={RAM[isa] + KERNEL},force-raw=on"]
        if data:
            file.write_bytes(data)
            words += ["-device", f"loader,file={file},addr={RAM[isa] + DATA},force-raw=on"]
        return words
    return prepare


def no_tree(isa):
    """A tree without memory: nothing can be done with such a machine, but it can be said."""
    huge = struct.pack(">2I", 0xd00dfeed, 64 * MIB) + bytes(40)
    empty = trees.compiled('/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; model = "a model"; compatible = "unknown,machine"; };')
    cases = (("no device tree", from_loader(handoff=0), "^boot: .. is 0, which is no device tree"),
             ("a device tree off its border", from_loader(DATA + 4), "^boot: .. is 0x[0-9a-f]+4, which is no device tree"),
             ("a device tree of other bytes", from_loader(DATA, data=b"quire" * 99), "^boot: no device tree at .*wrong magic"),
             ("a device tree of 64 MiB", from_loader(DATA, data=huge), "^boot: device tree at .* claims 67108864 bytes, more"),
             ("a device tree at no memory", from_loader(handoff=0xf000000000), "access fault|wrong magic"),
             ("a device tree of an unknown machine", from_loader(DATA, data=empty), "^quire .*, Image, a model$"))
    for name, prepare, message in cases:
        yield Boot(name, Machine(isa, **LITTLE), "", prepare=prepare, status=NO_COMMAND_LINE[isa], timeout=20,
                   expect=(message, r"^\*\*\* "))


# ---- A device tree with something wrong in it -------------------------------------------------------------

def without_console(command, folder):
    """The tree comes by our own loader, because OpenSBI believes it as well."""
    isa = re.search(r"riscv64|aarch64", command[0])[0]
    uart = {"riscv64": "/soc/serial@10000000", "aarch64": "/pl011@9000000"}[isa]
    kept = "/reserved-memory/firmware"
    path = trees.changed(("-t", "x", (uart, "reg", "0", "b000000", "0", "1000")),
                         ("-p", "-t", "x", (kept, "reg", "0", f"{RAM[isa]:x}", "0", "200000")),
                         *(("-t", "x", ("/reserved-memory", name, "2")) for name in ("#address-cells", "#size-cells")),
                         ("-t", "x", ("/reserved-memory", "ranges")))(command, folder)[1]
    return from_loader(DATA, data=Path(path).read_bytes())(command, folder)


def wrong_tree(isa):
    yield Boot("a console that is not there", Machine(isa, **LITTLE), "stat", prepare=without_console, timeout=20,
               expect=("^warning: no console answers at 0xb000000 ", "^quire> stat"))
    archive = trees.changed(("-t", "x", ("/chosen", "linux,initrd-start", "1", "0")),
                            ("-t", "x", ("/chosen", "linux,initrd-end", "7f", "0")))
    yield Boot("a boot archive larger than memory", Machine(isa, **LITTLE), "map", prepare=archive,
               expect=(r"^warning: the module at 0x100000000, 0x7e00000000 bytes, is not in memory the kernel may use",),
               refuse=("iB  module ",))


# ---- x86_64 -----------------------------------------------------------------------------------------------

def pvh(**symbols):
    def prepare(command, folder):
        kernel, loader = Path(command[command.index("-kernel") + 1]), folder / "loader.elf"
        note = re.search(rb"\x04\0\0\0.\0\0\0\x12\0\0\0Xen\0(.{4})", kernel.read_bytes(), re.DOTALL)
        entry = int.from_bytes(note[1], "little")
        subprocess.run(["x86_64-linux-gnu-gcc", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-Ttext=0x4000000",
                        f"-DENTRY={entry:#x}", *(f"-D{name}={value}" for name, value in symbols.items()),
                        "-o", str(loader), str(Path(__file__).with_name("handoff.S"))], check=True, capture_output=True)
        return ["-kernel", str(loader), "-device", f"loader,file={kernel}"]
    return prepare


def start_info(isa):
    halts = {"status": 0, "timeout": 20}   # nobody asks for a status without a command line; it cannot turn itself off
    yield Boot("no start info", Machine(isa, **LITTLE), "", prepare=pvh(HANDOFF=0), **halts,
               expect=(r"^boot: no PVH start info at 0 \(wrong magic\)", r"^\*\*\* quire stops: boot: the hand-off"))
    yield Boot("start info of other bytes", Machine(isa, **LITTLE), "", prepare=pvh(OFFSET=0, VALUE=0x12345678), **halts,
               expect=(r"^boot: no PVH start info at 0x", r"^\*\*\* quire stops: "))
    yield Boot("start info without a memory map", Machine(isa, **LITTLE), "", status=STATUS_FAILED,
               prepare=pvh(OFFSET=48, VALUE=0), expect=("^boot: the start info .* has no memory map", r"^\*\*\* quire stops"))
    yield Boot("start info without ACPI", Machine(isa, cpus=2, mem=128 * MIB), "cpus", prepare=pvh(OFFSET=32, VALUE=0),
               expect=("^cpus: 2 of 2 running",), refuse=("^warning: ",))
    yield Boot("a boot archive larger than memory", Machine(isa, initrd=__file__, **LITTLE), "map",
               prepare=pvh(OFFSET=16, VALUE="module"), expect=("^warning: the module at 0x1000000, 0x4000000000 bytes, is not",),
               refuse=("iB  module ",))


def no_acpi(isa):
    yield Boot("start info with a wrong ACPI root", Machine(isa, cpus=2, mem=128 * MIB), "cpus; selftest machine",
               prepare=pvh(OFFSET=32, VALUE=0x5000),
               expect=("^warning: acpi: RSDP at 0x5000: another signature at 0x0", "^cpus: 1 of 1 running"))
    yield Boot("EFI without ACPI", Machine(isa, chain="uefi", extra=("-M", "acpi=off"), cpus=2, mem=128 * MIB),
               "cpus; selftest machine",
               expect=("^cpus: 1 of 1 running",))


# ---- A command line that is too long ----------------------------------------------------------------------

def too_long(command, folder):
    return ["-append", command[command.index("-append") + 1] + " " + "x" * 3000]


def long_lines(isa):
    yield Boot("a command line of 3000 characters", Machine(isa, **LITTLE), prepare=too_long, timeout=20,
               typed="selftest base\npoweroff\n", expect=("^warning: (command line|fdt: .* bootargs are) cut ",))


def boots(isa):
    groups = (start_info, no_acpi, long_lines) if isa == "x86_64" else (no_tree, wrong_tree, long_lines)
    for group in groups:
        yield from group(isa)
