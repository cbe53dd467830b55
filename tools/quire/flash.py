# SPDX-License-Identifier: MIT
"""Boards, as far as a disk that one flashes for them is concerned: one entry of BOARDS each. Where a board's own firmware
may lie on the same disk there is a partition over it. That firmware itself is not in any image: either the board has it,
or one puts it there (docs/boards.md says how)."""
import uuid
from dataclasses import dataclass

import disk
from disk import MIB, REQUIRED, SECTOR, Part
from ui import Problem

# Types of partitions that boards' loaders look for, or that nobody else looks at.
SIFIVE_FSBL = uuid.UUID("5b193300-fc78-40cd-8002-e86c45580b47")        # first loader of SiFive's FU540 and FU740
SIFIVE_BBL = uuid.UUID("2e54b353-1271-4842-806f-e436d6af6985")         # what that starts; the SPL of the JH7110
JH7110_UBOOT = uuid.UUID("bc13c2ff-59e6-4262-a352-b275fd6f7172")
LINUX_RESERVED = uuid.UUID("8da63339-0007-60c0-c436-083ac8230908")


def sectors(name, kind, first, end):
    """A partition over firmware, which nothing should delete. It ends before sector `end`."""
    return Part(name, kind, first * SECTOR, (end - first) * SECTOR, REQUIRED)


@dataclass(frozen=True)
class Board:
    name: str
    isas: tuple
    title: str
    layout: tuple = disk.PLAIN
    config_txt: str = ""        # Raspberry Pi's firmware reads it
    firmware: tuple = ()        # lines for the README: what the board needs beside this image
    console: str = "the serial console that the firmware uses"


# U-Boot's doc/board/starfive: the SPL by its type (at 2 MiB by custom), U-Boot in partition 2, and vendor's U-Boot looks
# for extlinux in partition 3 only. 16 MiB for U-Boot leave room for EDK2 as well.
JH7110 = (sectors("spl", SIFIVE_BBL, 4096, 8192), sectors("uboot", JH7110_UBOOT, 8192, 40960), disk.esp(20 * MIB))

# U-Boot's doc/board/sifive/unmatched: SPL at sector 34, U-Boot at 2082.
FU740 = (sectors("spl", SIFIVE_FSBL, 34, 2082), sectors("uboot", SIFIVE_BBL, 2082, 10274), disk.esp(8 * MIB))

# U-Boot's doc/board/rockchip: fixed sectors, which hold no types; the boot ROM reads the first, the SPL the second.
RK3399 = (sectors("loader1", LINUX_RESERVED, 64, 16384), sectors("loader2", LINUX_RESERVED, 16384, 32768),
          disk.esp(16 * MIB))

# Microchip's HSS takes its payload, which holds U-Boot, from the partition of BIOS boot's type; U-Boot boots from the next.
POLARFIRE = (Part("payload", disk.BIOS_BOOT, 2 * MIB, 14 * MIB, REQUIRED), disk.esp(16 * MIB))

PI_CONFIG = "arm_64bit=1\nkernel=quire.img\ncmdline=quire.cfg\nenable_uart=1\nuart_2ndstage=1\n"
HEADER = "pins 6 (ground), 8 (the board sends) and 10 (it receives) of the 40-pin header, 3.3 V, "

BOARDS = {board.name: board for board in (
    Board("pc", ("x86_64",), "a PC, by UEFI or BIOS", disk.WITH_BIOS, console="the first serial port (COM1), 115200 baud"),
    Board("generic", ("riscv64", "aarch64"), "a machine with UEFI or U-Boot of its own"),
    Board("rpi4", ("aarch64",), "Raspberry Pi 4", config_txt=PI_CONFIG, console=HEADER + "115200 baud",
          firmware=("start4.elf, fixup4.dat and bcm2711-rpi-4-b.dtb of Raspberry Pi's firmware: copy them here, beside",
                    "this file. That firmware is not free software, and so not in this image.")),
    Board("rpi5", ("aarch64",), "Raspberry Pi 5", config_txt=PI_CONFIG + "os_check=0\n", console="the 3-pin connector between the HDMI "
          "sockets, 3.3 V, 115200 baud",
          firmware=("bcm2712-rpi-5-b.dtb of Raspberry Pi's firmware: copy it here, beside this file. The rest of the",
                    "firmware is in the board's own flash memory.")),
    Board("rockpro64", ("aarch64",), "ROCKPro64", RK3399, console=HEADER + "1500000 baud",
          firmware=("U-Boot: in the board's SPI flash, or idbloader.img at sector 64 and u-boot.itb at sector 16384 of",
                    "this disk (Debian's package u-boot-rockchip).")),
    Board("visionfive2", ("riscv64",), "StarFive VisionFive 2", JH7110, console=HEADER + "115200 baud",
          firmware=("U-Boot: in the board's SPI flash, or the SPL in partition 1 and u-boot.itb in partition 2 of this",
                    "disk.")),
    Board("unmatched", ("riscv64",), "SiFive HiFive Unmatched", FU740, console="the micro USB socket \"Console\", the second "
          "serial port that appears, 115200 baud",
          firmware=("U-Boot: in the board's SPI flash, or u-boot-spl.bin in partition 1 and u-boot.itb in partition 2 of",
                    "this disk (Debian's package u-boot-sifive).")),
    Board("beaglev", ("riscv64",), "BeagleV-Fire", POLARFIRE, console="the 3-pin debug header, 3.3 V, 115200 baud",
          firmware=("HSS in the chip, and its payload with U-Boot in partition 1 of this disk, the board's eMMC.",)),
    Board("milkv", ("riscv64",), "Milk-V Mars", JH7110, console=HEADER + "115200 baud",
          firmware=("U-Boot: in the board's SPI flash, or the SPL in partition 1 and u-boot.itb in partition 2 of this",
                    "disk.")),
)}
DEFAULT = {"x86_64": "pc", "riscv64": "generic", "aarch64": "generic"}


def board(isa, name):
    """The entry of BOARDS; Problem where the ISA is not the board's."""
    found = BOARDS[name or DEFAULT[isa]]
    if isa not in found.isas:
        raise Problem(f"{found.name} ({found.title}) is no {isa} machine; its ISA is {' or '.join(found.isas)}", status=2)
    return found
