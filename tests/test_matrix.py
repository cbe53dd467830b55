# SPDX-License-Identifier: MIT
"""The boot matrix: which cells are chosen, and what the command says about its options. That machines boot is seen by
running it."""
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUIRE = str(ROOT / "quire")
sys.path.insert(0, str(ROOT / "tools/quire"))

import agreement  # noqa: E402
import boot  # noqa: E402
import cells  # noqa: E402
import exports  # noqa: E402
import ktap  # noqa: E402
import chains  # noqa: E402
import matrix  # noqa: E402
from cells import AXES, Cell  # noqa: E402
from machine import ISAS, MIB, Machine, node_distance  # noqa: E402
from report import Report  # noqa: E402
from ui import Problem  # noqa: E402


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
        possible, excluded = cells.possible(table, isa)
        product = len(chains.CHAINS)
        for values in table.axes[isa].values():
            product *= len(values)
        assert len(possible) + len(excluded) == product and all(missing.reason for _, missing in excluded)


CELL = Cell("riscv64", "uboot-efi", cpus=2, nodes=2, mem="64M", cpu="rv64,svnapot=on,svpbmt=on")


@pytest.mark.parametrize("text, holds", [
    ("isa=riscv64", True), ("isa=x86_64|riscv64", True), ("isa!=riscv64", False), ("chain=uboot-efi cpus=2", True),
    ("cpus<2", False), ("cpus<=2", True), ("nodes>=cpus", True), ("mem>63M", True), ("mem<64M", False), ("mem=64M", True),
    ("mem=65536K", True), ("share<=32M", True), ("share=32M", True), ("share<32M", False), ("cpu=rv64,svnapot=on,svpbmt=on", True), ("board=None", True),
    ("paging=None", True), ("cpus=4 cpus=2", False)])
def test_expressions(text, holds):
    assert cells.expression(text)(CELL) is holds


@pytest.mark.parametrize("text", ["isa", "nonsense=1", "cpus<many", "mem>1X", "cpus=", "=4", "isa==riscv64", "cpus=1 or cpus=2",
                                  "isa=riscv", "chain=ufei", "board=raspi", "mem=1X"])
def test_expressions_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError):
        cells.expression(text)


def test_what_is_missing_is_chosen_like_cells():
    missing = [what.name for what in matrix.select(matrix.Choice(only=(cells.expression("isa=x86_64 chain=uefi|uefi-dt cpus=4"),)))[2]]
    assert "x86_64 uefi-dt" in missing and not any(name.startswith(("riscv64", "aarch64")) for name in missing)
    assert "x86_64 uboot-extlinux" not in missing and "x86_64 paging=5 cpu!=max" in missing
    assert not any("uboot-efi" in name for name in missing if "|" not in name)


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


# ---- Whether the machine is the one that was asked for ----------------------------------------------------

