# SPDX-License-Identifier: MIT
"""Boot tests: a machine, the monitor's commands, and what has to come of it. tests/qemu/*.py list them: each
module there has boots(isa), which yields Boot."""
import importlib.util
import re
import time
from dataclasses import dataclass, field
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
    variant: str = "debug"
    timeout: float = 120   # the self-tests take up to 20 s on an idle machine

    @property
    def has_tests(self):
        return "selftest" in self.script.replace(";", " ").split()


@dataclass
class Watch:
    """Keeps a machine's output and the moment of its first prompt."""
    output: bytearray = field(default_factory=bytearray)
    start: float = field(default_factory=time.monotonic)
    prompt: float | None = None

    def write(self, data):
        if len(self.output) < OUTPUT_MAX:
            self.output += data
        if self.prompt is None and emulator.PROMPT in self.output:
            self.prompt = time.monotonic() - self.start


def load(isa):
    """All boots of tests/qemu for an ISA."""
    for path in sorted((places.ROOT / "tests/qemu").glob("*.py")):
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
    line = chains.command(boot.machine, kernel, None if boot.typed is not None else boot.script, folder)
    if boot.prepare:
        line += boot.prepare(line, folder)
    if boot.typed is None:
        return emulator.run(line, watch.write, boot.timeout)
    keys = folder / "typed"
    keys.write_text(boot.typed)
    with open(keys, "rb") as file:
        return emulator.run(line, watch.write, boot.timeout, typed=file.fileno())


def run(boot, kernel):
    """Runs one boot; the result counts the self-tests that ran in it, and the boot itself as one more."""
    watch = Watch()
    with places.scratch() as folder:
        outcome = start(boot, kernel, folder, watch)
    output = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", watch.output.decode(errors="replace"))
    log = places.log_file(f"boot-{boot.machine.isa}-" + re.sub(r"\W+", "-", boot.name).strip("-"))
    log.write_text(output)
    wrong = list(problems(boot, outcome, output))
    tests = ktap.parse(output) if boot.has_tests else ktap.Results()
    if tests.problem:
        wrong.append(tests.problem)
    if tests.failed and outcome.status == STATUS_FAILED:
        wrong = [line for line in wrong if line != outcome.problem()]  # the failed tests say it better
    result = Result("boot", f"{boot.machine.isa} {boot.name}", seconds=outcome.seconds,
                    passed=len(tests.passed) + (not wrong), failed=len(tests.failed) + bool(wrong),
                    skipped=[reason for _, reason in tests.skipped],
                    note="" if watch.prompt is None else f"prompt after {watch.prompt:.1f} s")
    result.details = [f"{name}: {why}" for name, why in tests.failed] + wrong
    if wrong:
        result.details += [f"| {line[:160]}" for line in output.splitlines()[-TAIL:]]
    if result.failed:
        result.details.append(f"all output: {places.shown(log)}")
    return result
