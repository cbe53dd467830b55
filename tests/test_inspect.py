# SPDX-License-Identifier: MIT
"""`quire inspect` on fixtures of our own, built here by dtc and iasl, hostile ones too.

QUIRE_INSPECT names the program. Lies that a compiler will not write are made by changing its output: `patched` sets
bytes and puts the checksum right again, so that the reader meets the lie and not the checksum.
"""
import json
import os
import pathlib
import struct
import subprocess

import pytest

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
INSPECT = os.environ.get("QUIRE_INSPECT", "")
GIB = 1 << 30


def inspect(*arguments, json_wanted=True):
    assert INSPECT, "QUIRE_INSPECT does not name the inspect program"
    command = [INSPECT, *(["--json"] if json_wanted else []), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def machine(*arguments):
    result = inspect(*arguments)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return json.loads(result.stdout)


def refusal(*arguments):
    """The one line that says what and where."""
    result = inspect(*arguments)
    assert result.returncode == 1 and result.stdout == "", result.stdout
    assert result.stderr.startswith("quire inspect: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def warned(found, *parts):
    return any(all(part in line for part in parts) for line in found["warnings"])


def ranges(items):
    return [(int(item["start"], 16), int(item["end"], 16)) for item in items]


def regions(found):
    return [(*span, item["type"]) for span, item in zip(ranges(found["regions"]), found["regions"])]


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """build("board.dts") or build("srat.asl"): the path of the compiled fixture."""
    directory = tmp_path_factory.mktemp("fixtures")
    built = {}

    def compile_one(name):
        if name not in built:
            source, stem = FIXTURES / name, directory / pathlib.Path(name).stem
            if name.endswith(".dts"):
                built[name] = stem.with_suffix(".dtb")
                command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", built[name], source]
            else:
                built[name] = stem.with_suffix(".aml")
                command = ["iasl", "-p", stem, source]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        return built[name]

    return compile_one


@pytest.fixture
def compile_dts(tmp_path):
    """Compiles generated source."""
    def compile_text(text):
        path = tmp_path / "generated.dtb"
        subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", path], input="/dts-v1/;\n" + text, text=True,
                       check=True, timeout=60)
        return path

    return compile_text


def written(path, data):
    path.write_bytes(data)
    return path


def with_checksum(table):
    table = bytearray(table)
    table[9] = 0
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def patched(table, **changes):
    """patched(data, at_0x41=0)"""
    table = bytearray(table)
    for key, value in changes.items():
        table[int(key[3:], 16)] = value
    return with_checksum(table)


# ---- Device trees ----------------------------------------------------------------------------------------

def test_board_memory(build):
    found = machine(build("board.dts"))
    assert regions(found) == [
        (0x40000000, 0x40001000, "reserved"), (0x40001000, 0x41000000, "usable"), (0x41000000, 0x41200000, "no-map"),
        (0x41200000, 0x42000001, "usable"), (0x42000001, 0x42001001, "reserved"), (0x42001001, 0x43000000, "usable"),
        (0x43000000, 0x43001000, "reserved"), (0x43001000, 0x60000000, "usable"), (0x200000000, 0x240000800, "usable")]
    reserved = 0x1000 + 0x200000 + 0x1000 + 0x1000
    assert found["usable_bytes"] == 0x20000000 + 0x40000800 - reserved
    assert found["usable_frames"] == (0x20000000 + 0x40000000 - reserved) // 4096 - 1
    assert found["usable_below_4g"] == 0x20000000 - reserved
    assert (found["memory_bytes"], found["highest_end"]) == (0x60000800, "0x240000800")
    assert [item["name"] for item in found["reserved"]] == ["memreserve", "firmware@41000000", "split@42000001",
                                                            "split@42000001"]
    assert found["dynamic_reserved"] == [{
        "name": "pool", "size": 1 << 24, "align": 1 << 21, "no_map": False, "reusable": True,
        "ranges": [{"start": "0x40000000", "end": "0x50000000"}]}]
    assert found["warnings"] == []


def test_board_topology(build):
    found = machine(build("board.dts"))
    first, second = found["nodes"]
    assert (first["id"], first["cpus"], first["distances"]) == (0, [0], [10, 25])
    assert (second["id"], second["distances"], second["memory_only"]) == (4, [25, 10], False)
    assert (second["cpus"], second["disabled_cpus"]) == ([0x100, 0x100000101], [0x100])
    assert (second["bytes"], second["frames"]) == (0x40000800, 0x40000)
    assert found["fallback"] == [[0, 4], [4, 0]]
    text = inspect(build("board.dts"), json_wanted=False).stdout.splitlines()
    assert any(line.split()[-2:] == ["2", "0x100,0x100000101"] for line in text)
    assert any(line.split() == ["disabled", "1", "0x100"] for line in text)
    assert [(zone["node"], zone["zone"]) for zone in found["zones"]] == [(0, "DMA32"), (4, "Normal")]
    assert sum(zone["frames"] for zone in found["zones"]) == found["usable_frames"]


def test_board_platform(build):
    platform = machine(build("board.dts"))["platform"]
    assert platform["model"] == "quire,board"
    assert platform["console"] == {"kind": "dw-apb-uart", "io_port": False, "base": "0xfe201000", "reg_shift": 2,
                                   "reg_width": 4}
    assert platform["gic"] == {"version": 2, "dist": "0xff841000", "cpu": "0xff842000"}
    assert (platform["cpu_method"], platform["timer_irq"]) == ("psci-smc", 27)
    assert platform["bootargs"] == "paging=4 -- map; nodes"
    assert platform["initrd"] == {"start": "0x48000000", "end": "0x48100000"}


def test_dma_ranges_draw_the_dma_zone(compile_dts):
    found = machine(compile_dts("""/ {
        #address-cells = <2>; #size-cells = <2>;
        memory@0 { device_type = "memory"; reg = <0 0 1 0x80000000>; };
        soc { #address-cells = <1>; #size-cells = <1>; ranges; dma-ranges = <0xc0000000 0 0 0x3c000000>; };
        pci { #address-cells = <3>; #size-cells = <2>; dma-ranges = <0x2000000 0 0 0 0 0 0xc0000000>; };
        wide { #address-cells = <2>; #size-cells = <2>; dma-ranges = <0 0 0 0 0x100 0>; };
    };"""))
    assert [(zone["zone"], zone["start"], zone["end"]) for zone in found["zones"]] == [
        ("DMA", "0x0", "0x3c000000"), ("DMA32", "0x3c000000", "0x100000000"), ("Normal", "0x100000000", "0x180000000")]


def test_hart(build):
    found = machine(build("hart.dts"))
    assert regions(found) == [(0, 0x2000000, "usable")]
    assert found["usable_below_16m"] == 1 << 24
    assert found["nodes"][0]["cpus"] == [3]
    platform = found["platform"]
    assert (platform["cpu_method"], platform["timebase_hz"], platform["exit_device"]) == ("sbi", 10000000, "0x100000")


def test_wide_addresses(build):
    found = machine(build("wide.dts"))
    assert regions(found) == [(0x80000000, 0x90000000, "usable")]
    assert warned(found, "fdt: memory", "left out")


def test_liar(build):
    found = machine(build("liar.dts"))
    assert regions(found) == [(0x1, (1 << 64) - 1, "reserved")]
    assert found["memory_bytes"] == 1 << 26 and found["usable_bytes"] == 0
    for part in ("CPU has no usable id", "numa-node-id 0xffffffff", "does not fit its cells", "wraps around; left out",
                 "cut at the end", "distance-matrix: 2 of 3 entries, from entry 1", "GIC", "no usable memory"):
        assert warned(found, part), part
    assert found["platform"]["console"]["kind"] == "none" and found["platform"]["bootargs"] == ""


def test_memory_that_overlaps_counts_once(compile_dts):
    found = machine(compile_dts("""/ {
        #address-cells = <1>; #size-cells = <1>;
        memory@1000 { device_type = "memory"; reg = <0x1000 0x4000>; numa-node-id = <1>; };
        memory@3000 { device_type = "memory"; reg = <0x3000 0x4000>; numa-node-id = <0>; };
    };"""))
    assert found["memory_bytes"] == found["usable_bytes"] == 0x6000
    assert [ranges(node["ranges"]) for node in found["nodes"]] == [[(0x3000, 0x7000)], [(0x1000, 0x3000)]]
    assert warned(found, "nodes share memory")


def test_no_memory_is_a_warning(compile_dts):
    found = machine(compile_dts("/ { };"))
    assert found["usable_bytes"] == 0 and found["regions"] == []
    assert warned(found, "no usable memory")


def test_more_than_the_tables_hold(compile_dts):
    root = "#address-cells = <1>; #size-cells = <1>;"
    nodes = "".join(f'memory@{i:x}000 {{ device_type = "memory"; reg = <{i << 12} 0x1000>; numa-node-id = <{i}>; }};'
                    for i in range(70))
    found = machine(compile_dts(f"/ {{ {root} {nodes} }};"))
    assert len(found["nodes"]) == 64 and found["usable_bytes"] == 70 << 12
    assert warned(found, "node 69 is left out", "64 nodes")
    cpus = "".join(f'cpu@{i:x} {{ device_type = "cpu"; reg = <{i}>; }};' for i in range(1030))
    found = machine(compile_dts(f"/ {{ {root} cpus {{ #address-cells = <1>; #size-cells = <0>; {cpus} }}; }};"))
    assert len(found["nodes"][0]["cpus"]) == 1024
    assert warned(found, "CPU is one too many")
    wishes = "".join(f"w{i} {{ size = <0x1000>; }};" for i in range(40))
    found = machine(compile_dts(f"/ {{ {root} reserved-memory {{ {root} {wishes} }}; }};"))
    assert len(found["dynamic_reserved"]) == 32 and warned(found, "more than 32 reservations")
    taken = "".join(f"r{i} {{ reg = <{i << 13} 0x1000>; }};" for i in range(1100))
    line = refusal(compile_dts(f"/ {{ {root} reserved-memory {{ {root} {taken} }}; }};"))
    assert "more than 1024 memory ranges" in line


def test_deep_tree(compile_dts):
    deep = "".join(f"n{i} {{" for i in range(600)) + "};" * 600
    found = machine(compile_dts("/ { #address-cells = <1>; #size-cells = <1>; memory@0 { device_type = \"memory\";"
                                f" reg = <0 0x1000>; }}; {deep} }};"))
    assert found["usable_bytes"] == 0x1000 and warned(found, "nested deeper")


def test_every_cut_and_every_word(build, tmp_path):
    """A tree cut anywhere is refused; one with a wrong word is refused or read, and either ends at once."""
    good = build("hart.dts").read_bytes()
    for size in range(0, len(good), 23):
        assert "fdt: at 0x" in refusal("fdt:" + str(written(tmp_path / "cut.dtb", good[:size])))
    for at in range(0, len(good) - 3, 28):
        bad = good[:at] + b"\xff\xff\xff\xff" + good[at + 4:]
        assert inspect("fdt:" + str(written(tmp_path / "word.dtb", bad))).returncode in (0, 1)


# ---- ACPI ------------------------------------------------------------------------------------------------

def test_pc_tables(build):
    found = machine(*map(build, ("madt-pc.asl", "srat.asl", "slit.asl")))
    assert [node["id"] for node in found["nodes"]] == [0, 1, 2, 257]
    near, far = found["nodes"][0], found["nodes"][3]
    assert (near["cpus"], far["cpus"]) == ([0], [2, 0x1000])
    assert near["distances"] == [10, 0x15, 0x1F, 20] and found["nodes"][1]["distances"] == [0x16, 10, 0x20, 20]
    assert ranges(near["ranges"]) == [(0, 0x400000000)] # what may be plugged in lies over what is there
    assert ranges(far["ranges"]) == [(0x40000000, 0x80000000)]
    assert found["platform"]["cpu_method"] == "apic" and found["platform"]["lapic"] == "0xfee10000"
    assert warned(found, "acpi: SRAT: at 0x", "wraps around")


def test_domains_of_revision_1(build, tmp_path):
    old = written(tmp_path / "SRAT.bin", patched(build("srat.asl").read_bytes(), at_0x8=1))
    assert [node["id"] for node in machine(old)["nodes"]] == [0, 1]


def test_map_and_srat(build, tmp_path):
    e820 = tmp_path / "pc.map"
    e820.write_text("0x0 0x9fc00 1\n0x9fc00 0xa0000 2\n0x100000 0x50000000 1\n0x50000000 0x60000000 2\n")
    found = machine(e820, build("srat.asl"))
    near, far = found["nodes"]
    assert ranges(near["ranges"]) == [(0, 0x9FC00), (0x100000, 0x40000000)]
    assert (ranges(far["ranges"]), far["bytes"]) == ([(0x40000000, 0x50000000)], 0x10000000)
    assert [(zone["node"], zone["zone"], zone["end"]) for zone in found["zones"]] == [
        (0, "DMA", "0x1000000"), (0, "DMA32", "0x40000000"), (257, "DMA32", "0x50000000")]


def test_arm_tables(build):
    found = machine(build("madt-arm.asl"), build("spcr.asl"))
    assert found["nodes"][0]["cpus"] == [0, 0x10000]
    assert found["platform"]["gic"] == {"version": 3, "dist": "0x8000000", "cpu": "0x80a0000"}
    assert found["platform"]["console"]["kind"] == "pl011"


def affinity(kind, length, domain_at, uid_at, flags_at, uid, domain):
    entry = bytearray(length)
    entry[0:2] = kind, length
    struct.pack_into("<I", entry, domain_at, domain)
    struct.pack_into("<I", entry, uid_at, uid)
    struct.pack_into("<I", entry, flags_at, 1)
    return bytes(entry)


def test_cpus_join_domains_by_uid(build, tmp_path):
    gicc = affinity(3, 18, 2, 6, 10, uid=7, domain=1) + affinity(3, 18, 2, 6, 10, uid=8, domain=0)
    srat = written(tmp_path / "SRAT.bin", header(b"SRAT", struct.pack("<IQ", 1, 0) + gicc))
    assert [node["cpus"] for node in machine(build("madt-arm.asl"), srat)["nodes"]] == [[0x10000], [0]]
    rintc = b"".join(struct.pack("<BBBBIQI", 24, 20, 1, 0, 1, hart, uid) for hart, uid in ((40, 3), (3, 4)))
    madt = written(tmp_path / "APIC.bin", header(b"APIC", bytes(8) + rintc))
    harts = affinity(7, 20, 4, 8, 12, uid=3, domain=0) + affinity(7, 20, 4, 8, 12, uid=4, domain=9)
    written(srat, header(b"SRAT", struct.pack("<IQ", 1, 0) + harts))
    found = machine(madt, srat)
    assert [(node["id"], node["cpus"]) for node in found["nodes"]] == [(0, [40]), (9, [3])]
    assert found["platform"]["cpu_method"] == "sbi"


def test_console_with_wide_registers(build, tmp_path):
    wide = written(tmp_path / "SPCR.bin", patched(build("spcr.asl").read_bytes(), at_0x24=0x12))
    assert machine(wide)["platform"]["console"] == {"kind": "ns16550", "io_port": False, "base": "0x9000000",
                                                    "reg_shift": 2, "reg_width": 4}
    for code, kind, shift in ((0x05, "ns16550", 2), (0x10, "bcm2835-aux", 2), (0x0e, "pl011", 0), (0x13, "none", 0)):
        part = written(tmp_path / "SPCR.bin", patched(build("spcr.asl").read_bytes(), at_0x24=code))
        console = machine(part)["platform"]["console"]
        assert (console["kind"], console["reg_shift"]) == (kind, shift)
    # Registers that are accessed by bytes lie side by side, however wide they are said to be.
    for access, shift, width in ((0, 2, 1), (1, 0, 1), (2, 2, 2), (3, 2, 4), (4, 2, 1)):
        part = written(tmp_path / "SPCR.bin", patched(build("spcr.asl").read_bytes(), at_0x24=0x12, at_0x2b=access))
        console = machine(part)["platform"]["console"]
        assert (console["reg_shift"], console["reg_width"]) == (shift, width)
    # The BCM2835's auxiliary UART lies behind the registers that it shares with two others.
    for base, found in ((0x00, 0x9000040), (0x40, 0x9000040), (0x80, 0x9000080)):
        part = written(tmp_path / "SPCR.bin", patched(build("spcr.asl").read_bytes(), at_0x24=0x10, at_0x2c=base))
        assert machine(part)["platform"]["console"]["base"] == hex(found)
    far = written(tmp_path / "SPCR.bin", patched(build("spcr.asl").read_bytes(), at_0x28=2)) # in PCI space
    assert machine(far)["platform"]["console"]["kind"] == "none"


@pytest.mark.parametrize("fixture, changes, part", [
    ("srat.asl", {"at_0x31": 0}, "acpi: SRAT: at 0x30"), # the first structure is without length
    ("madt-pc.asl", {"at_0x2d": 1}, "acpi: APIC: at 0x2c"),
    ("madt-arm.asl", {"at_0x2d": 75}, "acpi: APIC: at 0x77"), # too short, and leads into its own last byte
    ("slit.asl", {"at_0x24": 4}, "acpi: SLIT: at 0x24"), # more localities than fit
    ("slit.asl", {"at_0x2b": 0x80}, "acpi: SLIT: at 0x24"),
    ("slit.asl", {"at_0x2c": 11}, "acpi: SLIT: at 0x2c"), # not at itself
    ("slit.asl", {"at_0x2d": 9}, "acpi: SLIT: at 0x2d"),
    ("slit.asl", {"at_0x4": 20}, "acpi: SLIT: at 0x4"), # shorter than a header
    ("slit.asl", {"at_0x7": 1}, "acpi: SLIT: at 0x4"), # longer than the file
])
def test_hostile_table(build, tmp_path, fixture, changes, part):
    bad = written(tmp_path / "table.bin", patched(build(fixture).read_bytes(), **changes))
    assert part in refusal("acpi:" + str(bad))
    # Beside a good table it is left out, and the rest is read.
    found = machine("acpi:" + str(bad), build("spcr.asl"))
    assert found["platform"]["console"]["kind"] == "pl011" and warned(found, part)


def test_table_with_a_bad_structure(build, tmp_path):
    """A length that leads into the middle of others: what came before counts."""
    bad = written(tmp_path / "table.bin", patched(build("srat.asl").read_bytes(), at_0x31=255))
    assert warned(machine("acpi:" + str(bad)), "acpi: SRAT: at 0x", "the rest is left out")


def test_checksum(build, tmp_path):
    table = bytearray(build("slit.asl").read_bytes())
    table[10] ^= 1
    assert "checksum" in refusal(written(tmp_path / "SLIT.bin", bytes(table)))


def test_folder_of_tables(build, tmp_path):
    assert "without ACPI tables" in refusal(tmp_path)
    written(tmp_path / "APIC.bin", build("madt-pc.asl").read_bytes())
    written(tmp_path / "SLIT.bin", build("slit.asl").read_bytes())
    written(tmp_path / "APIC-old.bin", b"not a table")
    found = machine(tmp_path)
    assert len(found["nodes"]) == 3 and found["nodes"][0]["cpus"] == [0, 2, 0x1000]


def test_folder_as_other_tools_write_it(build, tmp_path):
    """Linux's /sys/firmware/acpi/tables, and what acpidump -b leaves. What is no table is passed over."""
    (tmp_path / "data").mkdir()
    written(tmp_path / "note", b"not a table, though it is named like one")
    written(tmp_path / "BOOT.txt", build("srat.asl").read_bytes())
    assert "without ACPI tables" in refusal(tmp_path)
    written(tmp_path / "APIC", build("madt-pc.asl").read_bytes())
    written(tmp_path / "SLIT1", build("slit.asl").read_bytes())
    found = machine("acpi:" + str(tmp_path))
    assert len(found["nodes"]) == 3 and found["nodes"][0]["cpus"] == [0, 2, 0x1000]
    (tmp_path / "APIC").rename(tmp_path / "apic.dat")
    (tmp_path / "SLIT1").rename(tmp_path / "slit12.DAT")
    assert machine(tmp_path) == found


# ---- Memory images ---------------------------------------------------------------------------------------

RSDP, XSDT, RSDT = 0xF0010, 0x1000, 0x2000


def header(signature, body):
    return with_checksum(signature + struct.pack("<IBB", 36 + len(body), 1, 0) + bytes(26) + body)


def rsdp(xsdt=XSDT, rsdt=RSDT, revision=2):
    data = bytearray(b"RSD PTR \0QUIRE " + struct.pack("<BIIQ4x", revision, rsdt, 36, xsdt))
    data[8] = -sum(data[:20]) & 0xFF
    data[32] = -sum(data) & 0xFF
    return bytes(data)


def image(blobs):
    table = b"".join(struct.pack("<QQ", address, len(data)) for address, data in blobs.items())
    return b"PHYSIMG1" + struct.pack("<Q", len(blobs)) + table + b"".join(blobs.values())


@pytest.fixture
def memory(build):
    """An image with an APIC and an SRAT table, as {address: bytes}."""
    tables = [0x3000, 0x4000]
    return {RSDP: rsdp(), XSDT: header(b"XSDT", struct.pack("<2Q", *tables)),
            RSDT: header(b"RSDT", struct.pack("<2I", *tables)),
            0x3000: build("madt-pc.asl").read_bytes(), 0x4000: build("srat.asl").read_bytes()}


def test_image(memory, tmp_path):
    path = written(tmp_path / "acpi.phys", image(memory))
    found = machine(path)
    assert [node["cpus"] for node in found["nodes"]] == [[0], [2, 0x1000]]
    memory[XSDT] = memory[XSDT][:-1] + b"?"
    found = machine(written(path, image(memory)))
    assert warned(found, "XSDT at 0x1000", "checksum") and len(found["nodes"]) == 2 # by the RSDT
    memory[RSDT] = header(b"RSDT", struct.pack("<4I", RSDT, RSDP, 0x3000, 0x3000))
    found = machine(written(path, image(memory)))
    assert warned(found, "RSDT: at 0x24", "names itself") and warned(found, "APIC comes twice")
    del memory[RSDT]
    assert "RSDT at 0x2000: cannot be read" in refusal(written(path, image(memory)))


def test_image_lies(memory, tmp_path):
    path = tmp_path / "acpi.phys"
    whole = image(memory)
    for size in (8, 15, 16, 50, len(whole) - 1):
        assert "phys: at 0x" in refusal(written(path, whole[:size]))
    assert "blobs do not fit" in refusal(written(path, whole[:8] + b"\xff" * 8 + whole[16:]))
    memory[RSDP] = memory[RSDP][:9] + b"?" + memory[RSDP][10:]
    assert "RSDP at 0xf0010: the checksum" in refusal(written(path, image(memory)))
    memory[RSDP] = rsdp(xsdt=(1 << 64) - 8, rsdt=0)
    assert "no root table" in refusal(written(path, image(memory)))
    del memory[RSDP]
    assert "no ACPI root pointer" in refusal(written(path, image(memory)))


def test_huge_root_table(memory, tmp_path):
    memory[XSDT] = header(b"XSDT", struct.pack("<Q", XSDT) * 5000)
    found = machine(written(tmp_path / "acpi.phys", image(memory)))
    assert warned(found, "XSDT: at 0x824: more than 256 tables")


# ---- Maps and topologies ---------------------------------------------------------------------------------

def e820_bin(*entries):
    return b"".join(struct.pack("<QQI", *entry) for entry in entries)


def efi_bin(*entries, size=48, attributes=0xF):
    return b"".join(struct.pack("<IIQQQQ", kind, 0, start, 0, pages, attributes) + bytes(size - 40)
                    for kind, start, pages in entries)


def test_e820_binary_and_text_agree(tmp_path):
    entries = [(0x100000, 0x200000, 1), (0x180800, 0x1000, 2), (0, 0x9FC00, 1)]
    binary = machine(written(tmp_path / "some.bin", e820_bin(*entries)))
    text = tmp_path / "some.map"
    text.write_text("# a comment\n\n" + "".join(f"{start:#x} {start + size:#x} {kind}\n" for start, size, kind in entries))
    assert machine(text) == binary
    assert binary["usable_bytes"] == 0x9FC00 + 0x200000 - 0x1000 and binary["usable_frames"] == 0x9F + 0x200 - 2
    assert "ends inside an entry" in refusal("e820:" + str(written(tmp_path / "odd.bin", e820_bin(*entries)[:-1])))


@pytest.mark.parametrize("end", [0x1000, 0])
def test_an_entry_that_wraps_costs_only_itself(tmp_path, end):
    size = (end - 0x5000) % (1 << 64)
    binary = machine("e820:" + str(written(tmp_path / "a.bin", e820_bin((0x100000, 0x1000, 1), (0x5000, size, 1)))))
    text = written(tmp_path / "a.map", f"0x100000 0x101000 1\n0x5000 {end:#x} 1\n".encode())
    assert machine(text) == binary and binary["usable_bytes"] == 0x1000 and warned(binary, "wraps around")
    text = written(tmp_path / "efi.map", f"0x100000 0x101000 7 0xf\n0x5000 {end:#x} 7 0xf\n".encode())
    found = machine(text)
    assert found["usable_bytes"] == 0x1000 and warned(found, "wrap around")


@pytest.mark.parametrize("kind", ["e820", "efi", "topo"])
def test_an_empty_file_is_no_memory(tmp_path, kind):
    found = machine(f"{kind}:{written(tmp_path / 'empty', b'')}")
    assert found["usable_bytes"] == 0 and warned(found, "no usable memory")


@pytest.mark.parametrize("text", ["# 64 KiB — and a dash\n0x0 0x10000 1\n", "\n  # indented\n\t0x0 0x10000 1\n",
                                  "  0x0 0x10000 1 # \u00b5\n"])
def test_text_is_known_by_its_first_words(tmp_path, text):
    assert machine(written(tmp_path / "some.text", text.encode()))["usable_bytes"] == 0x10000


def test_zones_up_to_the_last_address(tmp_path):
    path = written(tmp_path / "top.map", b"0x1000 0x3000 1\n0xffffffff00000000 0xffffffffffffffff 1\n")
    found = machine(path)
    assert [(zone["start"], zone["end"]) for zone in found["zones"]] == [
        ("0x1000", "0x3000"), ("0xffffffff00000000", "0xfffffffffffff000")]
    assert sum(zone["frames"] for zone in found["zones"]) == found["usable_frames"]


def test_a_zone_border_inside_a_frame(compile_dts):
    """The frame that it cuts is the upper zone's, as in the frame allocator."""
    found = machine(compile_dts("""/ {
        #address-cells = <1>; #size-cells = <1>;
        memory@0 { device_type = "memory"; reg = <0 0x8000>; };
        soc { #address-cells = <1>; #size-cells = <1>; ranges; dma-ranges = <0 0 0x2800>; };
    };"""))
    assert [(zone["zone"], zone["start"], zone["end"]) for zone in found["zones"]] == [
        ("DMA", "0x0", "0x2000"), ("DMA32", "0x2000", "0x8000")]


def test_efi_descriptor_size(tmp_path):
    entries = [(7, 0, 0xA0), (4, 0x100000, 0x100), (6, 0x200000, 0x10)]
    path = written(tmp_path / "map.bin", efi_bin(*entries))
    assert machine(path)["usable_bytes"] == 0xA0000 + 0x100000
    wide = written(tmp_path / "wide.bin", efi_bin(*entries, size=56))
    assert machine("--efi-desc-size", 56, wide)["regions"] == machine(path)["regions"]
    for size in (0, 8, 44):
        assert "efi: descriptor size" in refusal("--efi-desc-size", size, "efi:" + str(path))
    assert "ends inside descriptor" in refusal("--efi-desc-size", 40, path)
    assert "is not a number" in refusal("--efi-desc-size", "many", path)


def test_specific_purpose_memory_is_zone_device(tmp_path):
    """What EFI marks so, and the same as e820 hands it on, is kept for its device."""
    device = efi_bin((7, 0x40000000, 0x300), attributes=0x4000F)
    efi = written(tmp_path / "efi.bin", efi_bin((7, 0x100000, 0x1000)) + device)
    e820 = written(tmp_path / "e820.bin", e820_bin((0x100000, 0x1000000, 1), (0x40000000, 0x300000, 0xEFFFFFFF)))
    for path in (efi, e820):
        found = machine(path)
        assert regions(found) == [(0x100000, 0x1100000, "usable"), (0x40000000, 0x40300000, "specific")]
        assert found["usable_bytes"] == 0x1000000 and found["memory_bytes"] == 0x1300000
        assert [(zone["start"], zone["frames"]) for zone in found["zones"] if zone["zone"] == "Device"] == [
            ("0x40000000", 0x300)]
        assert "D for a device" in inspect(path, json_wanted=False).stdout


def test_efi_and_tree_together(build, tmp_path):
    """Free is what EFI frees or only the tree lists, without what either reserves; e820 would overrule EFI."""
    efi = written(tmp_path / "efi.bin", efi_bin((7, 0x40000000, 0x10000), (6, 0x50000000, 0x100)))
    found = machine(efi, build("board.dts"))
    assert (0x50000000, 0x50100000, "firmware") in regions(found)
    assert (0x41000000, 0x41200000, "no-map") in regions(found)
    assert found["nodes"][1]["id"] == 4
    e820 = written(tmp_path / "e820.bin", e820_bin((0x1000, 0x1000, 1)))
    assert regions(machine(e820, efi)) == [(0x1000, 0x2000, "usable")]


def test_order_of_trust(build, tmp_path):
    """e820 alone says what memory there is, but the tree's reservations hold; ACPI's topology replaces the tree's."""
    e820 = written(tmp_path / "e820.bin", e820_bin((0x41100000, 0x200000, 1)))
    found = machine(e820, build("board.dts"))
    assert (found["usable_bytes"], found["memory_bytes"]) == (0x100000, 0x200000)
    found = machine(build("board.dts"), build("slit.asl"))
    assert [node["id"] for node in found["nodes"]] == [0, 1, 2]
    assert found["memory_bytes"] == 0x60000800


def test_a_source_that_another_replaces(build, tmp_path):
    tree = written(tmp_path / "bad.dtb", build("hart.dts").read_bytes()[:100])
    e820 = written(tmp_path / "e820.bin", e820_bin((0x1000, 0x1000, 1)))
    assert warned(machine(e820, tree), "fdt: at 0x4")
    assert "fdt: at 0x4" in refusal(tree)
    efi = written(tmp_path / "efi.bin", bytes(50))
    assert "efi: map of 50 bytes" in refusal("efi:" + str(efi), build("hart.dts"))


def test_topology(tmp_path):
    path = tmp_path / "machine.topo"
    path.write_text("node 7 memtotal_kb 100 cpus -\nnode 2 memtotal_kb 0 cpus 0-2,5\ndistance 2 10 30\n"
                    "distance 7 31 10\nattr 7 anything 1\n")
    found = machine(path)
    assert [(node["id"], node["bytes"], node["cpus"], node["memory_only"]) for node in found["nodes"]] == [
        (2, 0, [0, 1, 2, 5], False), (7, 102400, [], True)]
    assert [node["distances"] for node in found["nodes"]] == [[10, 30], [31, 10]]
    for line, part in (("node x memtotal_kb 1 cpus -", "line 1"), ("node 1 memtotal_kb 1 cpus 3-1", "CPUs 3-1"),
                       ("node 0 memtotal_kb 1 cpus 0-9,4", "already exists"), ("distance 0 10", "line 1"),
                       ("nod 0", "neither node"), ("node 0 memtotal_kb 99999999999999999999 cpus -", "64 bits")):
        path.write_text(line + "\n")
        assert part in refusal(path)


def test_topology_larger_than_the_tables(tmp_path):
    found = machine(written(tmp_path / "cpus.topo", b"node 0 memtotal_kb 4 cpus 0-1100\nnode 1 memtotal_kb 4 cpus 2000\n"))
    assert [len(node["cpus"]) for node in found["nodes"]] == [1024, 0]
    assert warned(found, "topo:", "1024", "CPUs")
    # Ids fall, so that the rows' first columns belong to nodes that are left out.
    rows = [" ".join("10" if a == b else str(11 + b) for b in range(70)) for a in range(70)]
    text = "".join(f"node {i} memtotal_kb 4 cpus {i}\n" for i in reversed(range(70)))
    text += "".join(f"distance {i} {row}\n" for i, row in enumerate(rows))
    found = machine(written(tmp_path / "nodes.topo", text.encode()))
    assert [node["id"] for node in found["nodes"]] == list(range(6, 70))
    assert found["nodes"][1]["distances"][:3] == [17, 10, 19] and found["nodes"][1]["cpus"] == [7]
    assert warned(found, "topo: node 5 is left out", "64 nodes")


def test_topology_beside_a_map(tmp_path):
    """Where the memory is, the map knows better than the record."""
    topo = written(tmp_path / "two.topo", b"node 3 memtotal_kb 100 cpus 0\nnode 4 memtotal_kb 200 cpus 1\n")
    e820 = written(tmp_path / "pc.map", b"0x100000 0x180000 1\n")
    found = machine(topo, e820)
    assert [(node["id"], node["bytes"], node["frames"], ranges(node["ranges"])) for node in found["nodes"]] == [
        (3, 0x80000, 0x80, [(0x100000, 0x180000)]), (4, 0, 0, [])]
    assert warned(found, "topo: sizes of nodes are not used")
    assert [node["bytes"] for node in machine(topo)["nodes"]] == [100 << 10, 200 << 10]


def test_topology_without_nodes(tmp_path):
    path = written(tmp_path / "none.topo", b"# nothing yet\n")
    nodes = machine(path)["nodes"]
    assert [(node["id"], node["bytes"], node["frames"]) for node in nodes] == [(0, 0, 0)]


# ---- The command -----------------------------------------------------------------------------------------

def test_names_decide_where_content_does_not(tmp_path):
    data = bytes(240)
    assert "neither content nor name" in refusal(written(tmp_path / "what.bin", data))
    assert warned(machine(written(tmp_path / "my-e820.bin", data)), "e820: entry")
    folder = tmp_path / "efi"
    folder.mkdir()
    assert warned(machine(written(folder / "what.bin", data)), "efi: descriptor")
    assert warned(machine("e820:" + str(folder / "what.bin")), "e820: entry")


def test_wrong_arguments(tmp_path, build):
    assert "no file given" in refusal()
    assert "not an option" in refusal("--yaml")
    assert "No such file" in refusal(tmp_path / "absent")
    assert '"fdt:" names no file' in refusal("fdt:")
    assert "--efi-desc-size needs a value" in refusal(build("hart.dts"), "--efi-desc-size")
    tree = written(tmp_path / "bad.dtb", build("hart.dts").read_bytes()[:100])
    assert f"{tree}, {build('slit.asl')}: fdt: at 0x4" in refusal(tree, build("slit.asl"))
    assert "a second device tree" in refusal(build("hart.dts"), build("board.dts"))
    assert "a folder can only hold" in refusal("fdt:" + str(tmp_path))


def test_text_fits_a_terminal(build):
    for arguments in (["board.dts"], ["hart.dts"], ["liar.dts"], ["madt-pc.asl", "srat.asl", "slit.asl"]):
        result = inspect(*map(build, arguments), json_wanted=False)
        assert result.returncode == 0 and result.stderr == ""
        lines = [line for line in result.stdout.splitlines() if "fixtures" not in line] # paths may be long
        assert max(map(len, lines)) <= 100
    assert "no-map" in inspect(build("board.dts"), json_wanted=False).stdout