def console(machine, change=None):
    """What a kernel that sees all of its machine prints: riscv64, a node per 512 MiB, OpenSBI's 512 KiB kept."""
    size, start = 512 * MIB, 0x80000000
    regions = [{"start": hex(start), "end": hex(start + MIB // 2), "type": "reserved", "node": 0}]
    for node in range(machine.nodes):
        first = start + node * size + (MIB // 2 if node == 0 else 0)
        last = start + (node + 1) * size
        regions.append({"start": hex(first), "end": hex(last - MIB), "type": "usable", "node": node})
        regions.append({"start": hex(last - MIB), "end": hex(last), "type": "kernel" if node else "metadata", "node": node})
    found = {
        "regions": regions, "usable_bytes": machine.nodes * (size - MIB) - MIB // 2,
        "nodes": [{"id": a, "bytes": size, "distances": [node_distance(a, b, machine.nodes) if a != b else 10
                                                         for b in range(machine.nodes)]} for a in range(machine.nodes)],
        "cpus": [{"cpu": i, "id": hex(hart), "node": hart // 2, "online": True} for i, hart in enumerate((3, 0, 1, 2))]}
    if change:
        change(found)
    return "quire> map --json\n" + json.dumps({key: found[key] for key in found}) + "\n"


TWO_NODES = Machine("riscv64", cpus=4, nodes=2)


def test_a_machine_that_is_as_it_should_be():
    assert agreement.agrees(TWO_NODES)(console(TWO_NODES)) is None


def retype(old, new):
    def change(found):
        for region in found["regions"]:
            region["type"] = new if region["type"] == old else region["type"]
    return change


def swap_nodes(found):
    for region in found["regions"]:
        region["node"] = 1 - region["node"]


def more_usable(found):
    found["regions"].append({"start": "0x1000000000", "end": "0x1040000000", "type": "usable", "node": 1})
    found["usable_bytes"] += 0x40000000


@pytest.mark.parametrize("change, says", [
    (swap_nodes, "is said to be in node"), (more_usable, "not all of them are RAM"),
    (retype("usable", "metadata"), "bytes are called usable"), (retype("metadata", "firmware"), "more is kept"),
    (lambda found: found["regions"].pop(1), "are in no region"),
    (lambda found: found.update(usable_bytes=0), "bytes are called usable"),
    (lambda found: found["nodes"][1].update(bytes=0), "node 1 has 0 bytes"),
    (lambda found: found["nodes"][0].update(distances=[10, 10]), "has distances"),
    (lambda found: found["nodes"].pop(), "1 nodes instead of 2"),
    (lambda found: found["cpus"][0].update(online=False), "not 4 CPUs that run"),
    (lambda found: found["cpus"].pop(), "not 4 CPUs that run"),
    (lambda found: [cpu.update(node=0) for cpu in found["cpus"]], "CPUs in other nodes"),
    (lambda found: found.pop("nodes"), "no figures of nodes"),
])
def test_a_machine_that_is_not(change, says):
    assert says in agreement.agrees(TWO_NODES)(console(TWO_NODES, change))


def test_the_kernel_may_not_take_all_for_itself():
    def change(found):
        retype("usable", "metadata")(found)
        found["usable_bytes"] = 0
    assert "takes too much for itself" in agreement.agrees(TWO_NODES)(console(TWO_NODES, change))


def test_a_line_that_was_cut_says_nothing():
    assert "no figures of" in agreement.agrees(TWO_NODES)(console(TWO_NODES)[:200])
    assert agreement.kept_in(TWO_NODES, '{"regions": [{"start"\n*** panic') is None


# ---- Results ----------------------------------------------------------------------------------------------

TESTS = ["base.one", "frame.two"]


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """runs(behave): a matrix whose boots are behave(boot); the results by name, and the JUnit file's."""
    def run_matrix(behave):
        path = tmp_path / "junit.xml"
        path.write_text("old")
        monkeypatch.setattr(boot, "run", lambda test, kernel: behave(test))
        monkeypatch.setattr(matrix, "prepare", lambda chosen: {cell.isa: None for cell in chosen})
        only = cells.expression("isa=riscv64 chain=uboot-efi|direct cpus=4 board=None")
        report = Report(as_json=True)
        try:
            matrix.run_matrix(matrix.Choice(only=(only,)), report, [(path, exports.junit)])
        finally:
            suites = {suite.get("name"): int(suite.get("failures")) for suite in ElementTree.parse(path).getroot()}
        return report.summary(), suites
    return run_matrix


def good(test, tests=TESTS, wrong=()):
    return boot.Run(test, "", ktap.Results(passed=list(tests)), list(wrong), 1.0, 0.5, Path("log"))


def test_all_is_well(runs):
    status, suites = runs(good)
    assert status == 0 and len(suites) > 2 and not any(suites.values())


def test_one_cell_that_cannot_be_run_costs_itself_only(runs):
    def behave(test):
        if "uboot-efi" in test.name:
            raise Problem("fdtput failed")
        return good(test)
    status, suites = runs(behave)
    assert status == 1
    assert {name for name, failures in suites.items() if failures} == {"riscv64 uboot-efi cpus=4 nodes=4 mem=1G"}


def test_a_cell_with_other_self_tests_fails(runs):
    status, suites = runs(lambda test: good(test, TESTS[:1] if "uboot-efi" in test.name else TESTS))
    assert status == 1 and sum(suites.values()) == 1


def test_an_interrupted_run_leaves_failures_and_no_old_file(runs, tmp_path):
    def behave(test):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        runs(behave)
    assert "not run to its end" in (tmp_path / "junit.xml").read_text()


def test_a_cell_is_held_to_its_paging_mode(table):
    test = matrix.boot_of(Cell("riscv64", paging="sv39"), table)
    assert any("Sv39" in pattern for pattern in test.expect)
    assert not any("Sv" in pattern for pattern in matrix.boot_of(Cell("riscv64"), table).expect)
