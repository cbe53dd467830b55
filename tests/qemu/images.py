# SPDX-License-Identifier: MIT
"""One disk image per ISA, made once, boots through every loader of that ISA, and is the same file afterwards."""
import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import chains
import flash
import image
import places
from boot import Boot
from machine import Machine, command_line

SCRIPT = "map; selftest"
PROTOCOLS = {"grub-bios": "bzImage", "grub-efi": "bzImage", "uboot-extlinux": "Image"}   # else EFI
ARCHIVE = __file__              # any file will do
MODULE = rf"^  0x\S+ 0x\S+ +{(Path(__file__).stat().st_size + 4095) // 4096 * 4} KiB  module "


class Once:
    """Makes an image when it is first asked for it, and knows whether it has changed since."""

    def __init__(self, isa, board):
        self.isa, self.board, self.lock, self.sum = isa, flash.board(isa, board), threading.Lock(), None
        self.path = places.BUILD / "images" / f"test-{isa}-{self.board.name}.img"

    def digest(self):
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def __call__(self, kernel):
        with self.lock:
            if self.sum is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                image.make(self.path, self.board, self.isa, kernel, command_line("qemu-exit", SCRIPT), ARCHIVE)
                self.sum = self.digest()
        return self.path

    def unchanged(self, output):
        return None if self.digest() == self.sum else "the image has changed"


def through(once, chain, **machine):
    protocol = PROTOCOLS.get(chain, "EFI")
    return Boot(f"image for {once.board.name} through {chain}", Machine(once.isa, chain=chain, **machine), SCRIPT,
                image=once, check=once.unchanged, expect=(rf"^quire \S+: {once.isa}, {protocol}\b", MODULE),
                refuse=(r"^warning: (acpi|efi|fdt|memory map|topology)",))


def boots(isa):
    once = Once(isa, None)
    for chain in chains.CHAINS:
        if chains.runs(chain, isa) and chain not in chains.WITHOUT_DISK:
            yield through(once, chain)
    if isa == "aarch64":
        yield replace(through(once, "uboot-extlinux", nodes=2), name="image through uboot-extlinux, 2 nodes")
    if isa == "riscv64":        # the boot files in the third partition
        yield through(Once(isa, "visionfive2"), "uboot-extlinux")
        yield through(Once(isa, "unmatched"), "uboot-efi")
