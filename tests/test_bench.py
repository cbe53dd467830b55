# SPDX-License-Identifier: MIT
"""quire bench frames: the verdicts, from made-up figures; and one short run of the real thing."""
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUIRE = str(ROOT / "quire")
sys.path.insert(0, str(ROOT / "tools/quire"))

import bars  # noqa: E402
import bench_frames  # noqa: E402
from bars import Cell, Expr, Round, Source  # noqa: E402

X86_64 = os.uname().machine == "x86_64"

# What an allocator may need where null needs 2 and pcpstack 4, worked out by hand from the bars; and where in the
# report that is: workload, threads, GiB, metric.
ALLOWED = [
    ("repeat", 1, 8, "ns_pair", 6.4), ("repeat", 2, 8, "ns_pair", 6.4),
    ("bulk", 1, 8, "ns_alloc", 7), ("bulk", 1, 8, "ns_free", 12),
    ("bulk", 2, 8, "ns_alloc", 10.5), ("bulk", 2, 8, "ns_free", 18),
    ("repeat9", 1, 8, "ns_pair", 16), ("repeat9", 2, 8, "ns_pair", 16),
    ("bulk9", 1, 8, "ns_alloc", 22), ("bulk9", 2, 8, "ns_alloc", 22),
    ("bulk9", 1, 8, "ns_free", 16), ("bulk9", 2, 8, "ns_free", 16),
    ("random", 1, 8, "ns_pair", 9.2), ("random", 2, 8, "ns_pair", 9.2),
    ("randbatch", 1, 8, "ns_pair", 16), ("randbatch", 2, 8, "ns_pair", 16),
    ("random", 1, 64, "ns_pair", 84),                   # 12 times what it needs in 1 GiB; pcpstack needs 10 times
    ("xfree", 2, 8, "ns_frame", 9.2),
    ("fail", 1, 8, "ns_order9", 80), ("fail", 1, 8, "ns_order6", 160),
    ("fail", 1, 32, "ns_order9", 60), ("fail", 1, 32, "ns_order6", 60),     # 1.5 times what it needs in 2 GiB
    ("meta", 1, 8, "meta_allocator_percent", 0.004), ("meta", 1, 8, "meta_percent", 0.5),
    ("repeat", 1, 1, "instructions", 70),
]
AT_LEAST = [("frag", "churn_claimed", 49), ("frag", "waves_claimed", 19.5), ("mix", "mix_claimed", 29),
            ("frag", "freed_claimed", 100)]


def source(workload, threads, gib, metric, allocator="quire"):
    return Source(Cell(workload, threads, gib, metric == "instructions"), allocator, metric)


def figures_at_the_bars():
    """Every figure a hair better than its bar."""
    figures = {source(*where): value * 0.999 for *where, value in ALLOWED}
    for where in list(figures):
        figures[where._replace(allocator="null")] = 2.0
        figures[where._replace(allocator="pcpstack")] = 4.0
    for workload, metric, value in AT_LEAST:
        for threads in (1, 2):
            figures[source(workload, threads, 8, metric)] = value
    for threads in (1, 2):
        figures[source("verify", threads, 8, "wrong")] = 0.0
    figures[source("fail", 1, 2, "ns_order9")] = figures[source("fail", 1, 2, "ns_order6")] = 40.0
    figures[source("random", 1, 1, "ns_pair")] = 7.0
    figures[source("random", 1, 1, "ns_pair", "pcpstack")] = 4.0
    figures[source("random", 1, 64, "ns_pair", "pcpstack")] = 40.0
    return figures


def report(*rounds, quick=False, workload=None):
    made = bench_frames.Report(SimpleNamespace(quick=quick, reps=len(rounds), workload=workload))
    made.judge([r if isinstance(r, Round) else Round(r) for r in rounds], {})
    return made


def verdicts(made):
    return {(o.row.name, o.row.threads): o.verdict for o in made.outcomes["bars"] if o.verdict}


