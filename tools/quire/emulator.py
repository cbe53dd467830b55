# SPDX-License-Identifier: MIT
"""Runs QEMU and tells what its end means. It never outlives quire, however quire ends."""
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
from dataclasses import dataclass

from machine import STATUS_FAILED, STATUS_OK
from ui import Problem

PROMPT = b"quire> "
HALTED = b"halted: the power can be turned off"     # says the kernel where it cannot turn it off itself
SUCCEEDED, FAILED = "quire: all commands succeeded", "quire: a command failed"   # its last line (kernel/main.c)
RUNNING = set()                 # every emulator that is not known to have ended


def plain(output):
    """What a console shows, as text, without the escapes by which a line is drawn again."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output.decode(errors="replace"))


def boxes():
    """How many machines run at a time."""
    return max(1, len(os.sched_getaffinity(0)))


@dataclass
class Outcome:
    emulator: str
    status: int | None          # None: it did not end in time
    seconds: float
    errors: str = ""            # what QEMU itself complained about
    watched: bool = False       # somebody sat at its console, and saw whether commands failed

    def problem(self):
        """Why this run is no success, in one line; None if it is one."""
        if self.status == STATUS_OK or (self.watched and self.status == STATUS_FAILED):
            return None
        if self.status is None:
            return f"no end within {self.seconds:.0f} s: the machine hangs, or the time it is given is too short"
        if self.status == STATUS_FAILED:
            return "a command failed, or the kernel stopped"
        if self.status == 0:
            return "the machine ended without a status (a reset, a triple fault, or Ctrl-A X)"
        if self.status < 0:
            return f"{self.emulator} was ended by {signal.Signals(-self.status).name}: {self.complaint()}"
        return f"{self.emulator} ended with status {self.status}: {self.complaint()}"

    def complaint(self):
        """What QEMU says is wrong: its last line that begins with its name, else its last line."""
        lines = self.errors.strip().splitlines() or ["no message"]
        own = [line.partition(": ")[2] for line in lines if line.startswith(f"{self.emulator}: ")]
        return own[-1] if own else lines[-1]


class Console:
    """A machine's output on its way to `write`: without carriage returns, and without the lines that OpenSBI prints
    before it starts the kernel (unless the machine ends before that)."""

    FIRST, LAST = b"OpenSBI v", b"Boot HART MEDELEG"

    def __init__(self, write):
        self.write = write
        self.held = b""
        self.passing = False
        self.last = b"\n"
        self.halted = False
        self.tail = b""

    def feed(self, data):
        data = data.replace(b"\r", b"")
        if self.passing:
            self.put(data)
            return
        self.held += data
        start = self.held.lstrip()
        if not start[:len(self.FIRST)] == self.FIRST[:len(start)]:
            self.flush()
        elif self.LAST in start and b"\n" in (rest := start.partition(self.LAST)[2]):
            self.held = rest.partition(b"\n")[2]
            self.flush()

    def put(self, data):
        if data:
            self.last = data[-1:]
            seen = self.tail + data
            self.halted = self.halted or HALTED in seen
            self.tail = seen[-len(HALTED):]
            self.write(data)

    def flush(self):
        self.passing = True
        self.put(self.held)
        self.held = b""

    def finish(self):
        """The end, on a line of its own."""
        self.flush()
        if self.last != b"\n":
            self.put(b"\n")


class Feeder:
    """Types what comes from `source` once the prompt is there; at its end, `poweroff`."""

    def __init__(self, source, target):
        self.seen = b""
        self.thread = threading.Thread(target=self.copy, args=(source, target), daemon=True)

    def watch(self, data):
        if self.thread.ident is None:
            self.seen = self.seen[-len(PROMPT):] + data
            if PROMPT in self.seen:
                self.thread.start()

    @staticmethod
    def copy(source, target):
        try:
            while data := os.read(source, 4096):
                target.write(data)
            target.write(b"\npoweroff\n")
        except (BrokenPipeError, ValueError):
            pass  # the machine has ended


def bound_to_us(command):
    """Makes the kernel end the emulator when quire dies, even by SIGKILL."""
    if shutil.which(command[0]) is None:
        raise Problem(f"{command[0]} is not installed")
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


def start(command, **streams):
    process = subprocess.Popen(bound_to_us(command), **streams)
    RUNNING.add(process)
    return process


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    RUNNING.discard(process)


def stop_all():
    """For an end that did not wait for the threads which run machines."""
    for process in list(RUNNING):
        process.kill()


def read_until_end(process, deadline, silence, write):
    """Passes output on, until write(bytes) returns True, which means that it was the last. False: the deadline came
    first, or so many seconds without output."""
    stream = process.stdout.fileno()
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        wait = min((limit for limit in (left, silence) if limit is not None), default=None)
        if not select.select([stream], [], [], wait)[0]:
            return False
        data = os.read(stream, 1 << 16)
        if not data:
            return True
        if write(data):
            return True


def run(command, write, timeout=None, typed=None, silence=None):
    """Runs a machine whose output goes to write(bytes), for so many seconds at most, and so many without output.
    typed: a file descriptor to type from; None: no input."""
    began = time.monotonic()
    console = Console(write)
    with tempfile.TemporaryFile() as errors:
        process = start([*command, "-serial", "stdio", "-monitor", "none"], bufsize=0, stdout=subprocess.PIPE,
                        stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE, stderr=errors)
        feeder = Feeder(typed, process.stdin) if typed is not None else None

        def take(data):
            console.feed(data)
            if feeder:
                feeder.watch(data)
            return console.halted
        try:
            ended = read_until_end(process, None if timeout is None else began + timeout, silence, take)
            status = None if not ended else 0 if console.halted else process.wait()
            seconds = time.monotonic() - began
            console.finish()
        finally:
            stop(process)
            process.stdout.close()
        errors.seek(0)
        return Outcome(command[0], status, seconds, errors.read().decode(errors="replace"))


def run_on_terminal(command, timeout=None):
    """Gives the machine the terminal that quire was called from. Ctrl-C goes to the machine."""
    began = time.monotonic()
    settings = termios.tcgetattr(0)
    process = start([*command, "-serial", "mon:stdio"])
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        seconds = time.monotonic() - began
        stop(process)
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
    return Outcome(command[0], status, seconds, watched=True)
