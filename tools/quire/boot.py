# SPDX-License-Identifier: MIT
"""Boot tests: a machine, the monitor's commands, and what has to come of it. tests/qemu/*.py list them: each
module there has boots(isa), which yields Boot."""
import importlib.util
import re
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

import chains
import emulator
import ktap
import places
from machine import Machine, STATUS_FAILED, STATUS_OK
from report import Result

HANG = None                     # a Boot whose machine has to be stopped
OUTPUT_MAX = 4 << 20
TAIL = 12


def reports_of(script):
    """How many reports of self-tests the monitor's commands make."""
    return script.replace(";", " ").split().count("selftest")


@dataclass(frozen=True)
class Boot:
    name: str
    machine: Machine
    script: str = "selftest"
    status: int | None = STATUS_OK
    expect: tuple = ()              # regular expressions; each must match somewhere in the output
    refuse: tuple = ()              # and none of these
    check: Callable | None = None   # check(output) returns what is wrong, or None
    prepare: Callable | None = None  # prepare(command line, folder) returns more arguments for QEMU
    typed: str | None = None        # typed at the prompt instead of a script
    image: Callable | None = None   # image(kernel) returns the disk to boot from, which holds the script
    variant: str = "debug"
    timeout: float = 120   # the self-tests take up to 20 s on an idle machine
    silence: float | None = None    # seconds without output after which the machine is taken to hang

    @property
    def reports(self):
        """How many reports of self-tests are to come."""
        return reports_of(self.script)


@dataclass
class Watch:
    """Keeps a machine's output and the moment of its first prompt."""
    output: bytearray = field(default_factory=bytearray)
    start: float = 0.0
    prompt: float | None = None

    def begin(self):
        self.start = time.monotonic()

    def write(self, data):
        if len(self.output) < OUTPUT_MAX:
            self.output += data
        if self.prompt is None and emulator.PROMPT in self.output:
            self.prompt = time.monotonic() - self.start


def load(isa):
    """All boots of tests/qemu for an ISA. The modules there can import those in shared/."""
    folder = places.ROOT / "tests/qemu"
    if str(folder / "shared") not in sys.path:
        sys.path.append(str(folder / "shared"))
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"boots_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.boots(isa)


def problems(boot, outcome, output):
    """What is wrong with how a boot went, apart from self-tests that failed."""
    if outcome.status != boot.status:
        yield outcome.problem() or "ended with success, although it must not"
    for pattern in boot.expect:
        if not re.search(pattern, output, re.MULTILINE):
            yield f"the output lacks /{pattern}/"
    for pattern in boot.refuse:
        if found := re.search(pattern, output, re.MULTILINE):
            yield f"the output holds \"{found[0]}\""
    if boot.check and outcome.status == boot.status and (wrong := boot.check(output)):  # figures that are all there
        yield wrong


def start(boot, kernel, folder, watch):
    machine = replace(boot.machine, image=str(boot.image(kernel))) if boot.image else boot.machine
    line = chains.command(machine, kernel, None if boot.typed is not None else boot.script, folder)
    if boot.prepare:
        line += boot.prepare(line, folder)
    watch.begin()
    if boot.typed is None:
        return emulator.run(line, watch.write, boot.timeout, silence=boot.silence)
    keys = folder / "typed"
    keys.write_text(boot.typed)
    with open(keys, "rb") as file:
        return emulator.run(line, watch.write, boot.timeout, typed=file.fileno())


@dataclass
class Run:
    """What came of a boot."""
    boot: Boot
    output: str
    tests: ktap.Results
    wrong: list                     # lines: what is wrong apart from self-tests that failed
    seconds: float
    prompt: float | None            # seconds until it was there
    log: Path

    @property
    def details(self):
        """Why it failed; nothing if it did not."""
        lines = [f"{name}: {why}" for name, why in self.tests.failed] + self.wrong
        if self.wrong:
            lines += [f"| {line[:160]}" for line in self.output.splitlines()[-TAIL:]]
        return lines + [f"all output: {places.shown(self.log)}"] if lines else []

    def result(self, suite, name, note=None):
        """It counts the self-tests, and the boot itself as one more."""
        if note is None:
            note = "" if self.prompt is None else f"prompt after {self.prompt:.1f} s"
        return Result(suite, name, seconds=self.seconds, passed=len(self.tests.passed) + (not self.wrong),
                      failed=len(self.tests.failed) + bool(self.wrong), note=note, details=self.details,
                      skipped=[reason for _, reason in self.tests.skipped])


def run(boot, kernel):
    watch = Watch()
    with places.scratch() as folder:
        outcome = start(boot, kernel, folder, watch)
    output = emulator.plain(watch.output) + outcome.errors.replace("\r", "")
    log = places.log_file(f"boot-{boot.machine.isa}-" + re.sub(r"\W+", "-", boot.name).strip("-"))
    log.write_text(output)
    wrong = list(problems(boot, outcome, output))
    tests = ktap.parse(output, boot.reports) if boot.reports else ktap.Results()
    if tests.problem:
        wrong.append(tests.problem)
    if tests.failed and outcome.status == STATUS_FAILED:
        wrong = [line for line in wrong if line != outcome.problem()]  # the failed tests say it better
    return Run(boot, output, tests, wrong, outcome.seconds, watch.prompt, log)