def test_all_bars_met():
    made = report(figures_at_the_bars())
    assert set(verdicts(made).values()) == {"met"}
    assert made.status() == 0
    assert made.text().splitlines()[-1] == f"bars: {len(verdicts(made))} met, 0 missed"
    assert "MISSED" not in made.text()


@pytest.mark.parametrize("where", [source(*where) for *where, _ in ALLOWED],
                         ids=lambda where: "-".join(map(str, (*where.cell[:3], where.metric))))
def test_each_bar_is_missed_by_a_little_too_much(where):
    figures = figures_at_the_bars()
    figures[where] *= 1.01
    made = report(figures)
    assert list(verdicts(made).values()).count("MISSED") == 1
    assert made.status() == 1
    assert made.text().splitlines()[-1].endswith(" met, 1 missed")


@pytest.mark.parametrize("workload, metric, value", AT_LEAST)
@pytest.mark.parametrize("threads", (1, 2))
def test_each_block_bar_is_missed_by_a_little_too_little(workload, metric, value, threads):
    figures = figures_at_the_bars()
    figures[source(workload, threads, 8, metric)] = value - 0.1
    assert list(verdicts(report(figures)).values()).count("MISSED") == 1


def test_one_block_handed_out_twice_misses():
    figures = figures_at_the_bars()
    figures[source("verify", 2, 8, "wrong")] = 1
    assert verdicts(report(figures))["wrong blocks handed out", 2] == "MISSED"


def test_a_missing_figure_misses_and_a_failed_allocator_is_named():
    figures = figures_at_the_bars()
    del figures[source("repeat", 2, 8, "ns_pair")]
    figures[source("repeat", 2, 8, bench_frames.FAILED)] = 134
    made = report(figures)
    assert verdicts(made)["repeat", 2] == "MISSED"
    assert "quire failed in repeat, 8 GiB, 2 threads" in made.text()
    assert json.loads(made.json())["failures"] == ["quire failed in repeat, 8 GiB, 2 threads"]


def test_a_failure_that_no_bar_is_about_is_no_success():
    made = report(figures_at_the_bars() | {source("lat", 1, 8, bench_frames.FAILED): 134})
    assert "MISSED" not in made.text() and made.status() == 1


def test_ratios_are_taken_within_rounds_and_the_median_counts():
    quire, bound = (source("repeat", 1, 8, "ns_pair", allocator) for allocator in ("quire", "pcpstack"))
    ratio = Expr((quire,), (bound,))
    rounds = [Round({quire: 10.0, bound: 5.0}), Round({quire: 90.0, bound: 30.0}), Round({quire: 4.0, bound: 4.0})]
    assert ratio.median(rounds) == 2
    assert ratio.median(rounds[:1]) == 2


def test_disturbed_rounds_count_only_if_there_are_no_others():
    figures = figures_at_the_bars()
    slow = source("repeat", 1, 8, "ns_pair")
    disturbed = Round(figures | {slow: 100.0}, frozenset((slow,)))
    made = report(disturbed, figures, disturbed)
    assert verdicts(made)["repeat", 1] == "met" and "~" not in made.text()
    made = report(disturbed)
    assert verdicts(made)["repeat", 1] == "MISSED" and "MISSED ~" in made.text()


def last_line(made):
    met, missed = made.text().splitlines()[-1].removeprefix("bars: ").removesuffix(" missed").split(" met, ")
    return int(met), int(missed)


def test_an_indication_is_not_counted_as_met():
    figures = figures_at_the_bars()
    bars_there = len(verdicts(report(figures)))
    assert last_line(report(figures)) == (bars_there, 0)
    good = source("repeat", 1, 8, "ns_pair")
    made = report(Round(figures, frozenset((good,))))
    assert verdicts(made)["repeat", 1] == "met" and "met ~" in made.text()
    assert last_line(made) == (bars_there - 1, 0) and made.status() == 0
    assert json.loads(made.json())["met"] == bars_there - 1
    bad = Round(figures | {good: 100.0}, frozenset((good,)))
    assert last_line(report(bad)) == (bars_there - 1, 1) and report(bad).status() == 1


