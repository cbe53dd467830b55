# SPDX-License-Identifier: MIT
"""quire image: the same bytes whoever makes it, disks that other people's tools find nothing wrong with, and nothing left
behind where it cannot be made."""
import hashlib
import lzma
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUIRE = str(ROOT / "quire")
sys.path.insert(0, str(ROOT / "tools/quire"))

import build  # noqa: E402
import chains  # noqa: E402
import disk  # noqa: E402
import emulator  # noqa: E402
import flash  # noqa: E402
import image  # noqa: E402
import options  # noqa: E402
import packages  # noqa: E402
import run  # noqa: E402
from emulator import Outcome  # noqa: E402
from machine import Machine  # noqa: E402
from ui import Problem  # noqa: E402

SUFFIXES = ("", ".bmap", ".sha256", ".xz")


def quire(*words, **given):
    return subprocess.run([QUIRE, *map(str, words)], capture_output=True, text=True, timeout=120, **given)


def called(*words):
    """quire image, in this process."""
    return image.image(options.parse(image.IMAGE, [str(word) for word in words]))


def fails(done, says, status=1):
    """One line, and nothing but it."""
    assert done.returncode == status and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]
    assert len(lines) == 1 and lines[0].startswith("quire: ") and says in lines[0], done.stderr


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def made(path, isa, board=None, line="cpus=1 -- map", initrd=None):
    found = flash.board(isa, board)
    image.make(path, found, isa, build.kernel(isa), line, initrd)
    return found


EVERY = [(isa, board.name) for board in flash.BOARDS.values() for isa in board.isas]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """images(isa, board): that image, made once."""
    folder, done = tmp_path_factory.mktemp("images"), {}

    def get(isa, board=None):
        if (isa, board) not in done:
            done[isa, board] = folder / f"{isa}-{board}.img"
            made(done[isa, board], isa, board)
        return done[isa, board]
    return get


def read(path, name):
    start = next(start for kind, start, _ in disk.partitions(path).values() if kind == disk.ESP)
    return subprocess.run(["mtype", "-i", f"{path}@@{start}", f"::/{name}"], capture_output=True, check=True).stdout


# ---- The same bytes ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("isa", build.ISAS)
def test_the_same_goes_in_the_same_comes_out(tmp_path, isa):
    """In another folder, by another name, with other rights, another time zone, language and home, and options of mtools
    set."""
    archive = tmp_path / "archive"
    archive.write_bytes(b"archive" * 1000)
    there, here = tmp_path / "there", tmp_path / "here"
    odd = os.environ | {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "HOME": str(tmp_path), "MTOOLS_NO_VFAT": "1",
                        "SOURCE_DATE_EPOCH": "1000000000", "MTOOLS_LOWER_CASE": "1"}
    (tmp_path / ".mtoolsrc").write_text("MTOOLS_NO_VFAT=1\n")
    for name, folder, given in (("disk.img", there, {}), ("other.img", here, {"env": odd, "umask": 0o077})):
        folder.mkdir()
        done = quire("image", isa, "--exec", "map", "--initrd", archive, "-o", name, cwd=folder, **given)
        assert done.returncode == 0, done.stderr
        archive.chmod(0o400)
        os.utime(archive, (1, 1))
    for suffix in ("", ".bmap", ".xz"):
        assert (there / f"disk.img{suffix}").read_bytes() == (here / f"other.img{suffix}").read_bytes(), suffix
    sums = (here / "other.img.sha256").read_text().replace("other", "disk")
    assert (there / "disk.img.sha256").read_text() == sums
    assert names(there) == sorted(f"disk.img{suffix}" for suffix in SUFFIXES)


def test_the_clock_does_not_count(images):
    listing = subprocess.run(["mdir", "-i", f"{images('riscv64')}@@{disk.ESP_START}", "::/", "::/EFI"], capture_output=True,
                             text=True, check=True).stdout
    dates = set(re.findall(r"\d{4}-\d\d-\d\d +\d+:\d\d", listing))
    assert dates == {"1980-01-01   0:00"}, listing


# ---- Nothing wrong with it --------------------------------------------------------------------------------

