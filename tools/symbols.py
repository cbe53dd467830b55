# SPDX-License-Identifier: MIT
"""Writes the kernel's symbol table as C (see kernel/symbols.c for the format).

usage: symbols.py OUT.c [NM KERNEL.elf]     without NM: an empty table of the same size
"""
import subprocess
import sys

SIZE = 48 * 1024
KERNEL_BASE = 0xFFFFFFFF80000000


def functions(nm, elf):
    """(address, name) of every function, one name per address."""
    listing = subprocess.run([nm, "--defined-only", "-n", elf], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in listing.splitlines():
        address, kind, name = line.split()
        # What lies before the image runs before there are backtraces.
        if kind in "tT" and int(address, 16) >= KERNEL_BASE and not name.startswith((".", "$", "__text")):
            found.setdefault(int(address, 16), name)
    return sorted(found.items())


def main():
    out, blob = sys.argv[1], b""
    if len(sys.argv) > 2:
        for address, name in functions(sys.argv[2], sys.argv[3]):
            blob += (address - KERNEL_BASE).to_bytes(4, "little") + name.encode() + b"\0"
    if len(blob) + 5 > SIZE:
        sys.exit(f"symbols.py: {len(blob)} bytes of symbols, but SIZE is {SIZE}: raise it")
    blob = blob.ljust(SIZE, b"\0")
    with open(out, "w") as file:
        file.write("#include <stdint.h>\n\nextern const uint32_t symbol_table_size;\nextern const char symbol_table[];\n")
        file.write(f"const uint32_t symbol_table_size = {SIZE};\nconst char symbol_table[{SIZE}] = {{\n")
        for at in range(0, SIZE, 24):
            file.write(",".join(str(b - 256 if b > 127 else b) for b in blob[at:at + 24]) + ",\n")
        file.write("};\n")


main()
