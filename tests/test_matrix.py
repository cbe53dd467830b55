# SPDX-License-Identifier: MIT
"""The boot matrix: which cells are chosen, and what the command says about its options. That machines boot is seen by
running it."""
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUIRE = str(ROOT / "quire")
sys.path.insert(0, str(ROOT / "tools/quire"))

import cells  # noqa: E402
import chains  # noqa: E402
import matrix  # noqa: E402
from cells import AXES, Cell  # noqa: E402
from machine import ISAS  # noqa: E402


@pytest.fixture(scope="module")
def table():
    return cells.load()


def virtual(chosen):
    return [cell for cell in chosen if cell.board is None]


def together(some, strength):
    """All ways to have `strength` values of a cell together."""
    return {values for cell in some
            for values in itertools.combinations([(axis, getattr(cell, axis)) for axis in AXES], strength)}


@pytest.mark.parametrize("isa", ISAS)
def test_the_full_matrix_has_every_pair_that_can_be(table, isa):
    chosen, _ = cells.choose(table, isa, full=True)
    possible, _ = cells.possible(table, isa)
    assert together(possible, 2) <= together(virtual(chosen), 2)
    assert len(chosen) == len(set(chosen))


@pytest.mark.parametrize("isa", ISAS)
def test_the_quick_matrix_has_every_chain_and_every_value(table, isa):
    chosen, _ = cells.choose(table, isa, full=False)
    assert {cell.chain for cell in chosen} == {chain for chain in chains.CHAINS if chains.runs(chain, isa)}
    values = together(virtual(chosen), 1)
    assert all(((axis, value),) in values for axis, some in table.axes[isa].items() for value in some
               if table.why_not(Cell(isa, cpus=8, **{axis: value} if axis != "cpus" else {})) is None)


def test_the_full_matrix_stays_small_enough_for_a_night(table):
    assert sum(len(cells.choose(table, isa, full=True)[0]) for isa in ISAS) <= 400


def test_what_is_left_out_has_its_reason(table):
    for isa in ISAS:
        possible, reasons = cells.possible(table, isa)
        product = len(chains.CHAINS)
        for values in table.axes[isa].values():
            product *= len(values)
        assert len(possible) + sum(reasons.values()) == product and all(reasons)


CELL = Cell("riscv64", "uboot-efi", cpus=2, nodes=2, mem="64M", cpu="rv64,svnapot=on,svpbmt=on")


@pytest.mark.parametrize("text, holds", [
    ("isa=riscv64", True), ("isa=x86_64|riscv64", True), ("isa!=riscv64", False), ("chain=uboot-efi cpus=2", True),
    ("cpus<2", False), ("cpus<=2", True), ("nodes>=cpus", True), ("mem>63M", True), ("mem<64M", False), ("mem=64M", True),
    ("share<=32M", True), ("share<32M", False), ("cpu=rv64,svnapot=on,svpbmt=on", True), ("board=None", True),
    ("paging=None", True), ("cpus=4 cpus=2", False)])
def test_expressions(text, holds):
    assert cells.expression(text)(CELL) is holds


@pytest.mark.parametrize("text", ["isa", "nonsense=1", "cpus<many", "mem>1X", "cpus=", "=4", "isa==riscv64", "cpus=1 or cpus=2"])
def test_expressions_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError):
        cells.expression(text)


def test_shards_are_the_whole_in_parts():
    whole = matrix.select(matrix.Choice(full=True))[1]
    parts = [matrix.select(matrix.Choice(full=True, shard=(number, 5)))[1] for number in range(1, 6)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(cell.name for cell in whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("words, says", [
    (["--only", "colour=red"], "--only colour=red: "), (["--shard", "3/2"], "--shard 3/2: not I/N"),
    (["--shard", "0/2"], "--shard 0/2: not I/N"), (["--jobs", "0"], "--jobs 0: must be 1 to 256"),
    (["--junit", "/nowhere/at/all.xml"], "--junit /nowhere/at/all.xml: no file that can be written"),
    (["--only", "cpus=3"], "no cell of the matrix is left to run"), (["--fall"], "did you mean --full?")])
def test_wrong_options_cost_one_line_and_no_boot(words, says):
    done = subprocess.run([QUIRE, "matrix", *words], capture_output=True, text=True, env=os.environ | {"PATH": "/usr/bin:/bin"})
    assert done.returncode == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
