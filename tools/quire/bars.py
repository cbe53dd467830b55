# SPDX-License-Identifier: MIT
"""Figures of several rounds, rows that compare them with bars, verdicts.

A source names a figure: (cell, allocator, metric); a cell is what one run of the program measures. An Expr is a
product of sources over a product of sources. It is worked out within each round, so that what disturbs a whole round
cancels out, and its value is the median over the undisturbed rounds; if there are none, over all."""
import math
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple


class Cell(NamedTuple):
    workload: str
    threads: int
    gib: float
    counted: bool = False           # under callgrind, once


class Source(NamedTuple):
    cell: Cell
    allocator: str
    metric: str


@dataclass(frozen=True)
class Round:
    figures: dict                   # Source: value
    disturbed: frozenset = frozenset()   # sources whose figure is only an indication


@dataclass(frozen=True)
class Expr:
    top: tuple
    bottom: tuple = ()

    @property
    def sources(self):
        return self.top + self.bottom

    def __truediv__(self, other):
        return Expr(self.top + other.bottom, self.bottom + other.top)

    def of_round(self, figures):
        """The value in one round, or None if a figure is missing."""
        if any(source not in figures for source in self.sources) or any(figures[source] == 0 for source in self.bottom):
            return None
        return math.prod(figures[s] for s in self.top) / math.prod(figures[s] for s in self.bottom)

    def undisturbed(self, rounds):
        return [r for r in rounds
                if not r.disturbed.intersection(self.sources) and self.of_round(r.figures) is not None]

    def median(self, rounds):
        values = [self.of_round(r.figures) for r in self.undisturbed(rounds) or rounds]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Bar:
    limit: float
    text: str                       # what it is compared with: "× pcpstack", "%"
    at_least: bool = False

    def __str__(self):
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.text}".rstrip()

    def met(self, value):
        return value is not None and (value >= self.limit if self.at_least else value <= self.limit)


@dataclass(frozen=True)
class Row:
    name: str
    workload: str                   # what --workload calls it
    threads: int
    columns: dict                   # allocator: Expr
    ratio: Expr | None = None       # None: the bar is for quire's column itself
    bar: Bar | None = None          # None: for information

    @property
    def exprs(self):
        return [*self.columns.values()] + ([self.ratio] if self.ratio else [])

    @property
    def sources(self):
        return [source for expr in self.exprs for source in expr.sources]


@dataclass
class Outcome:
    row: Row
    values: dict                    # allocator: value or None
    ratio: float | None
    disturbed: bool                 # in all rounds: an indication only
    verdict: str = field(init=False)

    def __post_init__(self):
        judged = self.ratio if self.row.ratio else self.values.get("quire")
        self.verdict = "" if self.row.bar is None else "met" if self.row.bar.met(judged) else "MISSED"

    def as_json(self):
        row = self.row
        return {"name": row.name, "workload": row.workload, "threads": row.threads, **self.values,
                "ratio": self.ratio, "bar": row.bar and str(row.bar), "limit": row.bar and row.bar.limit,
                "at_least": row.bar and row.bar.at_least, "disturbed": self.disturbed, "verdict": self.verdict or None}


def judge(row, rounds):
    values = {name: expr.median(rounds) for name, expr in row.columns.items()}
    disturbed = any(expr.median(rounds) is not None and not expr.undisturbed(rounds) for expr in row.exprs)
    return Outcome(row, values, row.ratio.median(rounds) if row.ratio else None, disturbed)


def tally(outcomes):
    """Bars met and missed. A row without a bar is neither; nor is one whose bar is met by a disturbed figure, which is an
    indication only. A miss stays one."""
    return (sum(outcome.verdict == "met" and not outcome.disturbed for outcome in outcomes),
            sum(outcome.verdict == "MISSED" for outcome in outcomes))


def number(value):
    """A figure in at most seven characters, with no more digits than it can have."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 4 if 0 < abs(value) < 0.1 else 2
    return f"{value:.{digits}f}"


def table(header, rows):
    """Lines. Columns with numbers (given as such) are right aligned, all others left aligned."""
    cells = [[number(cell) if isinstance(cell, (int, float)) and not isinstance(cell, bool) else cell or ""
              for cell in row] for row in rows]
    right = [any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
    width = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    return ["  ".join(f"{text:{'>' if right[i] else '<'}{width[i]}}" for i, text in enumerate(line)).rstrip()
            for line in [header, *cells]]
