# SPDX-License-Identifier: MIT
"""quire bench kernel: what it makes of the kernel's figures, and that they are the same on every run."""
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/quire"))

import bench_kernel  # noqa: E402
import build  # noqa: E402
import emulator  # noqa: E402
from machine import MIB  # noqa: E402
from ui import Problem  # noqa: E402

BUDGETS = {"bar": {"pair": 80}, "riscv64": {"pair": 100, "order9": 50}}


# ---- Budgets ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("figures, wrong, missed", [
    ({"pair": 80, "order9": 50}, [], False),
    ({"pair": 81, "order9": 50}, [], True),
    ({"pair": 101, "order9": 50}, ["riscv64 pair: 101 instructions, budget 100"], True),
    ({"pair": 70, "order9": 51}, ["riscv64 order9: 51 instructions, budget 50"], False),
    ({"pair": 70, "order9": 5, "new": 1}, ["riscv64 new: 1 instructions, no budget"], False),
    ({"pair": 70}, ["riscv64 order9: a budget, but no figure"], False),
])
def test_budgets(figures, wrong, missed):
    verdict = bench_kernel.judge("riscv64", figures, BUDGETS)
    assert verdict.wrong[:-1] == wrong
    assert not verdict.wrong or "tests/bench/kernel_budgets.toml" in verdict.wrong[-1]
    assert [line.endswith("bar 80: MISSED") for line in verdict.missed] == [True] * missed


def test_a_budget_that_guards_nothing_is_noticed():
    assert bench_kernel.judge("riscv64", {"pair": 50, "order9": 49}, BUDGETS).loose == ["pair"]


def test_every_isa_has_the_same_budgets():
    budgets = bench_kernel.load_budgets()
    assert set(budgets) == {"bar", *build.ISAS} and budgets["bar"]["order0_pair"] == 80
    assert len({tuple(budgets[isa]) for isa in build.ISAS}) == 1


# ---- Output of the machine -------------------------------------------------------------------------------

def test_figures_are_read():
    assert bench_kernel.figures_in("boot\nquire> bench\npair 70\nfail_order9 3\n", "bench") == {
        "pair": 70, "fail_order9": 3}
    assert bench_kernel.figures_in(f"quire> bench\npair 70\n{emulator.SUCCEEDED}\n", "bench") == {"pair": 70}


@pytest.mark.parametrize("output", [
    "boot\n", "quire> bench\npair 70\nbench: the timer fired\n", "quire> bench\npair 70\npair 70\n",
    "quire> bench\npair -3\n", "quire> bench\npair 1.5\n",
])
def test_anything_else_is_refused(output):
    with pytest.raises(Problem):
        bench_kernel.figures_in(output, "bench")


def test_runs_that_differ_are_refused():
    with pytest.raises(Problem, match="counted differently: pair"):
        bench_kernel.joined("riscv64", {}, {"pair": 70, "order9": 5}, {"pair": 71, "order9": 5})


def test_totals_are_those_of_both_machines():
    small = {"pair": 70, "full_free_small_max": 9, "free_small_max": 9}
    assert bench_kernel.joined("riscv64", {"pair": 71, "free_small_max": 12}, small, small) == {
        "pair": 70, "full_free_small_max": 9, "pair_64g": 71, "free_small_max": 12}


# ---- The command -----------------------------------------------------------------------------------------

def quire_with_fake(folder, script, *words):
    """quire bench kernel riscv64, with a shell script for QEMU."""
    program = folder / "qemu-system-riscv64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return subprocess.run([str(ROOT / "quire"), "bench", "kernel", "riscv64", *words], capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL,
                          env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})


ALL_FIGURES = 'for word; do case "$word" in *" bench"*) script="bench${word##* bench}";; esac; done\n' \
              'echo "quire> $script"; '


def test_figures_over_budget_are_status_1(tmp_path):
    done = quire_with_fake(tmp_path, ALL_FIGURES + "echo order0_pair 99999999; exit 33")
    assert done.returncode == 1
    assert done.stdout == "order0_pair 99999999\norder0_pair_64g 99999999\n"
    assert "riscv64 order0_pair: 99999999 instructions, budget " in done.stderr
    assert "riscv64 order0_pair: 99999999 instructions, bar 80: MISSED" in done.stderr


def test_json(tmp_path):
    done = quire_with_fake(tmp_path, ALL_FIGURES + "echo order0_pair 7; exit 33", "--json")
    entry = json.loads(done.stdout)["riscv64"]["order0_pair"]
    assert entry["instructions"] == 7 and entry["bar"] == 80 and entry["verdict"] == "met" and entry["budget"] > 0


@pytest.mark.parametrize("script, says", [
    ("exit 0", "did not come to the command"),
    (ALL_FIGURES + "echo order0_pair 7; exit 35", "a command failed"),
    (ALL_FIGURES + "echo bench: order0_pair failed; exit 35", "says: bench: order0_pair failed"),
    (ALL_FIGURES + "echo order0_pair $$; exit 33", "counted differently: order0_pair"),
])
def test_a_machine_that_fails_is_one_line_and_status_1(tmp_path, script, says):
    done = quire_with_fake(tmp_path, script)
    assert done.returncode == 1 and done.stdout == ""
    assert says in done.stderr.splitlines()[-1]


def test_real_runs_print_the_same(monkeypatch, capsys):
    """Without the 64 GiB: that machine is the same but for its size."""
    small = bench_kernel.SMALL
    monkeypatch.setattr(bench_kernel, "BOOTS", (bench_kernel.Memory("_64g", 512 * MIB, "empty"), small, small))
    printed = []
    for _ in range(2):
        bench_kernel.kernel(SimpleNamespace(isa="all", json=None))
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    for isa in build.ISAS:
        assert f"{isa} order0_pair " in printed[0]