def test_a_figure_without_a_bar_is_neither_met_nor_missed():
    figure = source("lat", 1, 8, "max")
    row = bars.Row("slowest", "lat", 1, {"quire": Expr((figure,))})
    quiet, noisy = (bars.judge(row, [Round({figure: 5.0}, frozenset(disturbed))]) for disturbed in ((), (figure,)))
    assert quiet.values == noisy.values == {"quire": 5.0} and (quiet.disturbed, noisy.disturbed) == (False, True)
    assert bench_frames.bars_table([noisy])[1].split()[-1] == "~"
    assert bars.tally([quiet]) == bars.tally([noisy]) == (0, 0)


def test_lines_of_the_program():
    figures, disturbed = bench_frames.parse_lines(
        ["quire,bulk,2,8,ns_alloc,7.5000", "quire,bulk,2,8,ns_alloc_DIRTY,0.0100", "null,bulk,2,8,ns_alloc,2.0000"])
    alloc = source("bulk", 2, 8, "ns_alloc")
    assert figures == {alloc: 7.5, alloc._replace(allocator="null"): 2.0}
    assert disturbed == {alloc}


@pytest.mark.parametrize("quick", (False, True))
def test_every_workload_has_figures_to_measure(quick):
    sizes = bench_frames.Sizes(quick)
    for workload in bench_frames.WORKLOADS:
        made = bench_frames.Report(SimpleNamespace(quick=quick, reps=1, workload=(workload,)))
        assert sum(map(len, made.sections.values())) > 0
    assert sizes.small < sizes.large and sizes.fail_small < sizes.fail_large


def test_numbers_and_columns_line_up():
    lines = bars.table(("name", "ns", "note"), [("a", 1234.5, "x"), ("longer", 0.0034, ""), ("c", None, "y")])
    assert lines == ["name        ns  note", "a         1234  x", "longer  0.0034", "c               y"]


# ---- The real thing --------------------------------------------------------------------------------------

def quire(*words):
    return subprocess.run([QUIRE, "bench", "frames", *words], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("words, says", [
    (["--workload", "repeet"], 'workload "repeet" is not known; did you mean repeat?'),
    (["--workload", "repeat,"], 'workload "" is not known'),
    (["--reps", "0"], "--reps 0: must be 1 to"),
])
def test_wrong_arguments_get_one_line_and_status_2(words, says):
    done = quire(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and says in done.stderr


def test_help_names_all_workloads():
    done = quire("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in bench_frames.WORKLOADS)


@pytest.mark.skipif(not X86_64, reason="measures on x86_64 only")
def test_a_short_run_as_table():
    done = quire("--quick", "--workload", "repeat,meta", "--reps", "1")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["workload", "threads", "null", "pcpstack", "quire", "ratio", "bar", "verdict"]
    assert [line.split()[:2] for line in lines[1:3]] == [["repeat", "1"], ["repeat", "2"]]
    missed, indications = (sum(text in line for line in lines) for text in ("MISSED", "met ~"))
    assert lines[-1] == f"bars: {4 - missed - indications} met, {missed} missed"
    assert done.returncode == (1 if missed else 0)


@pytest.mark.skipif(not X86_64, reason="measures on x86_64 only")
def test_a_short_run_as_json():
    done = quire("--quick", "--workload", "repeat,verify", "--reps", "1", "--json")
    result = json.loads(done.stdout)
    repeat = [row for row in result["bars"] if row["name"] == "repeat"]
    assert [row["threads"] for row in repeat] == [1, 2]
    for row in repeat:
        assert 0 < row["null"] < row["quire"] and row["pcpstack"] > 0
        assert row["verdict"] == ("met" if row["ratio"] <= row["limit"] else "MISSED")
    assert [row["quire"] for row in result["bars"] if row["workload"] == "verify"] == [0, 0]
    assert result["failures"] == []
    indications = sum(row["verdict"] == "met" and row["disturbed"] for row in result["bars"])
    assert result["met"] + result["missed"] + indications == 4
    assert done.returncode == (1 if result["missed"] else 0)
