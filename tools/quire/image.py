# SPDX-License-Identifier: MIT
"""quire image: a disk to flash, which every loader of its ISA boots as it is.

The loaders take what they know from one file system: UEFI and U-Boot the EFI application with quire.cfg, U-Boot also
extlinux.conf, Raspberry Pi's firmware config.txt, GRUB grub.cfg. What is made depends on what goes in only. It is made
under other names and gets its own at the end, the image itself last: there is never half of one."""
import hashlib
import lzma
import os
import tempfile
from pathlib import Path

import boards
import build
import chains
import disk
import flash
import machine as machines
import packages
import places
import run
import ui
from options import Command, Operand, Option
from ui import Problem

COPY = 1 << 20
BMAP = """<?xml version="1.0" ?>
<!-- Ranges of blocks that hold something; bmaptool copies these and checks them. -->
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {block} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {checksum} </BmapFileChecksum>
    <BlockMap>
{ranges}
    </BlockMap>
</bmap>
"""

README = """Quire on a disk: {title} ({isa})

Flash     bmaptool copy FILE /dev/DISK
          or: xz -dc FILE.xz | dd of=/dev/DISK bs=4M conv=fsync
          bmaptool leaves alone what board firmware is there already; dd overwrites it.
Verify    sha256sum -c FILE.sha256
Console   {console}

quire.img               the kernel; EFI/BOOT/{efi} is the same file
quire.cfg               the kernel's command line, one line: options, then " -- " and commands to run
{files}
To change the command line, edit {configs}.
To hand a boot archive over, put it here as quire.initrd{archive}
{firmware}"""


# ---- What is on it ----------------------------------------------------------------------------------------

def readme(board, isa, names):
    known = {"extlinux/extlinux.conf": "the same for U-Boot, which prefers it to EFI",
             "grub.cfg": "the same for GRUB, which starts from the BIOS boot partition",
             "config.txt": "for Raspberry Pi's firmware, which takes the command line from quire.cfg",
             "quire.initrd": "the boot archive"}
    configs = [file for file in ("quire.cfg", "extlinux/extlinux.conf", "grub.cfg") if file in names]
    loaders = {"extlinux/extlinux.conf": "an initrd line in extlinux/extlinux.conf", "grub.cfg": "an initrd line in grub.cfg",
               "config.txt": "\"initramfs quire.initrd followkernel\" in config.txt"}
    missing = [] if "quire.initrd" in names else [text for file, text in loaders.items() if file in names]
    text = README.format(
        title=board.title, isa=isa, console=board.console, efi=chains.EFI_NAME[isa], configs=" and ".join(configs),
        files="".join(f"{file:<23} {why}\n" for file, why in known.items() if file in names),
        archive="".join(f",\n  with {text}" for text in missing) + ".",
        firmware="".join(["\nBeside this image the board needs\n", *(f"  {row}\n" for row in board.firmware)])
        if board.firmware else "")
    return text.replace("\n", "\r\n").encode()


def files_for(board, isa, kernel, line, initrd):
    """Names on the EFI system partition, and what they hold."""
    files = {f"EFI/BOOT/{chains.EFI_NAME[isa]}": kernel.image, "quire.img": kernel.image, "quire.cfg": f"{line}\n".encode()}
    if chains.runs("uboot-extlinux", isa):
        files["extlinux/extlinux.conf"] = chains.extlinux(line, initrd)
    if chains.runs("grub-bios", isa):
        files["grub.cfg"] = chains.grub_config(line, initrd)
    if board.config_txt:
        files["config.txt"] = (board.config_txt + ("initramfs quire.initrd followkernel\n" if initrd else "")).encode()
    if initrd:
        files["quire.initrd"] = initrd
    return files | {"README.TXT": readme(board, isa, files)}


# ---- Beside it --------------------------------------------------------------------------------------------