def assert_clean(path, folder):
    """By sgdisk, and by fsck.fat for the EFI system partition, the last one. Where sgdisk finds no table it makes one in
    memory, and nothing wrong with that: anything it says before is a complaint."""
    packages.ensure(("sgdisk", "fsck.fat"))
    checked = subprocess.run(["/sbin/sgdisk", "-v", path], capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.strip().startswith("No problems found."), checked.stdout
    assert checked.stderr == ""
    _, start, size = list(disk.partitions(path).values())[-1]
    volume = folder / "volume"
    with open(path, "rb") as file, open(volume, "wb") as out:
        file.seek(start)
        shutil.copyfileobj(file, out)
        out.truncate(size)
    fsck = subprocess.run(["/sbin/fsck.fat", "-n", volume], capture_output=True, text=True)
    assert fsck.returncode == 0 and len(fsck.stdout.strip().splitlines()) == 2 and fsck.stderr == "", fsck.stdout
    used, clusters = map(int, fsck.stdout.split()[-2].split("/"))
    assert clusters >= 65525 and clusters - used > clusters // 8


@pytest.mark.parametrize("isa, board", EVERY)
def test_checkers_find_nothing(tmp_path, images, isa, board):
    assert_clean(images(isa, board), tmp_path)


def test_a_large_archive_gets_a_larger_volume(tmp_path):
    archive = tmp_path / "archive"
    with open(archive, "wb") as file:
        file.truncate(280 * disk.MIB)
        file.seek(0)
        file.write(b"begin")
    disk.make(tmp_path / "disk.img", {"quire.initrd": archive})
    assert_clean(tmp_path / "disk.img", tmp_path)
    _, start, size = disk.partitions(tmp_path / "disk.img")[1]
    assert size > disk.LARGE
    assert disk.written(tmp_path / "disk.img")[1][1] >= start + 280 * disk.MIB     # zeros of a file have to be written


@pytest.mark.parametrize("isa", build.ISAS)
def test_what_is_beside_it(tmp_path, images, isa):
    packages.ensure(("bmaptool",))
    path = images(isa)
    assert lzma.decompress(path.with_name(path.name + ".xz").read_bytes()) == path.read_bytes()
    checked = subprocess.run(["sha256sum", "-c", f"{path}.sha256"], cwd=path.parent, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 3
    copy = tmp_path / "medium"
    done = subprocess.run(["bmaptool", "copy", path, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.read_bytes() == path.read_bytes()
    broken = tmp_path / "broken.img"
    broken.write_bytes(path.read_bytes()[:512] + b"X" + path.read_bytes()[513:])
    done = subprocess.run(["bmaptool", "copy", "--bmap", f"{path}.bmap", broken, copy], capture_output=True, text=True)
    assert done.returncode != 0 and "checksum" in done.stderr


def test_the_blocks_of_the_map_are_enough(tmp_path, images):
    """On a medium that is not empty: what the map leaves out keeps its old content, and nobody reads it."""
    path = images("riscv64", "visionfive2")
    medium = bytearray(b"\xa5" * path.stat().st_size)
    for one in xml.etree.ElementTree.parse(f"{path}.bmap").iter("Range"):
        first, last = map(int, one.text.strip().split("-"))
        medium[first * 512:(last + 1) * 512] = path.read_bytes()[first * 512:(last + 1) * 512]
    copy = tmp_path / "medium"
    copy.write_bytes(medium)
    assert_clean(copy, tmp_path)
    assert read(copy, "quire.img") == build.kernel("riscv64").image.read_bytes()
    assert medium[4096 * 512:40960 * 512] == b"\xa5" * (40960 - 4096) * 512     # the board's firmware


def test_the_map_is_what_bmap_tools_document(images):
    path = images("aarch64", "rockpro64")
    text = Path(f"{path}.bmap").read_text()
    tree = xml.etree.ElementTree.fromstring(text)
    told = tree.find("BmapFileChecksum").text.strip()
    assert hashlib.sha256(text.replace(told, "0" * 64).encode()).hexdigest() == told
    ranges = [tuple(map(int, one.text.strip().split("-"))) for one in tree.iter("Range")]
    assert sum(last + 1 - first for first, last in ranges) == int(tree.find("MappedBlocksCount").text)
    assert int(tree.find("BlocksCount").text) * int(tree.find("BlockSize").text) == int(tree.find("ImageSize").text)


@pytest.mark.parametrize("isa, board", EVERY)
def test_the_rest_of_it_is_zeros(images, isa, board):
    data, at = images(isa, board).read_bytes(), 0
    for start, end in disk.written(images(isa, board)):
        assert not any(data[at:start])
        at = end
    assert at == len(data)


# ---- Boards -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("board, expected", [
    # number: type, first sector, end; from the loaders' documents
    ("visionfive2", {1: ("2e54b353", 4096, 8192), 2: ("bc13c2ff", 8192, 40960), 3: ("c12a7328", 40960, 172032)}),
    ("milkv", {1: ("2e54b353", 4096, 8192), 2: ("bc13c2ff", 8192, 40960), 3: ("c12a7328", 40960, 172032)}),
    ("unmatched", {1: ("5b193300", 34, 2082), 2: ("2e54b353", 2082, 10274), 3: ("c12a7328", 16384, 147456)}),
    ("rockpro64", {1: ("8da63339", 64, 16384), 2: ("8da63339", 16384, 32768), 3: ("c12a7328", 32768, 163840)}),
    ("beaglev", {1: ("21686148", 4096, 32768), 2: ("c12a7328", 32768, 163840)}),
    ("rpi4", {1: ("c12a7328", 4096, 135168)}), ("rpi5", {1: ("c12a7328", 4096, 135168)}),
    ("pc", {1: ("21686148", 2048, 4096), 2: ("c12a7328", 4096, 135168)}),
])
def test_partitions_are_where_boards_look(images, board, expected):
    path = images(flash.BOARDS[board].isas[0], board)
    found = {number: (str(kind)[:8], start // 512, (start + size) // 512)
             for number, (kind, start, size) in disk.partitions(path).items()}
    assert found == expected
    firmware = [(start, end) for number, (kind, start, end) in found.items() if number < len(found)]
    for low, high in disk.written(path)[1:]:
        if board != "pc":       # whose first partition is for the GRUB that is in the image
            assert not any(low < end * 512 and start * 512 < high for start, end in firmware)


@pytest.mark.parametrize("isa, board", EVERY)
def test_every_loader_finds_its_files(images, isa, board):
    path, kernel = images(isa, board), build.kernel(isa).image.read_bytes()
    assert read(path, f"EFI/BOOT/{chains.EFI_NAME[isa]}") == read(path, "quire.img") == kernel
    assert read(path, "quire.cfg") == b"cpus=1 -- map\n"
    text = read(path, "README.TXT").decode("ascii")
    assert flash.BOARDS[board].title in text and "sha256sum -c" in text and text.count("\n") == text.count("\r\n")
    assert text.endswith("\r\n") and "\0" not in text
    assert not [line for line in text.splitlines() if len(line) > 120]
    extlinux, grub, pi = ("extlinux.conf" in text, "grub.cfg" in text, "config.txt" in text)
    assert (extlinux, grub, pi) == (isa != "x86_64", isa == "x86_64", board.startswith("rpi"))
    if extlinux:
        assert read(path, "extlinux/extlinux.conf") == (b"default quire\ntimeout 0\nlabel quire\n  kernel /quire.img\n"
                                                        b"  append cpus=1 -- map\n")
    if pi:
        assert {"kernel=quire.img", "cmdline=quire.cfg", "enable_uart=1"} <= set(read(path, "config.txt").decode().split())


def test_a_boot_archive_is_there_for_every_loader(tmp_path):
    archive = tmp_path / "a"
    archive.write_bytes(b"\0archive")
    for isa, board, file, line in (("x86_64", "pc", "grub.cfg", b"initrd /quire.initrd\n"),
                                   ("aarch64", "rpi4", "config.txt", b"initramfs quire.initrd followkernel\n"),
                                   ("riscv64", None, "extlinux/extlinux.conf", b"  initrd /quire.initrd\n")):
        made(tmp_path / "disk.img", isa, board, initrd=archive, line="")
        assert read(tmp_path / "disk.img", "quire.initrd") == b"\0archive"
        assert line in read(tmp_path / "disk.img", file) and b"append" not in read(tmp_path / "disk.img", file)


# ---- Where it cannot be made ------------------------------------------------------------------------------

@pytest.mark.parametrize("words, says", [
    (["mips"], 'ISA "mips" is not known'),
    ([], "quire image needs ISA"),
    (["riscv64", "--board", "visionfive"], "did you mean visionfive2?"),
    (["x86_64", "--board", "rpi4"], "rpi4 (Raspberry Pi 4) is no x86_64 machine; its ISA is aarch64"),
    (["riscv64", "-o", "/nonexistent/disk.img"], "there is no folder /nonexistent"),
    (["riscv64", "-o", "."], "is a folder"),
    (["riscv64", "-o", "/dev/null"], "/dev/null is no file; write the image there by bmaptool"),
    (["riscv64", "--initrd", "/nonexistent"], "--initrd /nonexistent: no such file"),
    (["riscv64", "--append", "a\nb"], "printable ASCII only"),
    (["riscv64", "--append", "a -- map", "--exec", "map"], "--exec cannot add to them"),
    (["riscv64", "--exec", "x" * 3000], "the kernel takes 2047"),
    (["riscv64", "--release", "--clang"], "two builds"),
])
def test_wrong_arguments(tmp_path, words, says):
    fails(quire("image", *words, cwd=tmp_path), says, 2)
    assert names(tmp_path) == []


@pytest.fixture
def old(tmp_path):
    """An image that is there already."""
    path = tmp_path / "disk.img"
    path.write_text("old")
    return path


def small_files(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return limit


@pytest.mark.parametrize("size", [1 << 20, 69 << 20])
def test_no_room_for_large_files(old, size):
    """The second limit stops only the last megabyte."""
    build.kernel("riscv64")
    if size > disk.ESP_SIZE:
        size = disk.ESP_START + disk.ESP_SIZE + disk.MIB - 1
    fails(quire("image", "riscv64", "-o", old, preexec_fn=small_files(size)), "File too large")
    assert names(old.parent) == ["disk.img"] and old.read_text() == "old"


MOUNTS = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None,
                            reason="mounting a small file system needs root")


@MOUNTS
@pytest.mark.parametrize("size", ["64k", "1m", "1900k"])
def test_no_space_where_it_shall_be(tmp_path, size):
    """In turn for the image, for what is beside it."""
    build.kernel("riscv64")
    script = (f"mount -t tmpfs -o size={size} none {tmp_path} || exit 77; echo old > {tmp_path}/disk.img; "
              f"{QUIRE} image riscv64 -o {tmp_path}/disk.img; status=$?; ls -A {tmp_path} >&2; cat {tmp_path}/disk.img >&2; "
              "exit $status")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and done.stderr.splitlines()[-2:] == ["disk.img", "old"]


@MOUNTS
def test_no_space_for_the_work(tmp_path):
    """mtools may not notice: the space is taken before they run."""
    script = (f"mount -t tmpfs -o size=66m none {tmp_path} || exit 77; cd {ROOT}/tools/quire; {sys.executable} -c 'import disk; "
              f"disk.make(\"{tmp_path}/disk.img\", {{\"README.TXT\": b\"text\"}})'")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 1 and "OSError: [Errno 28] No space left on device" in done.stderr


def test_a_folder_that_cannot_be_written_to(old, monkeypatch):
    """Root can write everywhere, so it is the call that fails, for this folder alone."""
    real = tempfile.TemporaryDirectory

    def refuse(*words, dir=None, **given):
        if Path(dir) == old.parent:
            raise PermissionError(13, "Permission denied", str(dir))
        return real(*words, dir=dir, **given)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(Problem, match=f"disk.img cannot be made: {old.parent}: Permission denied$"):
        called("riscv64", "-o", old)
    assert names(old.parent) == ["disk.img"] and old.read_text() == "old"


@pytest.mark.parametrize("tool, script, says", [("mformat", "exit 1", "mformat failed: no message"),
                                                ("mcopy", "echo 'Disk full' >&2; exit 1", "mcopy failed: Disk full"),
                                                ("grub-mkimage", "echo 'no module' >&2; exit 1", "grub-mkimage failed: ")])
def test_a_tool_that_fails(old, tool, script, says):
    folder = old.parent / "bin"
    folder.mkdir()
    (folder / tool).write_text(f"#!/bin/sh\n{script}\n")
    (folder / tool).chmod(0o755)
    build.kernel("x86_64")
    done = quire("image", "x86_64", "-o", old, env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})
    fails(done, says)
    assert names(old.parent) == ["bin", "disk.img"] and old.read_text() == "old"


@pytest.mark.parametrize("isa, tool", [("riscv64", "mtools"), ("x86_64", "grub"), ("x86_64", "grub-pc")])
def test_a_missing_tool_is_named(old, monkeypatch, isa, tool):
    package = packages.TOOLS[tool][1]
    monkeypatch.setitem(packages.TOOLS, tool, (lambda: False, package))
    monkeypatch.setattr(packages, "privilege", lambda: None)
    with pytest.raises(Problem, match=f"apt-get install {package}$"):
        called(isa, "-o", old)
    assert names(old.parent) == ["disk.img"] and old.read_text() == "old"


def test_an_old_image_is_replaced_in_the_end(old):
    assert quire("image", "riscv64", "-o", old).returncode == 0
    assert old.stat().st_size > disk.ESP_SIZE and names(old.parent) == sorted(f"disk.img{suffix}" for suffix in SUFFIXES)


def test_the_file_behind_a_link_is_replaced(tmp_path, old):
    (tmp_path / "link").symlink_to(old)
    assert quire("image", "riscv64", "-o", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink() and old.stat().st_size > disk.ESP_SIZE


# ---- Running a given one ----------------------------------------------------------------------------------

@pytest.mark.parametrize("words, says", [
    (["riscv64", "--image", "/nonexistent"], "--image /nonexistent: no such file"),
    (["riscv64", "--image", "."], ": a folder"),
    (["riscv64", "--image", "text.xz"], "no disk with a GPT and an EFI system partition (compressed?"),
    (["riscv64", "--image", "x", "--append", "a"], "--append cannot change a given image"),
    (["riscv64", "--image", "x", "--initrd", "a"], "--initrd cannot change a given image"),
    (["riscv64", "--image", "x", "--clang"], "--clang cannot change a given image"),
    (["riscv64", "--image", "text.xz", "--boot", "direct"], "QEMU loads the kernel itself"),
    (["riscv64", "--image", "x", "--boot", "uefi"], "there is no uefi on riscv64"),
])
def test_what_cannot_be_run(tmp_path, words, says):
    (tmp_path / "text.xz").write_bytes(b"text" * 1000)
    fails(quire("run", *words, cwd=tmp_path), says, 2)


def test_an_image_of_another_isa(images):
    fails(quire("run", "riscv64", "--image", images("aarch64")), "was it made for riscv64?", 2)


@pytest.mark.parametrize("isa, chain", [(isa, chain) for chain in chains.CHAINS for isa in build.ISAS
                                        if chains.runs(chain, isa) and chain not in chains.WITHOUT_DISK])
def test_firmware_writes_to_no_image(tmp_path, images, isa, chain):
    path = images(isa)
    line = chains.command(Machine(isa, chain=chain, image=str(path)), None, folder=tmp_path)
    drives = [word for word in line if f"file={path}" in word]
    assert len(drives) == 1 and drives[0].endswith(",snapshot=on")


def report(*lines):
    """As the kernel writes it."""
    crc = zlib.crc32("".join(f"{line}\n" for line in lines).encode())
    return "\n".join([*lines, f"# totals: pass:1 fail:0 skip:0 crc:{crc:08x}", ""])


GOOD = report("1..1", "ok 1 a.b")
ENDED = "\x1b[Kquire> \x1b[Kpoweroff\n"


SUCCEEDED, FAILED = f"{emulator.SUCCEEDED}\n", f"{emulator.FAILED}\n"


@pytest.mark.parametrize("status, text, script, says", [
    (33, "", None, None),
    (33, GOOD, None, None),
    (33, report("1..1", "not ok 1 a.b"), None, "1 self-test failed: a.b"),
    (33, GOOD + "*** quire stops: no memory\n", None, "quire stops"),
    (33, GOOD, "selftest", "did not get all commands"),
    (33, ENDED, "selftest", "report is not complete: no test plan"),
    (33, ENDED, "map", None),
    (33, FAILED, None, "a command failed"),
    (35, GOOD, None, "a command failed"),
    (None, GOOD, None, "no end within"),
    (0, "", None, "without a status and without its last line"),
    (0, GOOD, None, "without a status and without its last line"),
    (0, GOOD + SUCCEEDED, None, None),
    (0, GOOD + GOOD + SUCCEEDED, None, None),
    (0, SUCCEEDED, None, None),
    (0, FAILED, None, "a command failed"),
    (0, GOOD + FAILED, None, "a command failed"),
    (0, "1..2\nok 1 a.b\n" + SUCCEEDED, None, "report is not complete"),
    (0, report("1..2", "ok 1 a.b") + SUCCEEDED, None, "report is not complete: 2 tests planned, 1 reported"),
    (0, GOOD.replace("a.b", "a.c") + SUCCEEDED, None, "report is not complete: the report's sum"),
    (0, report("1..1", "not ok 1 a.b") + SUCCEEDED, None, "1 self-test failed: a.b"),
    (0, GOOD + "*** quire stops: no memory\n", None, "quire stops"),
    (0, GOOD + SUCCEEDED, "selftest", "did not get all commands"),
    (0, GOOD + ENDED + SUCCEEDED, "selftest", None),
    (0, GOOD + ENDED + SUCCEEDED, "selftest a; selftest b", "report is not complete: 1 test reports instead of 2"),
    (0, GOOD + ENDED, "selftest", "without a status and without its last line"),
    (0, ENDED + SUCCEEDED, "nodes", None),
    (0, ENDED + FAILED, "nodes", "a command failed"),
    (0, ENDED, "map", "without a status and without its last line"),
])
def test_how_the_run_of_an_image_is_judged(status, text, script, says):
    problem = run.image_problem(Outcome("qemu", status, 1.0), text.encode(), script)
    assert problem is None if says is None else says in problem


@pytest.mark.parametrize("status, says", [(33, None), (35, None), (0, None), (1, "ended with status 1"),
                                          (None, "no end within")])
def test_what_somebody_watched_on_a_terminal_is_not_judged(status, says):
    problem = run.image_problem(Outcome("qemu", status, 1.0, watched=True), b"", None)
    assert problem is None if says is None else says in problem


@pytest.mark.parametrize("append, chain", [("qemu-exit", "uboot-extlinux"), ("", "uboot-efi")])
@pytest.mark.parametrize("script, status", [("nodes", 0), ("bogus; selftest pt", 1)])
def test_typed_commands_make_success(tmp_path, append, chain, script, status):
    """With a status of the machine and without one. The commands behind one that fails run."""
    path = tmp_path / "disk.img"
    made(path, "riscv64", line=append)
    done = quire("run", "riscv64", "--image", path, "--boot", chain, "--exec", script)
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == (emulator.FAILED if status else emulator.SUCCEEDED)
    assert ("# totals: " in done.stdout) == ("selftest" in script)
    if status:
        assert "a command failed" in done.stderr.splitlines()[-1]


def test_commands_are_typed_and_a_machine_that_only_halts_is_over(tmp_path):
    path = tmp_path / "disk.img"
    made(path, "x86_64", line="")
    before = path.read_bytes()
    done = quire("run", "x86_64", "--image", path, "--boot", "grub-bios", "--exec", "nodes; selftest base")
    assert done.returncode == 0, done.stderr
    assert "quire> nodes\n" in emulator.plain(done.stdout.encode()) and "\n# totals: pass:" in done.stdout
    assert done.stdout.splitlines()[-2:] == [emulator.SUCCEEDED, emulator.HALTED.decode()]
    assert path.read_bytes() == before
