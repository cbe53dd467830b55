# SPDX-License-Identifier: MIT
"""quire debug: QEMU, stopped before its first instruction, with gdb attached."""
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import build
import chains
import emulator
import packages
import places
import run
import ui
from options import Command, Operand

ENDS = (None, 0, 33, 35)        # still running; or over, for a reason that the console shows


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gdb_command(kernel, port):
    """gdb retries the connection by itself until QEMU listens."""
    return [shutil.which("gdb-multiarch"), "-q", str(kernel.elf), "-ex", "set pagination off",
            "-ex", "set confirm off", "-ex", f"target remote 127.0.0.1:{port}", "-ex", "hbreak kmain", "-ex", "continue"]


def debug(options):
    machine = run.machine_from(options)
    variant = run.variant_from(options)
    chains.check(machine, options.exec)
    packages.ensure((*chains.tools(machine), *packages.compilers(machine.isa, variant), "gdb"))
    kernel = build.kernel(machine.isa, variant)
    with places.scratch() as folder:
        return attach(machine, kernel, chains.command(machine, kernel, options.exec, folder))


def attach(machine, kernel, command):
    port = free_port()
    output = places.log_file(f"debug-{machine.isa}")
    line = [*command, "-S", "-gdb", f"tcp:127.0.0.1:{port}", "-serial", f"file:{output}", "-monitor", "none"]
    ui.say(f"the machine's console is {places.shown(output)}; leaving gdb ends it")
    began = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C in gdb must reach neither QEMU nor us.
        process = emulator.start(line, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            status = subprocess.run(gdb_command(kernel, port), cwd=places.ROOT).returncode
            ended = process.poll()
        finally:
            emulator.stop(process)
        if ended not in ENDS:
            errors.seek(0)
            outcome = emulator.Outcome(line[0], ended, time.monotonic() - began, errors.read().decode(errors="replace"))
            raise ui.Problem(outcome.problem())
    return status


DEBUG = Command("debug", "boots under gdb, stopped at kmain", debug,
                operands=(Operand("ISA", build.ISAS),), options=run.MACHINE_OPTIONS,
                examples=("quire debug aarch64", 'quire debug riscv64 --cpus 1 --exec "selftest frame"'))
