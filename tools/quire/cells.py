# SPDX-License-Identifier: MIT
"""The cells of the boot matrix: tests/matrix.toml read, what cannot be left out with its reason, and a small set of cells
chosen that covers every value, or every pair of values, of what can be.

The choice is greedy: the cell next that covers most of what is left. Of a few thousand cells that is done in a second,
and it comes out the same each time."""
import itertools
import operator
import re
import tomllib
from dataclasses import dataclass, replace

import boards
import chains
import places
from machine import ISAS, Machine, parse_size
from options import did_you_mean
from ui import Problem

TABLE = places.ROOT / "tests/matrix.toml"
AXES = ("chain", "cpus", "nodes", "mem", "paging", "cpu")
FIELDS = ("isa", "board", *AXES, "share")
SIZES = ("cpus", "nodes", "mem", "share")
TERM = re.compile(r"([a-z]+)(!=|<=|>=|=|<|>)([^=<>!].*)")
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Cell:
    """One boot. An axis that is None has the machine's default."""
    isa: str
    chain: str = "direct"
    cpus: int = 4
    nodes: int = 1
    mem: str = "1G"
    paging: str | None = None
    cpu: str | None = None
    board: str | None = None

    @property
    def name(self):
        if self.board:
            return f"{self.isa} {self.chain} board={self.board}"
        words = [self.isa, self.chain, f"cpus={self.cpus}", f"nodes={self.nodes}", f"mem={self.mem}"]
        words += [f"{axis}={value}" for axis in ("paging", "cpu") if (value := getattr(self, axis)) is not None]
        return " ".join(words)

    @property
    def share(self):
        """Memory of each node, in bytes."""
        return parse_size(self.mem) // self.nodes

    def machine(self, initrd):
        if self.board:
            return boards.machine(self.board, initrd=initrd and str(initrd))
        return Machine(self.isa, cpus=self.cpus, nodes=self.nodes, mem=parse_size(self.mem), cpu=self.cpu,
                       append="" if self.paging is None else f"paging={self.paging}", chain=self.chain,
                       initrd=initrd and str(initrd))


@dataclass(frozen=True)
class Missing:
    """What is not run, and why: a chain or a board, or by a rule of the table some cells of an ISA."""
    name: str
    reason: str
    isa: str
    chain: str | None = None    # None: of any
    board: str | None = None


# ---- Expressions ------------------------------------------------------------------------------------------

def number(word):
    """What a field or word is worth in a comparison by size: a count, or bytes."""
    return int(word) if str(word).isdigit() else parse_size(word)


def known(name, word):
    """Complains about a value that a field cannot have; a misspelled one would hold for no cell."""
    names = {"isa": ISAS, "chain": chains.CHAINS, "board": (*boards.BOARDS, "None")}.get(name)
    if names is not None and word not in names:
        raise ValueError(f"\"{word}\" is no {name}{did_you_mean(word, names)}")
    return str(number(word)) if name in SIZES else word


def term(text):
    """A test of cells: FIELD=VALUE|VALUE, FIELD!=VALUE, or FIELD<VALUE where VALUE may be a field as well."""
    match = TERM.fullmatch(text)
    if match is None or match[1] not in FIELDS:
        raise ValueError(f"\"{text}\" is not FIELD=VALUE with a FIELD of {', '.join(FIELDS)}")
    name, sign, right = match.groups()
    if sign in ("=", "!="):
        words = [known(name, word) for word in right.split("|")]
        return lambda cell: (known(name, str(getattr(cell, name))) in words) == (sign == "=")
    if right not in FIELDS:
        number(right)   # complains at once

    def compare(cell):
        left, other = getattr(cell, name), getattr(cell, right) if right in FIELDS else right
        return left is not None and other is not None and COMPARE[sign](number(left), number(other))
    return compare


def expression(text):
    """All terms of a text, which blanks separate. Raises ValueError."""
    terms = [term(word) for word in text.split()]
    return lambda cell: all(holds(cell) for holds in terms)


