# SPDX-License-Identifier: MIT
"""Seeds for the fuzz targets: one small, well-formed input of each format. seeds.py DIRECTORY"""
import pathlib
import struct
import sys


def fdt(properties, children):
    """A flattened tree from ({name: bytes}, {name: (properties, children)})."""
    strings, words = bytearray(), bytearray()

    def pad(data):
        return data + bytes(-len(data) % 4)

    def node(name, properties, children):
        words.extend(struct.pack(">I", 1) + pad(name.encode() + b"\0"))
        for key, value in properties.items():
            at = strings.find(key.encode() + b"\0")
            if at < 0:
                at = len(strings)
                strings.extend(key.encode() + b"\0")
            words.extend(struct.pack(">III", 3, len(value), at) + pad(value))
        for child, (inner, below) in children.items():
            node(child, inner, below)
        words.extend(struct.pack(">I", 2))

    node("", properties, children)
    words.extend(struct.pack(">I", 9))
    reserve = struct.pack(">QQQQ", 0x80000000, 0x1000, 0, 0)
    start = 40 + len(reserve)
    total = start + len(words) + len(strings)
    header = struct.pack(">10I", 0xD00DFEED, total, start, start + len(words), 40, 17, 16, 0, len(strings), len(words))
    return header + reserve + bytes(words) + bytes(strings)


def cells(*values):
    return struct.pack(f">{len(values)}I", *values)


def text(*values):
    return b"".join(value.encode() + b"\0" for value in values)


def seed_fdt():
    both = {"#address-cells": cells(2), "#size-cells": cells(2)}
    one = {"#address-cells": cells(1), "#size-cells": cells(1)}
    memory = {"device_type": text("memory"), "reg": cells(0, 0x80000000, 0, 0x10000000), "numa-node-id": cells(0)}
    more = {"device_type": text("memory"), "reg": cells(0, 0xA0000000, 0, 0x10000000), "numa-node-id": cells(1)}
    cpu = {"device_type": text("cpu"), "compatible": text("riscv"), "reg": cells(1), "numa-node-id": cells(1)}
    uart = {"compatible": text("ns16550a"), "reg": cells(0x100, 0x100), "reg-shift": cells(2)}
    gic = {"compatible": text("arm,gic-v3"), "reg": cells(0x1000, 0x100, 0x2000, 0x100), "#interrupt-cells": cells(3)}
    timer = {"compatible": text("arm,armv8-timer"), "interrupts": cells(1, 13, 4, 1, 14, 4, 1, 11, 4)}
    bus = {**one, "ranges": cells(0, 0, 0x10000000, 0x10000), "dma-ranges": cells(0, 0, 0, 0x40000000)}
    distance = {"compatible": text("numa-distance-map-v1"), "distance-matrix": cells(0, 0, 10, 0, 1, 20, 1, 1, 10)}
    return fdt({**both, "model": text("seed")}, {
        "aliases": ({"serial0": text("/soc/uart@100")}, {}),
        "chosen": ({"stdout-path": text("serial0:9600"), "bootargs": text("a b"), "linux,initrd-start": cells(1),
                    "linux,initrd-end": cells(2)}, {}),
        "cpus": ({"#address-cells": cells(1), "#size-cells": cells(0), "timebase-frequency": cells(100)},
                 {"cpu@1": (cpu, {})}),
        "memory@80000000": (memory, {}), "memory@a0000000": (more, {}),
        "distance-map": (distance, {}),
        "psci": ({"compatible": text("arm,psci-1.0"), "method": text("hvc")}, {}),
        "reserved-memory": ({**both, "ranges": b""}, {
            "a@80100000": ({"reg": cells(0, 0x80100000, 0, 0x1000), "no-map": b""}, {}),
            "b": ({"size": cells(0, 0x1000), "alignment": cells(0, 0x1000), "alloc-ranges": cells(0, 0, 1, 0)}, {})}),
        "soc": (bus, {"uart@100": (uart, {}), "gic@1000": (gic, {})}),
        "timer": (timer, {}),
    })


def table(signature, body, revision=3):
    data = bytearray(signature + struct.pack("<IBB", 36 + len(body), revision, 0) + bytes(26) + body)
    data[9] = -sum(data) & 0xFF
    return bytes(data)


