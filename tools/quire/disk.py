# SPDX-License-Identifier: MIT
"""Disk images to boot from: a GPT with one EFI system partition, or with GRUB's partition for BIOS before it. Made of
plain files by mtools; needs neither root nor loop devices, and the same content gives the same bytes."""
import os
import struct
import subprocess
import uuid
import zlib
from pathlib import Path

from ui import Problem

SECTOR = 512
MIB = 1 << 20
ESP_START, ESP_SIZE = 2 * MIB, 64 * MIB        # FAT32 wants 65,525 clusters at least
BIOS_START, BIOS_SIZE = 1 * MIB, 1 * MIB
DISK_SIZE = ESP_START + ESP_SIZE + MIB
ENTRIES, ENTRY_SIZE = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR

ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")


def own_uuid(name):
    return uuid.uuid5(uuid.NAMESPACE_URL, f"quire:{name}")


def entry(kind, name, start, size):
    """One partition (UEFI 2.10, 5.3.3)."""
    return struct.pack("<16s16sQQQ72s", kind.bytes_le, own_uuid(name).bytes_le, start // SECTOR,
                       (start + size) // SECTOR - 1, 0, name.encode("utf-16-le"))


def header(own, other, table, entries, sectors):
    """The partition table's header in sector `own`, whose copy is in sector `other` (5.3.2)."""
    first, last = 2 + TABLE_SECTORS, sectors - TABLE_SECTORS - 2

    def packed(checksum):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, own, other, first, last,
                           own_uuid("disk").bytes_le, table, ENTRIES, ENTRY_SIZE, zlib.crc32(entries))
    return packed(zlib.crc32(packed(0)))


def write_table(file, partitions):
    sectors = DISK_SIZE // SECTOR
    entries = b"".join(entry(*partition) for partition in partitions).ljust(ENTRIES * ENTRY_SIZE, b"\0")
    protective = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, sectors - 1)
    for at, data in ((446, protective), (510, b"\x55\xaa"),
                     (SECTOR, header(1, sectors - 1, 2, entries, sectors)), (2 * SECTOR, entries),
                     ((sectors - 1 - TABLE_SECTORS) * SECTOR, entries),
                     ((sectors - 1) * SECTOR, header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS, entries, sectors))):
        file.seek(at)
        file.write(data)


def mtool(name, image, *words):
    done = subprocess.run([name, "-i", f"{image}@@{ESP_START}", *map(str, words)], capture_output=True, text=True,
                          env=os.environ | {"LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"})
    if done.returncode != 0:
        raise Problem(f"{name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def make(path, files, bios_boot=False):
    """Makes a disk image. files: names on the EFI system partition ("EFI/BOOT/BOOTX64.EFI") and what they hold: bytes, or
    the path of a file. bios_boot: leave a partition for GRUB's image before it."""
    path = Path(path)
    bios = [(BIOS_BOOT, "bios", BIOS_START, BIOS_SIZE)] if bios_boot else []
    with open(path, "wb") as file:
        file.truncate(DISK_SIZE)
        write_table(file, [*bios, (ESP, "esp", ESP_START, ESP_SIZE)])
    mtool("mformat", path, "-F", "-v", "QUIRE", "-N", "51554952", "-T", ESP_SIZE // SECTOR, "-h", "64", "-s", "32",
          "-H", ESP_START // SECTOR, "::")
    folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
    for folder in folders:
        mtool("mmd", path, f"::/{folder}")
    for name, content in files.items():
        source = content
        if isinstance(content, bytes):
            source = path.with_name("file")
            source.write_bytes(content)
        mtool("mcopy", path, source, f"::/{name}")
    return path


def install_grub(path, core):
    """What grub-bios-setup does on a real disk: GRUB's first sector, which knows where its image is, and the image in the
    partition made for it, whose own first sector knows where the rest of it is."""
    boot = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    image = bytearray(Path(core).read_bytes())
    if len(image) > BIOS_SIZE:
        raise Problem(f"GRUB's image has {len(image)} bytes, more than the {BIOS_SIZE} of its partition")
    first = BIOS_START // SECTOR
    struct.pack_into("<Q", image, 0x1f4, first + 1)
    with open(path, "r+b") as file:
        file.write(boot[:0x5c] + struct.pack("<Q", first) + boot[0x64:440])
        file.seek(BIOS_START)
        file.write(image)