# ---- What can be ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Table:
    script: str
    timeout: float
    silence: float
    standard: dict
    axes: dict                  # axis: values, by ISA
    never: tuple                # (test of a cell, reason)
    seconds: dict

    def why_not(self, cell):
        """Why a cell is not run, as a Missing; None if it is."""
        if reason := chains.absent(cell.chain, cell.isa):
            return Missing(f"{cell.isa} {cell.chain}", reason, cell.isa, cell.chain)
        if cell.nodes > 1 and (reason := chains.one_node(cell.chain, cell.isa)):
            return Missing(f"{cell.isa} {cell.chain} nodes>1", reason, cell.isa, cell.chain)
        return next((Missing(when.removeprefix("isa=").replace("chain=", ""), why, cell.isa)
                     for when, holds, why in self.never if holds(cell)), None)

    def cost(self, cell):
        """Seconds, about."""
        return self.seconds[cell.chain] + self.seconds["selftests"]


def load():
    with open(TABLE, "rb") as file:
        data = tomllib.load(file)
    try:
        never = tuple((rule["when"], expression(rule["when"]), rule["why"]) for rule in data["never"])
    except ValueError as error:
        raise Problem(f"{places.shown(TABLE)}: {error}") from None
    axes = {isa: data["axes"]["all"] | data["axes"][isa] for isa in ISAS}
    return Table(data["script"], data["timeout"], data["silence"], data["standard"], axes, never, data["seconds"])


def possible(table, isa):
    """All cells of an ISA that can be run; and those that cannot, each with what is missing."""
    axes = {"chain": list(chains.CHAINS)} | table.axes[isa]
    cells, excluded = [], []
    for values in itertools.product(*(axes[axis] for axis in AXES)):
        cell = Cell(isa, *values)
        if missing := table.why_not(cell):
            excluded.append((cell, missing))
        else:
            cells.append(cell)
    return cells, excluded


# ---- What is run ------------------------------------------------------------------------------------------

def covered_by(cells, strength):
    """For each cell, as the bits of a number, what it covers: all ways to have `strength` of its values together."""
    numbers = {}
    for cell in cells:
        values = [(axis, getattr(cell, axis)) for axis in AXES]
        bits = 0
        for together in itertools.combinations(values, strength):
            bits |= 1 << numbers.setdefault(together, len(numbers))
        yield bits


def cover(cells, strength):
    """A few of the cells that cover together what all of them do. Each round takes one at least off what is left."""
    bits = list(covered_by(cells, strength))
    left, chosen = 0, []
    for own in bits:
        left |= own
    while left:
        best = max(range(len(cells)), key=lambda i: ((bits[i] & left).bit_count(), -i))
        chosen.append(cells[best])
        left &= ~bits[best]
    return chosen


def standard(table, isa):
    """The standard machine through every chain of an ISA."""
    for chain in chains.CHAINS:
        cell = Cell(isa, chain, **table.standard)
        if table.why_not(cell) is not None:
            cell = replace(cell, nodes=1)
        if table.why_not(cell) is None:
            yield cell


def on_boards(isa):
    """The same for boards."""
    cells, excluded = [], []
    for name in (name for name, board in boards.BOARDS.items() if board.isa == isa):
        machine = boards.machine(name)
        cell = Cell(isa, cpus=machine.cpus, mem=boards.size(machine.mem), board=name)
        if reason := boards.unavailable(name):
            excluded.append((cell, Missing(f"{isa} board={name}", reason, isa, cell.chain, name)))
        else:
            cells.append(cell)
    return cells, excluded


def choose(table, isa, full):
    """The cells of an ISA to run, each once; and those that cannot be, each with what is missing."""
    cells, excluded = possible(table, isa)
    models, without_model = on_boards(isa)
    covered = cover(cells, 2) if full else cover([cell for cell in cells if cell.chain == "direct"], 1)
    return list(dict.fromkeys([*standard(table, isa), *covered, *models])), excluded + without_model
