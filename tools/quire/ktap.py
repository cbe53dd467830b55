# SPDX-License-Identifier: MIT
"""Reads KTAP and TAP: reports of one plan, one result per test, comments before the result they explain. Our own
reports end with the CRC-32 of plan and results, so that bytes which a console lost or mixed are noticed."""
import re
import zlib
from dataclasses import dataclass, field

PLAN = re.compile(r"1\.\.(\d+)$")
RESULT = re.compile(r"(ok|not ok)\s+(\d+)\s*(?:- )?([^#]*?)\s*(?:#\s*(SKIP|TODO)\b\s*(.*))?$", re.IGNORECASE)
TOTALS = re.compile(r"# totals: pass:(\d+) fail:(\d+) skip:(\d+) crc:([0-9a-f]{8})$")


@dataclass
class Results:
    passed: list = field(default_factory=list)      # names
    failed: list = field(default_factory=list)      # (name, why)
    skipped: list = field(default_factory=list)     # (name, why)
    problem: str | None = None                      # what is wrong with the report as such

    @property
    def count(self):
        return len(self.passed) + len(self.failed) + len(self.skipped)


class Reader:
    """Takes reports line by line; the first thing wrong with them stays in results.problem."""

    def __init__(self, strict):
        self.results = Results()
        self.strict = strict            # reports are our own
        self.reports = 0
        self.planned = None             # of the report that is being read; None: between reports
        self.summed = True              # the last report ended with its sum

    def wrong(self, text):
        self.results.problem = self.results.problem or text

    def begin(self, line, planned):
        self.finish()
        self.reports += 1
        self.planned, self.number, self.comments, self.crc = planned, 0, [], 0
        self.summed = False
        self.add_to_sum(line)

    def add_to_sum(self, line):
        self.crc = zlib.crc32(line.encode() + b"\n", self.crc)

    def result(self, line, verdict, number, name, directive, reason):
        self.add_to_sum(line)
        self.number += 1
        if int(number) != self.number:
            self.wrong(f"result {number} where {self.number} was to come")
        if directive and directive.upper() == "SKIP":
            self.results.skipped.append((name, reason or "no reason given"))
        elif verdict.lower() == "ok":
            self.results.passed.append(name)
        else:
            self.results.failed.append((name, "; ".join(self.comments) or "no reason given"))
        self.comments = []

    def totals(self, crc):
        self.summed = True
        self.finish()
        if int(crc, 16) != self.crc:
            self.wrong("the report's sum is not that of its lines: the console lost or mixed some")

    def finish(self):
        """The report that is being read ends here: by its last line, another plan, or the end of the output."""
        if self.planned is not None and self.planned != self.number:
            self.wrong(f"{self.planned} tests planned, {self.number} reported")
        if self.strict and not self.summed:
            self.wrong("a report without its last line")
        self.planned = None

    def feed(self, line):
        if match := PLAN.match(line):
            self.begin(line, int(match[1]))
        elif self.planned is None:
            if self.strict and (TOTALS.match(line) or RESULT.match(line)):
                self.wrong("a result outside of a report")
        elif match := TOTALS.match(line):
            self.totals(match[4])
        elif line.startswith("# "):
            self.comments.append(line[2:])
        elif match := RESULT.match(line):
            self.result(line, *match.groups())


def parse(text, reports=None):
    """The results of all reports in an output. reports: how many of our own there must be; None: any, by anybody."""
    reader = Reader(reports is not None)
    for line in text.splitlines():
        reader.feed(line.strip())
    reader.finish()
    if reader.reports == 0:
        reader.wrong("no test plan in the output")
    elif reports is not None and reader.results.count == 0:
        reader.wrong("a report of no tests")
    elif reports not in (None, reader.reports):
        reader.wrong(f"{reader.reports} test reports instead of {reports}")
    return reader.results
