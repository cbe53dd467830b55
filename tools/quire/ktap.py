# SPDX-License-Identifier: MIT
"""Reads KTAP and TAP: one plan, then one result per test, comments before the result they explain."""
import re
from dataclasses import dataclass, field

PLAN = re.compile(r"1\.\.(\d+)\b")
RESULT = re.compile(r"(ok|not ok)\s+(\d+)\s*(?:- )?([^#]*?)\s*(?:#\s*(SKIP|TODO)\b\s*(.*))?$", re.IGNORECASE)


@dataclass
class Results:
    passed: list = field(default_factory=list)      # names
    failed: list = field(default_factory=list)      # (name, why)
    skipped: list = field(default_factory=list)     # (name, why)
    problem: str | None = None                      # what is wrong with the report as such

    @property
    def count(self):
        return len(self.passed) + len(self.failed) + len(self.skipped)


def parse(text):
    results, planned, comments = Results(), None, []
    for line in text.splitlines():
        line = line.strip()
        if planned is None:
            if match := PLAN.match(line):
                planned = int(match[1])
        elif line.startswith("# "):
            comments.append(line[2:])
        elif match := RESULT.match(line):
            verdict, _, name, directive, reason = match.groups()
            if directive and directive.upper() == "SKIP":
                results.skipped.append((name, reason or "no reason given"))
            elif verdict.lower() == "ok":
                results.passed.append(name)
            else:
                results.failed.append((name, "; ".join(comments) or "no reason given"))
            comments = []
    if planned is None:
        results.problem = "no test plan in the output"
    elif planned != results.count:
        results.problem = f"{planned} tests planned, {results.count} reported"
    return results