def tables():
    lapic = struct.pack("<BBBBI", 0, 8, 0, 0, 1) + struct.pack("<BBBBI", 0, 8, 1, 2, 1)
    x2apic = struct.pack("<BBHIII", 9, 16, 0, 0x100, 1, 2)
    gicc = struct.pack("<BBHIII", 11, 80, 0, 0, 3, 1) + bytes(52) + struct.pack("<Q", 5) + bytes(4)
    gicd = struct.pack("<BBHIQIB3x", 12, 24, 0, 0, 0x8000000, 0, 3)
    rintc = struct.pack("<BBBBIQI", 24, 20, 1, 0, 1, 7, 4)
    cpu = struct.pack("<BBBBIB3sI", 0, 16, 0, 0, 1, 0, b"", 0) + struct.pack("<BBHIIIII", 2, 24, 0, 1, 2, 1, 0, 0)
    memory = [struct.pack("<BBIHQQIIQ", 1, 40, node, 0, node << 30, 1 << 30, 0, 1, 0) for node in range(2)]
    spcr = struct.pack("<B3xBBBBQBBIB", 0, 1, 8, 0, 1, 0x3F8, 3, 4, 4, 7) + bytes(21)
    return [table(b"APIC", struct.pack("<II", 0xFEE00000, 1) + lapic + x2apic + gicc + gicd + rintc),
            table(b"SRAT", struct.pack("<IQ", 1, 0) + cpu + b"".join(memory)),
            table(b"SLIT", struct.pack("<Q4B", 2, 10, 20, 20, 10)), table(b"SPCR", spcr),
            table(b"FACP", bytes(93) + struct.pack("<H", 3))]


def seed_acpi():
    return b"".join(struct.pack("<BH", i, len(data)) + data for i, data in enumerate(tables()))


def seed_image():
    """A control byte, then memory from 0x1000 on: RSDP, XSDT at 0x1040, tables."""
    addresses, body = [], b""
    for data in tables():
        addresses.append(0x1090 + len(body))
        body += data + bytes(-len(data) % 16)
    xsdt = table(b"XSDT", struct.pack(f"<{len(addresses) - 1}Q", *addresses[1:]))
    rsdp = bytearray(b"RSD PTR \0QUIRE \2" + struct.pack("<IIQ4x", 0, 36, 0x1040))
    rsdp[8] = -sum(rsdp[:20]) & 0xFF
    rsdp[32] = -sum(rsdp) & 0xFF
    return b"\x80" + bytes(rsdp) + bytes(0x40 - len(rsdp)) + xsdt + bytes(0x50 - len(xsdt)) + body


def seed_e820():
    entries = [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0x100000, 0x7F00000, 1), (0x5000000, 0x1000, 3),
               (0x5001000, 0x1000, 4), (0x100000000, 0x40000000, 1), (0x140000000, 0x1000000, 7)]
    return b"".join(struct.pack("<QQI", *entry) for entry in entries)


def seed_efi():
    entries = [(7, 0, 0xA0), (3, 0x100000, 0x10), (4, 0x110000, 0x10), (6, 0x120000, 8), (9, 0x128000, 1),
               (11, 0xFEC00000, 1), (14, 0x100000000, 0x100)]
    return b"\0" + b"".join(struct.pack("<IIQQQQQ", kind, 0, start, 0, pages, 0xF, 0) for kind, start, pages in entries)


def seed_frame():
    """Two nodes, holes, all borders, then requests of many kinds (frame.c), most of them freed again."""
    def address(mib):
        return int(mib * 256) << 3

    machine = struct.pack("<BHHHH", 1, address(2) + 1, address(4) + 2, address(7), address(8))
    ram = ((0, 8, 12), (1, 1, 8), (0, 96, 9), (1, 0, 8))
    machine += struct.pack("<B", 3) + b"".join(struct.pack("<BHH", node, gap, address(mib)) for node, gap, mib in ram)
    machine += struct.pack("<B", 2) + struct.pack("<BHH", 1, address(3), address(8)) + struct.pack("<BHH", 0, address(1), 1)
    steps = b""
    for i in range(60):
        shape = (i % 3 == 0) | (i % 7 == 0) << 1 | (i % 2) << 2 | (2 + i % 3) << 4
        steps += struct.pack("<BHBBBBBH", i % 8, i * 37 % 700, shape, i % 64, i % 5 == 0, i % 4 * (i % 10), 0, 0)
        if i % 3 != 0:
            steps += struct.pack("<BBHH", 8, i * 5 % 192, i, 3)
        if i % 20 == 7:
            steps += struct.pack("<BHH", 14, 3 * 256 + i, 5) + b"\x0f"
    return machine + steps


def main():
    directory = pathlib.Path(sys.argv[1])
    for seed in (seed_fdt, seed_acpi, seed_image, seed_e820, seed_efi, seed_frame):
        (directory / seed.__name__.replace("_", ".")).write_bytes(seed())


if __name__ == "__main__":
    main()
