# SPDX-License-Identifier: MIT
"""Builds through Meson and Ninja: one line per step, the rest in build/log/.

A build directory belongs to the arguments it was configured with; when those change (or the tree was moved),
it is made anew. Otherwise Ninja decides what there is to do, and says nothing if that is nothing."""
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import libfdt
import packages
import places
import ui
from ui import Problem

ISAS = ("x86_64", "riscv64", "aarch64")
VARIANTS = ("debug", "release", "clang")
INSPECT = "tools/inspect/inspect"
PAGE_REPLAY = "tests/host/page-replay"
THREADED = ("unit-x86_64",)   # hosted tests that run threads; the ISA makes no difference there

# Flags of another project in the caller's environment must not reach this one.
ENVIRONMENT = {k: v for k, v in os.environ.items()
               if k not in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "DESTDIR", "NINJA_STATUS")} | {
                   "LC_ALL": "C.UTF-8", "PYTHONPYCACHEPREFIX": str(places.BUILD / "pycache")}

TELLING = re.compile(r"error[: ]|ERROR|undefined reference|multiple definition|overflowed|ld(\.lld)?: |not found")
SHOWN_LINES = 12


@dataclass(frozen=True)
class Kernel:
    isa: str
    elf: Path
    image: Path

    @property
    def boot(self):
        """What QEMU's -kernel takes: PVH is a note in the ELF file, the other ISAs have Linux's Image header."""
        return self.elf if self.isa == "x86_64" else self.image


def failure(what, log):
    """A Problem that shows the lines of the log which matter."""
    lines = log.read_text(errors="replace").splitlines()
    telling = [line for line in lines if TELLING.search(line)] or lines
    chosen = telling[:SHOWN_LINES] if telling is not lines else lines[-SHOWN_LINES:]
    return Problem(f"{what} failed; all of it is in {places.shown(log)}", details=chosen)


def configure(directory, arguments, inputs, log):
    """meson setup, unless the directory was set up in the same way. inputs: files whose change needs a new one."""
    content = [str(places.ROOT), *arguments, *(path.read_text() for path in inputs)]
    stamp = hashlib.sha256("\0".join(content).encode()).hexdigest()
    stamp_file = directory / "quire-stamp"
    if (directory / "build.ninja").exists() and stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    with ui.Step(f"configure {places.shown(directory)}") as step, open(log, "w") as output:
        step.note()
        shutil.rmtree(directory, ignore_errors=True)
        command = ["meson", "setup", str(directory), *arguments]
        if subprocess.run(command, cwd=places.ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output,
                          stderr=subprocess.STDOUT).returncode != 0:
            output.flush()
            raise failure(f"meson setup {places.shown(directory)}", log)
    stamp_file.write_text(stamp)


def ninja(directory, targets, log):
    with ui.Step(f"build {places.shown(directory)}") as step, open(log, "a") as output:
        with subprocess.Popen(["ninja", "-C", str(directory), *targets], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
            for line in process.stdout:
                output.write(line)
                if line.startswith("["):
                    step.note(line.partition(" ")[0])
        if process.returncode != 0:
            output.flush()
            raise failure(f"build {places.shown(directory)}", log)


def build(name, arguments, inputs=(), targets=()):
    """Builds build/NAME and returns it."""
    directory = places.BUILD / name
    with places.lock():
        libfdt.ensure()
        log = places.log_file(f"build-{name}")
        log.unlink(missing_ok=True)
        configure(directory, arguments, [libfdt.WRAP, *inputs], log)
        ninja(directory, targets, log)
    return directory


def kernel(isa, variant="debug"):
    packages.ensure(packages.compilers(isa, variant))
    cross = places.ROOT / "cross" / (f"clang-{isa}.ini" if variant == "clang" else f"{isa}.ini")
    arguments = ["--cross-file", str(cross)] + (["--buildtype=release"] if variant == "release" else [])
    directory = build(isa if variant == "debug" else f"{variant}-{isa}", arguments, [cross]) / "kernel"
    return Kernel(isa, directory / f"quire-{isa}.elf", directory / f"quire-{isa}.img")


def hosted(*targets):
    """The build for this machine, under sanitizers: unit tests and inspect."""
    packages.ensure(packages.BUILD)
    return build("host", ["-Db_sanitize=address,undefined"], targets=targets)


def hosted_tsan():
    """The tests that run threads, under ThreadSanitizer."""
    packages.ensure(packages.BUILD)
    return build("host-tsan", ["-Db_sanitize=thread"], targets=[f"tests/host/{name}" for name in THREADED])


def hosted_release():
    """The same as a distribution would build it: optimised, without sanitizers. Warnings differ between the two."""
    packages.ensure(packages.BUILD)
    return build("host-release", ["--buildtype=release"])


def fuzzers():
    """The libFuzzer targets, and all else of the hosted build by clang."""
    packages.ensure((*packages.BUILD, "clang", "libfuzzer"))
    native = places.ROOT / "cross/clang-host.ini"
    arguments = ["--native-file", str(native), "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false"]
    return build("fuzz", arguments, [native])


def bench(march):
    """The benchmarks, optimised for a kind of CPU of this machine's architecture; returns where their programs are."""
    packages.ensure(packages.BUILD)
    return build(f"bench-{march}", ["--buildtype=release", f"-Dbench={march}"],
                 targets=("tests/bench/frames-bench",)) / "tests/bench"


def hosted_program(name):
    built = places.BUILD / "host" / name
    return built if built.exists() and not places.may_build() else hosted(name) / name


def inspect():
    return hosted_program(INSPECT)


def page_replay():
    return hosted_program(PAGE_REPLAY)
