# SPDX-License-Identifier: MIT
"""What loaders read of the kernel's file, the disks that chains boot from, and which chains there are."""
import os
import struct
import subprocess
import sys
import uuid
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/quire"))

import build  # noqa: E402
import chains  # noqa: E402
import disk  # noqa: E402
import versions  # noqa: E402
from machine import Machine  # noqa: E402
from ui import Problem  # noqa: E402

MACHINE = {"x86_64": 0x8664, "riscv64": 0x5064, "aarch64": 0xaa64}
PAGE = 4096


@pytest.fixture(scope="module", params=build.ISAS)
def kernel(request):
    return build.kernel(request.param)


def pe(data):
    """The PE header's fields, and the sections as (name, virtual size, address, file size, file offset, flags)."""
    start = struct.unpack_from("<I", data, 0x3c)[0]
    assert data[:2] == b"MZ" and data[start:start + 4] == b"PE\0\0"
    machine, count, _, _, _, optional, flags = struct.unpack_from("<HHIIIHH", data, start + 4)
    assert struct.unpack_from("<H", data, start + 24)[0] == 0x20b and optional == 0xa0
    entry = struct.unpack_from("<I", data, start + 40)[0]
    base, alignment, file_alignment = struct.unpack_from("<QII", data, start + 48)
    size, headers, _, subsystem, dll = struct.unpack_from("<IIIHH", data, start + 80)
    table = start + 24 + optional
    sections = [struct.unpack_from("<8sIIII12xI", data, table + 40 * i) for i in range(count)]
    return {"machine": machine, "flags": flags, "entry": entry, "base": base, "alignment": alignment,
            "file_alignment": file_alignment, "size": size, "headers": headers, "subsystem": subsystem, "dll": dll,
            "end_of_headers": table + 40 * count, "sections": sections}


def test_pe_header_describes_the_file(kernel):
    data = kernel.image.read_bytes()
    found = pe(data)
    text, bss_too = found["sections"]
    assert (found["machine"], found["base"], found["subsystem"]) == (MACHINE[kernel.isa], 0, 10)
    assert found["flags"] & 3 == 2 and found["dll"] & 0x100    # executable, not stripped of (absent) relocations; NX
    assert found["alignment"] == found["headers"] == PAGE and found["end_of_headers"] <= PAGE
    assert text[0].rstrip(b"\0") == b".text" and text[5] & 0xa0000000 == 0x20000000     # executable, not writable
    assert bss_too[0].rstrip(b"\0") == b".data" and bss_too[5] & 0xa0000000 == 0x80000000
    assert text[2] == text[4] == PAGE and bss_too[2] == bss_too[4] == text[2] + text[1] and text[1] == text[3]
    assert bss_too[4] + bss_too[3] == len(data) and bss_too[2] + bss_too[1] == found["size"] > len(data)
    assert text[2] <= found["entry"] < text[2] + text[1]
    if kernel.isa != "x86_64":                                  # U-Boot copies the headers, not what else is in their page
        assert not any(data[found["end_of_headers"]:PAGE])
    assert all(part % PAGE == 0 for part in (found["size"], *text[1:5], *bss_too[1:5]))


def test_native_header(kernel):
    data = kernel.image.read_bytes()
    size = pe(data)["size"]
    if kernel.isa == "aarch64":
        assert struct.unpack_from("<QQQ", data, 8) == (0, size, 0xa) and data[0x38:0x3c] == b"ARM\x64"
    elif kernel.isa == "riscv64":
        assert struct.unpack_from("<QQQI", data, 8) == (0x200000, size, 0, 2)
        assert data[0x30:0x38] == b"RISCV\0\0\0" and data[0x38:0x3c] == b"RSC\x05"
    else:
        sectors, _, paragraphs = struct.unpack_from("<BHI", data, 0x1f1)
        assert data[0x1fe:0x200] == b"\x55\xaa" and data[0x202:0x206] == b"HdrS" and data[0x200] == 0xeb
        assert struct.unpack_from("<H", data, 0x206)[0] == 0x20f
        assert 0x202 + data[0x201] >= 0x26c                     # the header's length, as loaders compute it
        assert (sectors + 1) * 512 == PAGE and paragraphs * 16 == len(data) - PAGE
        assert struct.unpack_from("<I", data, 0x260)[0] == size - PAGE
        assert not any(data[0x1c0:0x1f1]) and not any(data[0x2d0:0x2d0 + 20 * 128])


def test_stub_holds_no_linked_addresses(kernel):
    """It runs before the image is where it was linked to be."""
    objects = list((kernel.elf.parent / "libefi-stub.a.p").glob("*.o")) + \
        list((kernel.elf.parent / "libefi-stub.a.p").glob(".*.o"))
    assert len(set(objects)) == 2
    for path in set(objects):
        listing = subprocess.run(["readelf", "-rW", str(path)], capture_output=True, text=True, check=True).stdout
        section = ""
        for line in listing.splitlines():
            if line.startswith("Relocation section"):
                section = line.split("'")[1]
            elif "R_" in line and not section.startswith((".rela.debug", ".rela.eh_frame")):
                kind = line.split()[2]
                assert kind not in ("R_X86_64_64", "R_X86_64_32", "R_X86_64_32S", "R_AARCH64_ABS64", "R_RISCV_64",
                                    "R_RISCV_HI20") and "GOT" not in kind, (path, section, line)


