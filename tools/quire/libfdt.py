# SPDX-License-Identifier: MIT
"""libfdt's archive for Meson, made from Debian's linux-source-6.1 package.

libfdt's own packages hold programs for Linux; a kernel needs its sources, and that package has them in a version
that stays as it is. The archive is made the same way, byte for byte, each time, so that its hash in
subprojects/libfdt.wrap can be checked."""
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import packages
import places
import ui
from ui import Problem

WRAP = places.ROOT / "subprojects/libfdt.wrap"
ARCHIVE = places.ROOT / "subprojects/packagefiles/libfdt-linux-6.1.tar"
FOLDER = "libfdt-linux-6.1"
FILES = ("fdt.c", "fdt.h", "fdt_addresses.c", "fdt_ro.c", "fdt_strerror.c", "libfdt.h", "libfdt_env.h",
         "libfdt_internal.h")
SOURCE = "linux-source-6.1"


def expected_hash():
    return re.search(r"^source_hash *= *(\w+)", WRAP.read_text(), re.MULTILINE)[1]


def is_good(path):
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == expected_hash()


def download(folder, step):
    """The package file, in `folder`."""
    log_path = places.log_file("libfdt")
    with open(log_path, "w") as log:
        for command in ([], [*(packages.privilege() or []), "apt-get", "update"]):
            if command:
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            step.note("(139 MB, once)")
            done = subprocess.run(["apt-get", "download", SOURCE], cwd=folder, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log)
            if done.returncode == 0:
                return next(Path(folder).glob("*.deb"))
    raise Problem(f"{SOURCE} could not be downloaded: {packages.apt_reason(log_path)} ({places.shown(log_path)})")


def extract(package, target, step):
    """Copies libfdt's files out of the kernel's sources inside the package."""
    step.note("unpacking")
    left = set(FILES)
    with subprocess.Popen(["dpkg", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as outer:
            sources = next((m for m in outer if m.name.endswith(f"{SOURCE}.tar.xz")), None)
            if sources is None:
                raise Problem(f"{package.name} holds no {SOURCE}.tar.xz")
            with tarfile.open(fileobj=outer.extractfile(sources), mode="r|xz") as inner:
                for member in inner:
                    folder, _, name = member.name.rpartition("/")
                    if folder.endswith("/scripts/dtc/libfdt") and name in left:
                        (target / name).write_bytes(inner.extractfile(member).read())
                        left.remove(name)
                    if not left:
                        break
        process.kill()  # the rest of the package is of no interest
    if left:
        raise Problem(f"{package.name} does not hold libfdt's {', '.join(sorted(left))}")


def pack(parent, archive):
    """GNU tar rather than tarfile: their headers differ in unused fields, and the hash is over GNU tar's."""
    os.chmod(parent / FOLDER, 0o755)
    subprocess.run(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner",
                    "--mode=u=rwX,go=rX", "--format=ustar", "-cf", archive, "-C", parent, FOLDER], check=True)


def make(archive):
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Problem(f"needs {places.shown(archive)}, which is made from Debian's package {SOURCE}; there is no apt "
                      "here: please copy it from a Debian system")
    with ui.Step(f"libfdt from {SOURCE}") as step, tempfile.TemporaryDirectory(dir=places.BUILD) as temporary:
        temporary = Path(temporary)
        os.chmod(temporary, 0o755)  # apt downloads as a user of its own
        (temporary / FOLDER).mkdir()
        extract(download(temporary, step), temporary / FOLDER, step)
        made = temporary / archive.name
        pack(temporary, made)
        if not is_good(made):
            raise Problem(f"libfdt from {SOURCE} is not what {places.shown(WRAP)} expects (SHA-256 differs): "
                          "Debian's package has changed; review the files and update source_hash")
        archive.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, archive.with_suffix(".new"))
        archive.with_suffix(".new").rename(archive)


def ensure():
    """Call with the lock held."""
    if not is_good(ARCHIVE):
        make(ARCHIVE)
    refresh_patch()


def refresh_patch():
    """Meson copies packagefiles/ only when it unpacks the archive; keep an unpacked copy up to date."""
    unpacked = places.ROOT / "subprojects" / FOLDER
    for source in (places.ROOT / "subprojects/packagefiles/libfdt").iterdir():
        copy = unpacked / source.name
        if unpacked.is_dir() and (not copy.exists() or copy.read_bytes() != source.read_bytes()):
            shutil.copyfile(source, copy)