def digest(path, start=0, size=None):
    """SHA-256 of a file, or of a part of it."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(start)
        left = os.fstat(file.fileno()).st_size - start if size is None else size
        while data := file.read(min(COPY, left)):
            found.update(data)
            left -= len(data)
    return found.hexdigest()


def bmap(path, ranges):
    """The block map of bmap-tools, version 2.0. Blocks are sectors, as boards' firmware may begin in any of them. The
    checksum of the map itself counts as zeros in it."""
    rows = []
    for start, end in ranges:
        first, last = start // disk.SECTOR, end // disk.SECTOR - 1
        rows.append(f'        <Range chksum="{digest(path, start, end - start)}"> {first}-{last} </Range>')
    size = os.stat(path).st_size

    def text(checksum):
        return BMAP.format(size=size, block=disk.SECTOR, blocks=size // disk.SECTOR, ranges="\n".join(rows),
                           mapped=sum(end - start for start, end in ranges) // disk.SECTOR, checksum=checksum)
    return text(hashlib.sha256(text("0" * 64).encode()).hexdigest())


def copy_ranges(source, target, ranges):
    """A copy with holes where nothing has to be written: the source has zeros there."""
    with open(source, "rb") as read, open(target, "wb") as write:
        write.truncate(os.fstat(read.fileno()).st_size)
        for start, end in ranges:
            read.seek(start)
            write.seek(start)
            while start < end:
                data = read.read(min(COPY, end - start))
                write.write(data)
                start += len(data)


def compress(source, target):
    with open(source, "rb") as read, lzma.open(target, "wb", preset=6, check=lzma.CHECK_CRC64) as write:
        while data := read.read(COPY):
            write.write(data)


# ---- Making it --------------------------------------------------------------------------------------------

def tools(isa):
    return ("mtools", *(("grub", "grub-pc") if chains.runs("grub-bios", isa) else ()))


def target_for(given, isa, board):
    """The path of the image. Problem: it can be none."""
    path = Path(os.path.realpath(given)) if given else places.BUILD / "images" / f"quire-{isa}-{board.name}.img"
    if not given:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir():
        raise Problem(f"-o {given}: there is no folder {path.parent}", status=2)
    for one in (path, *beside(path)):
        if one.exists() and not one.is_file():
            what = "a folder" if one.is_dir() else "no file; write the image there by bmaptool or dd afterwards"
            raise Problem(f"-o {given}: {one} is {what}", status=2)
    return path


def beside(path):
    return [path.with_name(path.name + suffix) for suffix in (".xz", ".bmap", ".sha256")]


def make(path, board, isa, kernel, line, initrd=None, step=None):
    """Makes the image and what belongs beside it. line: the kernel's command line; initrd: a file. Raises Problem or
    OSError, and then nothing of it is there, and what was there before still is."""
    note = step.note if step else lambda text: None
    with places.scratch() as scratch, tempfile.TemporaryDirectory(dir=path.parent, prefix=".quire-image-") as folder:
        note("files")
        made = disk.make(scratch / "disk.img", files_for(board, isa, kernel, line, initrd), board.layout)
        if chains.runs("grub-bios", isa):
            disk.install_grub(made, chains.grub_image(scratch, "i386-pc", ("biosdisk",)))
        ranges = disk.written(made)
        new = Path(folder) / path.name
        packed, mapped, sums = beside(new)
        copy_ranges(made, new, ranges)
        note("block map")
        mapped.write_text(bmap(new, ranges))
        note("xz")
        compress(new, packed)
        sums.write_text("".join(f"{digest(one)}  {one.name}\n" for one in (new, packed, mapped)))
        for one in (packed, mapped, sums, new):
            os.replace(one, path.with_name(one.name))
    return ranges


def image(options):
    board = flash.board(options.isa, options.board)
    line = machines.command_line(options.append or "", options.exec)
    if not all(" " <= letter <= "~" for letter in line):
        raise Problem("--append and --exec take printable ASCII only: loaders change the rest", status=2)
    if options.initrd and not Path(options.initrd).is_file():
        raise Problem(f"--initrd {options.initrd}: no such file", status=2)
    path = target_for(options.o, options.isa, board)
    variant = run.variant_from(options)
    packages.ensure((*tools(options.isa), *packages.compilers(options.isa, variant)))
    kernel = build.kernel(options.isa, variant)
    shown = options.o or places.shown(path)
    try:
        with ui.Step(f"image {shown}") as step:
            ranges = make(path, board, options.isa, kernel, line, options.initrd, step)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Problem(f"{shown} cannot be made: {where}{error.strerror}") from None
    size, filled = os.stat(path).st_size, sum(end - start for start, end in ranges)
    print(f"{shown}: {board.title}, {options.isa}; {size / disk.MIB:.0f} MiB, "
          f"{filled / disk.MIB:.1f} MiB of them to write")
    print("  beside it: " + ", ".join(one.name for one in beside(path)))
    print(f"  try it:    ./quire run {options.isa} --image {shown}")
    print(f"  flash it:  bmaptool copy {shown} /dev/DISK")
    return 0


IMAGE = Command(
    "image", "makes a disk image to flash, which every loader boots", image, operands=(Operand("ISA", build.ISAS),),
    options=(
        Option("--board", "B", "lay it out for this board: " + ", ".join(flash.BOARDS) + " (default pc on x86_64, else "
               "generic)", choices=tuple(flash.BOARDS),
               others={name: f"a board model in QEMU: quire run {board.isa} --board {name}"
                       for name, board in boards.BOARDS.items()}),
        Option("-o", "FILE", "the image's name (default build/images/quire-ISA-BOARD.img)"),
        Option("--append", "OPTIONS", "kernel options; qemu-exit is one that is for QEMU only", may_be_empty=True),
        Option("--exec", "\"CMD; CMD\"", "the kernel runs these monitor commands and then ends the machine",
               may_be_empty=True),
        Option("--initrd", "FILE", "a boot archive"),
        Option("--release", None, "the release build"),
        Option("--clang", None, "the build by clang and lld")),
    text="Beside FILE come FILE.xz, FILE.bmap for bmaptool, and FILE.sha256. The same kernel and options give the same\n"
         "bytes. docs/boards.md says what a board needs beside it, how to wire its console and what was tried.",
    examples=("quire image riscv64 --board visionfive2 -o card.img", 'quire image x86_64 --exec "map; selftest"',
              "quire run riscv64 --image card.img --boot uboot-extlinux"))
