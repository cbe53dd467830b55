# SPDX-License-Identifier: MIT
"""Results of a test run: a line as each arrives, the totals at the end. What was skipped is neither passed nor
failed; it is listed with the reasons."""
import collections
import dataclasses
import json
import sys
import threading

from dataclasses import dataclass, field

import ui


@dataclass
class Result:
    """One run of something: a boot, a test program, a rule. It may stand for many tests."""
    suite: str
    name: str
    passed: int = 0
    failed: int = 0
    skipped: list = field(default_factory=list)     # reasons, one per test
    seconds: float = 0.0
    note: str = ""
    details: list = field(default_factory=list)     # why it failed

    @property
    def status(self):
        return "FAIL" if self.failed else "PASS" if self.passed else "SKIP"

    def line(self):
        tests = self.passed + self.failed
        told = [ui.plural(tests, "test")] if tests > 1 else []
        told += [self.note] if self.note else []
        told += [self.skipped[0]] if self.status == "SKIP" and self.skipped else []
        return f"{self.status}  {self.suite:6}  {self.name:48} {self.seconds:6.1f} s  {', '.join(told)}".rstrip()


class Report:
    def __init__(self, as_json):
        self.results = []
        self.running = []
        self.stream = sys.stderr if as_json else sys.stdout
        self.as_json = as_json
        self.part = None        # of a part whose results can be counted beforehand: how many were before it, and has it
        self.closed = False     # the run was interrupted: what ends now ends for that reason
        self.lock = threading.Lock()
        self.live = self.stream.isatty()

    def status_line(self):
        if not self.live or self.closed:
            return
        done = ""
        if self.part:
            own = self.results[self.part[0]:]
            done = f"{len(own)}/{self.part[1]}, {sum(bool(result.failed) for result in own)} failed: "
        print("\r" + (done + ", ".join(self.running))[:100] + "\x1b[K", end="", file=self.stream, flush=True)

    def expect(self, count):
        """So many results come next; 0: that part has ended."""
        self.part = (len(self.results), count) if count else None

    def begin(self, name):
        with self.lock:
            self.running.append(name)
            self.status_line()

    def end(self, name):
        with self.lock:
            self.running.remove(name)
            self.status_line()

    def add(self, result):
        with self.lock:
            if self.closed:
                return
            self.results.append(result)
            lines = [result.line()] + [f"      {detail}" for detail in result.details]
            print(("\r\x1b[K" if self.live else "") + "\n".join(lines), file=self.stream, flush=True)
            self.status_line()

    def check(self, suite, name, details, seconds=0.0, note=""):
        """One test that failed if there is something to say about it."""
        details = list(details)
        self.add(Result(suite, name, passed=int(not details), failed=int(bool(details)), seconds=seconds, note=note,
                        details=details))

    def note(self, suite, text):
        """Something to know that is no result."""
        with self.lock:
            print(f"      {suite:6}  {text}", file=self.stream, flush=True)

    def skip(self, suite, name, reason):
        self.add(Result(suite, name, skipped=[reason]))

    def summary(self):
        """Prints the totals; returns the status that the run ends with."""
        passed, failed = sum(r.passed for r in self.results), sum(r.failed for r in self.results)
        if self.live:
            print("\r\x1b[K", end="", file=self.stream)
        reasons = collections.Counter((r.suite, reason) for r in self.results for reason in r.skipped)
        if reasons:
            print("Skipped:", file=self.stream)
            for (suite, reason), count in sorted(reasons.items()):
                print(f"  {count:4}  {suite}: {reason}", file=self.stream)
        for result in self.results:
            if result.failed:
                print(f"failed: {result.suite} {result.name}", file=self.stream)
        if self.as_json:
            print(json.dumps({"passed": passed, "failed": failed, "skipped": sum(reasons.values()),
                              "results": [dataclasses.asdict(r) | {"status": r.status} for r in self.results]}, indent=1))
        else:
            print(f"{passed} passed, {failed} failed")
        return 1 if failed or not passed else 0
