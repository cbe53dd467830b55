# SPDX-License-Identifier: MIT
"""Programs that quire needs, the Debian packages they come in, and their installation through apt.

What is there is found by looking for the program itself, each time: there is no record that could be wrong."""
import glob
import importlib.util
import os
import platform
import shutil
import subprocess

import places
import ui
from ui import Problem


def program(name):
    return lambda: shutil.which(name) is not None


def file(pattern):
    return lambda: bool(glob.glob(pattern))


def module(name):
    return lambda: importlib.util.find_spec(name) is not None


def cross_gcc(isa):
    """Debian has no cross compiler for the machine it runs on; there, plain gcc carries that name."""
    return "gcc" if platform.machine() == isa else f"gcc-{isa.replace('_', '-')}-linux-gnu"


# What quire calls a thing: how to see that it is there, the package it comes in.
TOOLS = {
    "meson": (program("meson"), "meson"),
    "ninja": (program("ninja"), "ninja-build"),
    "gcc": (program("gcc"), "gcc"),
    "libc": (file("/usr/include/stdio.h"), "libc6-dev"),
    "gcc-x86_64": (program("x86_64-linux-gnu-gcc"), cross_gcc("x86_64")),
    "gcc-riscv64": (program("riscv64-linux-gnu-gcc"), cross_gcc("riscv64")),
    "gcc-aarch64": (program("aarch64-linux-gnu-gcc"), cross_gcc("aarch64")),
    "clang": (program("clang-14"), "clang-14"),
    "lld": (program("ld.lld-14"), "lld-14"),
    "llvm": (program("llvm-objcopy-14"), "llvm-14"),
    "libfuzzer": (file("/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a"), "libclang-rt-14-dev"),
    "qemu-x86_64": (program("qemu-system-x86_64"), "qemu-system-x86"),
    "qemu-riscv64": (program("qemu-system-riscv64"), "qemu-system-misc"),
    "qemu-aarch64": (program("qemu-system-aarch64"), "qemu-system-arm"),
    "opensbi": (file("/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin"), "opensbi"),
    "dtc": (program("dtc"), "device-tree-compiler"),
    "iasl": (program("iasl"), "acpica-tools"),
    "mtools": (program("mformat"), "mtools"),
    "edk2-x86_64": (file("/usr/share/ovmf/OVMF.fd"), "ovmf"),
    "edk2-aarch64": (file("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"), "qemu-efi-aarch64"),
    "u-boot": (file("/usr/lib/u-boot/qemu_arm64/u-boot.bin"), "u-boot-qemu"),
    "grub": (program("grub-mkimage"), "grub-common"),
    "grub-efi-x86_64": (file("/usr/lib/grub/x86_64-efi/kernel.img"), "grub-efi-amd64-bin"),
    "grub-pc": (file("/usr/lib/grub/i386-pc/boot.img"), "grub-pc-bin"),
    "gdb": (program("gdb-multiarch"), "gdb-multiarch"),
    "valgrind": (program("valgrind"), "valgrind"),
    "pytest": (module("pytest"), "python3-pytest"),
}

BUILD = ("meson", "ninja", "gcc", "libc")
CLANG = ("clang", "lld", "llvm")
TESTS = ("pytest", "dtc", "iasl")


def compilers(isa, variant="debug"):
    return BUILD + (CLANG if variant == "clang" else (f"gcc-{isa}",))


def emulator(isa):
    return (f"qemu-{isa}",) + (("opensbi",) if isa == "riscv64" else ())


def missing(tools):
    """The packages to install, each once, in order."""
    return list(dict.fromkeys(TOOLS[tool][1] for tool in tools if not TOOLS[tool][0]()))


def privilege():
    """What to put before a command that only root may run."""
    if os.geteuid() == 0:
        return []
    return ["sudo"] if shutil.which("sudo") else None


def apt(arguments, log, step):
    """Runs apt-get, its output into the log, what it is busy with into the step. Returns its success."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = [*privilege(), "apt-get", "-o", "DPkg::Lock::Timeout=600", *arguments]
    log.write(f"$ {' '.join(command)}\n")
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            log.write(line)
            if line.startswith(("Get:", "Unpacking ", "Setting up ")):
                step.note(line.split(" (")[0].strip())
    return process.returncode == 0


def apt_reason(path):
    """What apt gave as its reason, in one line."""
    errors = [line[2:].strip() for line in path.read_text(errors="replace").splitlines() if line.startswith("E:")]
    return errors[-1] if errors else "apt-get failed"


def install(packages):
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise Problem(f"needs the packages {names} (Debian's names); there is no apt here: please install them")
    if privilege() is None:
        raise Problem(f"needs root or sudo for: apt-get install {names}")
    path = places.log_file("apt")
    arguments = ["install", "-y", "--no-install-recommends", *packages]
    with ui.Step(f"installing {names}") as step, open(path, "w") as log:
        step.note()
        # The lists of packages are fetched only if apt cannot do without.
        if not apt(arguments, log, step) and not (apt(["update"], log, step) and apt(arguments, log, step)):
            log.flush()
            raise Problem(f"{names} could not be installed: {apt_reason(path)} ({places.shown(path)})")


def ensure(tools):
    """Installs what is missing of these tools; says which if it cannot."""
    if not missing(tools):
        return
    with places.lock():
        packages = missing(tools)
        if packages:
            install(packages)
    importlib.invalidate_caches()
    still = [tool for tool in tools if not TOOLS[tool][0]()]
    if still:
        raise Problem(f"{', '.join(still)} still not found after installing {' '.join(packages)}; is PATH unusual?")
