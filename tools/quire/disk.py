# SPDX-License-Identifier: MIT
"""Disk images: a GPT with one EFI system partition, which is the last, and before it what a layout reserves for GRUB or for
a board's firmware. Made of plain files by mtools; needs neither root nor loop devices, and the same content gives the
same bytes: whoever makes it, wherever, whenever."""
import os
import struct
import subprocess
import tempfile
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import tool
from ui import Problem

SECTOR = 512
MIB = 1 << 20
ESP_START, ESP_SIZE = 2 * MIB, 64 * MIB        # where a layout says nothing else; the least size
BIOS_START, BIOS_SIZE = 1 * MIB, 1 * MIB
ENTRIES, ENTRY_SIZE = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR
FIRST_USABLE = 2 + TABLE_SECTORS

# FAT32, as UEFI wants it on fixed disks. It needs 65,525 clusters at least: of one sector on 64 MiB, of 4 KiB above
# 260 MiB, as Microsoft's table has it.
LARGE, LARGE_CLUSTER = 260 * MIB, 8
RESERVED_SECTORS = 32

ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
REQUIRED, BOOTABLE = 1 << 0, 1 << 2            # attributes: not to be deleted; where U-Boot looks for boot files

CLEAN = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent",
         "SOURCE_DATE_EPOCH": "315532800"}     # 1980, where FAT begins to count


@dataclass(frozen=True)
class Part:
    """A partition, in bytes."""
    name: str
    kind: uuid.UUID
    start: int
    size: int = ESP_SIZE                       # of the EFI system partition: at least
    attributes: int = 0


def esp(start=ESP_START):
    return Part("esp", ESP, start, attributes=BOOTABLE)


PLAIN = (esp(),)
WITH_BIOS = (Part("bios", BIOS_BOOT, BIOS_START, BIOS_SIZE), esp())


def own_uuid(name):
    return uuid.uuid5(uuid.NAMESPACE_URL, f"quire:{name}")


# ---- The partition table ----------------------------------------------------------------------------------

def entry(part):
    """One partition (UEFI 2.10, 5.3.3)."""
    return struct.pack("<16s16sQQQ72s", part.kind.bytes_le, own_uuid(part.name).bytes_le, part.start // SECTOR,
                       (part.start + part.size) // SECTOR - 1, part.attributes, part.name.encode("utf-16-le"))


def header(own, other, table, entries, sectors):
    """The partition table's header in sector `own`, whose copy is in sector `other` (5.3.2)."""
    last = sectors - TABLE_SECTORS - 2

    def packed(checksum):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, own, other, FIRST_USABLE, last,
                           own_uuid("disk").bytes_le, table, ENTRIES, ENTRY_SIZE, zlib.crc32(entries))
    return packed(zlib.crc32(packed(0)))


def write_table(file, parts, size):
    sectors = size // SECTOR
    entries = b"".join(map(entry, parts)).ljust(ENTRIES * ENTRY_SIZE, b"\0")
    protective = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, sectors - 1)
    for at, data in ((446, protective), (510, b"\x55\xaa"),
                     (SECTOR, header(1, sectors - 1, 2, entries, sectors)), (2 * SECTOR, entries),
                     ((sectors - 1 - TABLE_SECTORS) * SECTOR, entries),
                     ((sectors - 1) * SECTOR, header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS, entries, sectors))):
        file.seek(at)
        file.write(data)