def test_disk_has_a_good_partition_table_and_is_reproducible(tmp_path):
    files = {"EFI/BOOT/BOOTX64.EFI": b"image", "quire.cfg": b"cpus=1"}
    first = disk.make(tmp_path / "a.img", files, disk.WITH_BIOS)
    second = disk.make(tmp_path / "b.img", files, disk.WITH_BIOS)
    data = first.read_bytes()
    assert data == second.read_bytes()
    sectors = len(data) // 512
    for own, other in ((1, sectors - 1), (sectors - 1, 1)):
        header = bytearray(data[own * 512:own * 512 + 92])
        checksum = struct.unpack_from("<I", header, 16)[0]
        struct.pack_into("<I", header, 16, 0)
        assert header[:8] == b"EFI PART" and zlib.crc32(header) == checksum
        mine, its, low, high, _, table, count, size, entries = struct.unpack_from("<QQQQ16sQIII", header, 24)
        assert (mine, its) == (own, other) and low == 34 and high == sectors - 34
        assert zlib.crc32(data[table * 512:table * 512 + count * size]) == entries
    assert data[510:512] == b"\x55\xaa" and data[446 + 4] == 0xee
    kinds = [uuid.UUID(bytes_le=data[1024 + 128 * i:1024 + 128 * i + 16]) for i in range(2)]
    assert kinds == [disk.BIOS_BOOT, disk.ESP]
    listing = subprocess.run(["mtype", "-i", f"{first}@@{disk.ESP_START}", "::/quire.cfg"], capture_output=True, check=True)
    assert listing.stdout == b"cpus=1"


def test_disk_says_what_went_wrong(tmp_path):
    with pytest.raises(Problem, match="mcopy failed: "):
        disk.make(tmp_path / "a.img", {"quire.cfg/": b""})


def test_every_chain_runs_or_says_why_not():
    for name, ways in chains.CHAINS.items():
        assert set(ways) == set(build.ISAS)
        for isa, way in ways.items():
            if chains.runs(name, isa):
                chains.check(Machine(isa, chain=name))
                continue
            with pytest.raises(Problem, match=f"^there is no {name} on {isa}: .+$") as caught:
                chains.check(Machine(isa, chain=name))
            assert caught.value.status == 2 and "\n" not in str(caught.value)
    assert chains.named("uboot") == "uboot-efi" and chains.named("grub") == "grub-efi" and chains.named(None) == "direct"


def test_what_a_chain_cannot_do():
    with pytest.raises(Problem, match="takes one node only"):
        chains.check(Machine("aarch64", chain="uboot-efi", nodes=2))


def test_a_chain_knows_what_the_installed_versions_lack(monkeypatch):
    for found, runs in (((7, 2), False), ((8, 0), False), ((8, 1), True), ((10, 0), True)):
        with monkeypatch.context() as patch:
            patch.setattr(chains.versions, "qemu", lambda isa: found)
            assert chains.runs("uefi", "riscv64") == chains.runs("uefi-dt", "riscv64") == runs
            if not runs:
                with pytest.raises(Problem, match=rf"needs QEMU 8.1 or newer; this is {found[0]}\.{found[1]}\. "):
                    chains.check(Machine("riscv64", chain="uefi"))
    several = Machine("aarch64", chain="uboot-extlinux", nodes=2)
    for found in ((2023, 1), None):
        monkeypatch.setattr(chains.versions, "uboot", lambda image: found)
        chains.check(several)
    monkeypatch.setattr(chains.versions, "uboot", lambda image: (2025, 1))
    with pytest.raises(Problem, match="one node only: U-Boot 2025.01 takes the last node"):
        chains.check(several)


def test_versions_come_from_what_is_there(tmp_path, monkeypatch):
    image = tmp_path / "u-boot.bin"
    image.write_bytes(b"\0U-Boot SPL\0U-Boot 2025.01-3 (Jan 01 2025)\0")
    assert versions.uboot(image) == (2025, 1) and versions.shown((2025, 1)) == "2025.01"
    assert versions.uboot(tmp_path / "missing") is None
    fake = tmp_path / "qemu-system-riscv64"
    fake.write_text("#!/bin/sh\necho 'QEMU emulator version 9.2.1 (Debian)'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    versions.qemu.cache_clear()
    assert versions.qemu("riscv64") == (9, 2) and versions.shown((9, 2)) == "9.2"
    fake.write_text("#!/bin/sh\necho 'something else'\n")
    versions.qemu.cache_clear()
    assert versions.qemu("riscv64") is None
    versions.qemu.cache_clear()


def test_grub_gets_each_word_quoted():
    assert chains.grub_config("a 'b' -- map; nodes", None) == b"linux /quire.img 'a' ''\\''b'\\''' '--' 'map;' 'nodes'\nboot\n"