def partitions(path):
    """What a disk's table lists: (kind, first byte, bytes) by number, which begins with 1. Empty: no such table."""
    with open(path, "rb") as file:
        file.seek(SECTOR)
        head = file.read(92)
        if head[:8] != b"EFI PART":
            return {}
        table, count, size = struct.unpack_from("<QII", head, 72)
        if size != ENTRY_SIZE or count > ENTRIES:
            return {}
        file.seek(table * SECTOR)
        data = file.read(count * size)
    found = {}
    for number in range(len(data) // size):     # at most 128
        kind, _, first, last = struct.unpack_from("<16s16sQQ", data, number * size)
        if any(kind):
            found[number + 1] = (uuid.UUID(bytes_le=kind), first * SECTOR, (last + 1 - first) * SECTOR)
    return found


# ---- The file system --------------------------------------------------------------------------------------

def mtool(name, image, start, *words):
    tool.run([name, "-i", f"{image}@@{start}", *map(str, words)], env=CLEAN)


def holds(path, start, name):
    """Whether the FAT volume that starts at this byte has this file."""
    done = subprocess.run(["mdir", "-b", "-i", f"{path}@@{start}", f"::/{name}"], capture_output=True, env=CLEAN)
    return done.returncode == 0


def room_for(contents):
    """Bytes for a volume that holds these files, whole MiB: each file in whole clusters, and a quarter more."""
    taken = sum((len(content) if isinstance(content, bytes) else Path(content).stat().st_size) + 4096
                for content in contents)
    return max(ESP_SIZE, -(-(taken * 5 // 4 + 8 * MIB) // MIB) * MIB)


def fill(path, part, files):
    """Formats the partition, and puts the files into it."""
    cluster = LARGE_CLUSTER if part.size > LARGE else 1
    mtool("mformat", path, part.start, "-F", "-v", "QUIRE", "-N", "51554952", "-T", part.size // SECTOR, "-h", "64",
          "-s", "32", "-H", part.start // SECTOR, "-c", cluster, "-R", RESERVED_SECTORS, "::")
    folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
    for folder in folders:
        mtool("mmd", path, part.start, f"::/{folder}")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        source = Path(scratch) / "file"        # a copy, so that the rights of the caller's file make no difference
        for name, content in files.items():
            source.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
            mtool("mcopy", path, part.start, source, f"::/{name}")


def make(path, files, layout=PLAIN):
    """Makes a disk image. files: names on the EFI system partition ("EFI/BOOT/BOOTX64.EFI") and what they hold: bytes, or
    the path of a file. layout: the partitions. The whole size is allocated first: where there is no space that is the
    OSError which says so, and not one of mtools' silent ones. Raises Problem for what mtools complains about."""
    path = Path(path)
    volume = Part(**vars(layout[-1]) | {"size": room_for(files.values())})
    size = volume.start + volume.size + MIB
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        write_table(file, [*layout[:-1], volume], size)
    fill(path, volume, files)
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


# ---- What of it has to be written -------------------------------------------------------------------------

def last_cluster_end(file, start):
    """The byte behind the last cluster that the FAT32 volume at `start` uses."""
    file.seek(start)
    sector = file.read(SECTOR)
    cluster, reserved, fats = struct.unpack_from("<BHB", sector, 13)
    fat_sectors = struct.unpack_from("<I", sector, 36)[0]
    file.seek(start + reserved * SECTOR)
    table = file.read(fat_sectors * SECTOR).rstrip(b"\0")
    last = (len(table) + 3) // 4 - 1            # clusters count from 2
    return start + (reserved + fats * fat_sectors + (last - 1) * cluster) * SECTOR


def written(path):
    """The ranges of bytes, in order, that a medium must get to hold this disk: the tables, GRUB, and the volume up to its
    last file. The rest is free, or belongs to a board's firmware and is left as it is there."""
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        ranges = [(0, FIRST_USABLE * SECTOR)]
        for kind, start, length in partitions(path).values():
            if kind == BIOS_BOOT:
                file.seek(start)
                ranges.append((start, start + -(-len(file.read(length).rstrip(b"\0")) // SECTOR) * SECTOR))
            elif kind == ESP:
                ranges.append((start, last_cluster_end(file, start)))
    return [*((first, end) for first, end in ranges if end > first), (size - (TABLE_SECTORS + 1) * SECTOR, size)]
