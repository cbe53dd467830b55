# SPDX-License-Identifier: MIT
"""quire bench frames: which figures there are, what they are compared with, and how they are obtained.

The program frames-bench (tests/bench/frames) measures; one call is one cell on several allocators, one after the other.
A round is one call for each cell; ratios are taken within rounds (bars.py)."""
import collections
import concurrent.futures
import json
import os
import platform
import re
import subprocess
import sys

import build
import packages
import places
import ui
from bars import Bar, Cell, Expr, Round, Row, Source, judge, table, tally
from options import check_choice
from ui import Problem

REPS = 3
LOG = places.LOG / "bench-frames.txt"
COLUMNS = ("null", "pcpstack", "quire")
THREADS = (1, 2)
NATIVE, PORTABLE = "native", "x86-64-v3"   # valgrind does not know all instructions of every CPU
EVENTS = {"instructions": ("Ir",), "D1 misses": ("D1mr", "D1mw"), "LL misses": ("DLmr", "DLmw")}
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64")   # simulated, the same everywhere
FAILED = "FAILED"                          # the metric of an allocator that failed; the value is a wait status
TRIES = 3                                  # of a cell in one round, while other work disturbs it
NOT_TIMES = ("frag", "meta", "verify", "worst")  # a quick run does these once
RUN_TIMEOUT = 900                          # the program limits each of its own processes


class Sizes:
    """Of simulated memory, in GiB."""

    def __init__(self, quick):
        self.usual = 2 if quick else 8
        self.mix = 8            # its ragged edges show in less
        self.small, self.large = (1, 16) if quick else (1, 64)
        self.fail_small, self.fail_large = (1, 8) if quick else (2, 32)
        self.counted = 1


# ---- Rows ------------------------------------------------------------------------------------------------

def figure(workload, threads, gib, allocator, metric, counted=False):
    return Expr((Source(Cell(workload, threads, gib, counted), allocator, metric),))


def compared(name, workload, metric, against, limit, threads, gib, cell=None):
    """quire against a lower bound in the same cell."""
    columns = {allocator: figure(cell or workload, threads, gib, allocator, metric) for allocator in COLUMNS
               if not (workload.endswith("9") and allocator == "pcpstack")
               and not (workload == "randbatch" and allocator == "null")}
    bar = Bar(limit, f"× {against}") if limit else None
    return Row(name, workload, threads, columns, columns["quire"] / columns[against], bar)


def time_rows(sizes):
    for name, workload, metric, against, limit in (
            ("repeat", "repeat", "ns_pair", "pcpstack", 1.6),
            ("repeat, half full", "repeat50", "ns_pair", "pcpstack", None),
            ("repeat, order 9", "repeat9", "ns_pair", "null", 8),
            ("bulk order 9, alloc", "bulk9", "ns_alloc", "null", 11),
            ("bulk order 9, free", "bulk9", "ns_free", "null", 8),
            ("random, 90 % full", "random", "ns_pair", "pcpstack", 2.3),
            ("randbatch", "randbatch", "ns_pair", "pcpstack", 4),
            ("nearfull", "nearfull", "ns_pair", "pcpstack", None)):
        for threads in THREADS:
            yield compared(name, workload, metric, against, limit, threads, sizes.usual)
    yield compared("cross-thread free", "xfree", "ns_frame", "pcpstack", 2.3, 2, sizes.usual)


def bulk_rows(sizes):
    """Two threads are compared with one."""
    for name, metric, limit in (("bulk, alloc", "ns_alloc", 3.5), ("bulk, free", "ns_free", 6)):
        one, two = (compared(name, "bulk", metric, "null", limit, threads, sizes.usual) for threads in THREADS)
        yield one
        yield Row(name, "bulk", 2, two.columns, two.columns["quire"] / one.columns["quire"], Bar(1.5, "× 1 thread"))


def growth_row(sizes):
    growth = {allocator: figure("random", 1, sizes.large, allocator, "ns_pair")
              / figure("random", 1, sizes.small, allocator, "ns_pair") for allocator in ("pcpstack", "quire")}
    return Row(f"random, {sizes.small} → {sizes.large} GiB, growth", "growth", 1, growth,
               growth["quire"] / growth["pcpstack"], Bar(1.2, "× pcpstack's"))


def failure_rows(sizes):
    pair = figure("repeat", 1, sizes.usual, "pcpstack", "ns_pair")
    for order, limit in ((9, 20), (6, 40)):
        failure = figure("fail", 1, sizes.usual, "quire", f"ns_order{order}")
        yield Row(f"order-{order} failure", "fail", 1, {"pcpstack": pair, "quire": failure}, failure / pair,
                  Bar(limit, "× pcpstack pair"))
        growth = (figure("fail", 1, sizes.fail_large, "quire", f"ns_order{order}")
                  / figure("fail", 1, sizes.fail_small, "quire", f"ns_order{order}"))
        yield Row(f"order-{order} failure, {sizes.fail_small} → {sizes.fail_large} GiB, growth", "fail", 1,
                  {"quire": growth}, None, Bar(1.5, "(flat)"))


def block_rows(sizes):
    for name, workload, metric, limit in (
            ("2 MiB blocks, 50 % used, 100 rounds of churn", "frag", "churn_claimed", 49),
            ("2 MiB blocks, 4 waves 80 → 20 %", "frag", "waves_claimed", 19.5),
            ("2 MiB blocks, mixed orders at 70 %", "mix", "mix_claimed", 29),
            ("2 MiB blocks, all freed", "frag", "freed_claimed", 100)):
        gib = sizes.mix if workload == "mix" else sizes.usual
        for threads in THREADS:
            yield Row(name, workload, threads, {"quire": figure(workload, threads, gib, "quire", metric)}, None,
                      Bar(limit, "%", at_least=True))


def other_rows(sizes):
    for name, metric, limit in (("metadata, allocator", "meta_allocator_percent", 0.004),
                                ("metadata, all", "meta_percent", 0.5)):
        yield Row(name, "meta", 1, {"quire": figure("meta", 1, sizes.usual, "quire", metric)}, None, Bar(limit, "%"))
    for threads in THREADS:
        yield Row("wrong blocks handed out", "verify", threads,
                  {"quire": figure("verify", threads, sizes.usual, "quire", "wrong")}, None, Bar(0, ""))
    yield Row("instructions, order-0 pair", "instructions", 1,
              {allocator: figure("repeat", 1, sizes.counted, allocator, "instructions", True) for allocator in COLUMNS},
              None, Bar(70, "instructions"))


def information_rows(sizes):
    """Without a bar."""
    for name, workload, metric in (("repeat, order 3", "repeat3", "ns_pair"), ("mix, per exchange", "mix", "ns_op")):
        gib = sizes.mix if workload == "mix" else sizes.usual
        for threads in THREADS:
            yield Row(name, workload, threads, {"quire": figure(workload, threads, gib, "quire", metric)})


def all_rows(sizes):
    """In the order in which they are printed."""
    return [*time_rows(sizes), *bulk_rows(sizes), growth_row(sizes), *failure_rows(sizes), *block_rows(sizes),
            *other_rows(sizes), *information_rows(sizes)]


# ---- Tables for information ------------------------------------------------------------------------------

def latency_rows(sizes):
    """(row, what it should stay below): p99.9 of fewer than 512 frames and of more."""
    for name, workload, aim in (("order 0, 90 % full", "lat", 500),
                                ("order 0, bursts of 256", "latburst", 500),
                                ("order 0, 99.9 % full", "latfull", 500),
                                ("orders 0–8, 70 %", "latsmall", 500), ("orders 9–10, 70 %", "lathuge", 1000)):
        for threads in THREADS:
            for call in ("alloc", "free"):
                columns = {part: figure(workload, threads, sizes.usual, "quire", f"{call}_{part}")
                           for part in ("p50", "p99", "p999", "max")}
                yield Row(f"{name}, {call}", workload, threads, columns), aim


def worst_rows(sizes):
    for gib in (sizes.usual, sizes.large):
        for call in ("alloc", "free"):
            yield Row(f"{call}, {gib} GiB", "worst", 1,
                      {"quire": figure("worst", 1, gib, "quire", f"{call}_max")})


def yardstick_rows(sizes):
    for name, workload, state in (("50 % used, 100 rounds of churn", "frag", "churn"),
                                  ("4 waves 80 → 20 %", "frag", "waves"), ("all freed", "frag", "freed")):
        for threads in THREADS:
            yield Row(name, workload, threads,
                      {allocator: figure(workload, threads, sizes.usual, allocator, f"{state}_claimed")
                       for allocator in ("oracle_aoff", "oracle_fullest", "quire")})


def miss_rows(sizes):
    for workload in ("repeat", "bulk", "random", "randbatch", "nearfull", "repeat9", "bulk9", "mix"):
        for allocator in ("pcpstack", "quire"):
            if allocator == "quire" or workload not in ("repeat9", "bulk9", "mix"):
                yield Row(f"{workload}, {allocator}", "misses", 1,
                          {event: figure(workload, 1, sizes.counted, allocator, event, True) for event in EVENTS})


WORKLOADS = tuple(dict.fromkeys(
    [row.workload for row in all_rows(Sizes(False))] + [row.workload for row, _ in latency_rows(Sizes(False))]
    + ["worst", "misses"]))


def parse_workloads(text):
    return tuple(check_choice("workload", word, WORKLOADS) for word in text.split(","))


# ---- Measuring -------------------------------------------------------------------------------------------

def parse_lines(lines):
    """The figures of a run of the program, and the sources whose figure is only an indication."""
    figures, disturbed = {}, set()
    for line in lines:
        allocator, workload, threads, gib, metric, value = line.split(",")
        cell = Cell(workload, int(threads), float(gib))
        if metric.endswith("_DIRTY"):
            disturbed.add(Source(cell, allocator, metric.removesuffix("_DIRTY")))
        else:
            figures[Source(cell, allocator, metric)] = float(value)
    return figures, disturbed


def run_program(command, log):
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    name = os.path.basename(command[0])
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=RUN_TIMEOUT, env=build.ENVIRONMENT)
    except subprocess.TimeoutExpired:
        raise Problem(f"{name} did not end within {RUN_TIMEOUT} s; see {places.shown(log.name)}") from None
    log.write(done.stdout + done.stderr)
    log.flush()
    if done.returncode != 0:
        raise Problem(f"{name} ended with status {done.returncode}; see {places.shown(log.name)}",
                      details=done.stderr.splitlines()[-3:])
    return done


def measure_cell(program, cell, allocators, quick, log):
    """The least disturbed of a few tries."""
    command = [str(program), "-a", ",".join(sorted(allocators)), "-w", cell.workload, "-t", str(cell.threads),
               "-m", f"{cell.gib:g}"] + (["-q"] if quick else [])
    best = None
    for _ in range(TRIES):
        figures, disturbed = parse_lines(run_program(command, log).stdout.splitlines())
        if best is None or len(disturbed) < len(best.disturbed):
            best = Round(figures, frozenset(disturbed))
        if not disturbed:
            break
    return best


def measure_rounds(cells, reps, quick, log):
    """cells: {cell: allocators}."""
    program = build.bench(NATIVE) / "frames-bench"
    rounds = []
    for index in range(reps):
        figures, disturbed = {}, frozenset()
        with ui.Step(f"round {index + 1} of {reps}") as step:
            for cell, allocators in cells.items():
                if quick and index > 0 and cell.workload in NOT_TIMES:
                    continue
                step.note(f"{cell.workload}, {cell.gib:g} GiB, {ui.plural(cell.threads, 'thread')}")
                measured = measure_cell(program, cell, allocators, quick, log)
                figures |= measured.figures
                disturbed |= measured.disturbed
        rounds.append(Round(figures, disturbed))
    return rounds


def count_cell(program, cell, allocator, log):
    """Events per operation by callgrind."""
    command = ["valgrind", "--tool=callgrind", "--cache-sim=yes", *CACHES, "--instr-atstart=no",
               "--callgrind-out-file=/dev/null", str(program), "-I", "-a", allocator, "-w", cell.workload, "-t", "1", "-m", f"{cell.gib:g}"]
    done = run_program(command, log)
    names = re.search(r"Events *: (.+)", done.stderr)
    collected = re.search(r"Collected *: ([\d ]+)", done.stderr)
    operations = re.search(r",ops,([\d.]+)", done.stdout)
    if not (names and collected and operations) or int(collected[1].split()[0]) == 0:
        raise Problem(f"callgrind counted nothing; see {places.shown(log.name)}")
    # Zeros at the end are left out.
    counts = dict(zip(names[1].split(), map(int, collected[1].split())))
    return {Source(cell, allocator, event): sum(counts.get(part, 0) for part in parts) / float(operations[1])
            for event, parts in EVENTS.items()}


def count_cells(cells, log):
    packages.ensure(("valgrind",))
    program = build.bench(PORTABLE) / "frames-bench"
    figures = {}
    with (ui.Step("count instructions and cache misses") as step,
          concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool):
        step.note()
        runs = [pool.submit(count_cell, program, cell, allocator, log)
                for cell, allocators in cells.items() for allocator in allocators]
        for ended in runs:
            figures |= ended.result()
    return figures


def cells_of(rows):
    """What must be measured: {cell: allocators} timed, and counted."""
    timed, counted = collections.defaultdict(set), collections.defaultdict(set)
    for row in rows:
        for source in row.sources:
            (counted if source.cell.counted else timed)[source.cell].add(source.allocator)
    return timed, counted


# ---- The report ------------------------------------------------------------------------------------------

def bars_table(outcomes):
    header = ("workload", "threads", *COLUMNS, "ratio", "bar", "verdict")
    rows = []
    for outcome in outcomes:
        row = outcome.row
        rows.append((row.name, str(row.threads), *(outcome.values.get(name) for name in COLUMNS), outcome.ratio,
                     str(row.bar) if row.bar else "", outcome.verdict + (" ~" if outcome.disturbed else "")))
    lines = table(header, rows)
    if any(outcome.disturbed for outcome in outcomes):
        lines += ["~ other work on this machine disturbed all rounds: an indication only, not counted as met"]
    return lines


def information_table(title, columns, outcomes, aims=None):
    header = (title, "threads", *columns) + (("aim for p99.9",) if aims else ())
    rows = [(outcome.row.name, str(outcome.row.threads), *(outcome.values.get(name) for name in columns),
             *((f"< {aims[i]}",) if aims else ())) for i, outcome in enumerate(outcomes)]
    return ["", *table(header, rows)] if rows else []


class Report:
    """What was asked for, judged."""

    def __init__(self, options):
        self.quick, self.reps, self.wanted = bool(options.quick), options.reps or REPS, options.workload
        sizes = Sizes(self.quick)
        latency = [pair for pair in latency_rows(sizes) if self.chosen(pair[0])]
        self.aims = [aim for _, aim in latency]
        self.sections = {"bars": self.choose(all_rows(sizes)), "latency": [row for row, _ in latency],
                         "worst": self.choose(worst_rows(sizes)), "blocks": self.choose(yardstick_rows(sizes)),
                         "misses": self.choose(miss_rows(sizes))}
        self.outcomes, self.failures = {}, []

    def chosen(self, row):
        return self.wanted is None or row.workload in self.wanted

    def choose(self, rows):
        return [row for row in rows if self.chosen(row)]

    def measure(self, log):
        timed, counted = cells_of([row for rows in self.sections.values() for row in rows])
        self.judge(measure_rounds(timed, self.reps, self.quick, log) if timed else [Round({})],
                   count_cells(counted, log) if counted else {})

    def judge(self, rounds, counts):
        rounds = [Round(r.figures | counts, r.disturbed) for r in rounds]
        self.outcomes = {name: [judge(row, rounds) for row in rows] for name, rows in self.sections.items()}
        failures = [source for r in rounds for source in r.figures if source.metric == FAILED]
        self.failures = [f"{source.allocator} failed in {source.cell.workload}, {source.cell.gib:g} GiB, "
                         f"{ui.plural(source.cell.threads, 'thread')}" for source in dict.fromkeys(failures)]

    def status(self):
        return 1 if tally(self.outcomes["bars"])[1] or self.failures else 0

    def text(self):
        met, missed = tally(self.outcomes["bars"])
        lines = bars_table(self.outcomes["bars"]) if self.outcomes["bars"] else []
        lines += information_table("latency of single calls, ns", ("p50", "p99", "p999", "max"),
                                   self.outcomes["latency"], self.aims)
        lines += information_table("slowest single call, ns", ("quire",), self.outcomes["worst"])
        lines += information_table("2 MiB blocks left whole, %", ("oracle_aoff", "oracle_fullest", "quire"),
                                   self.outcomes["blocks"])
        lines += information_table("per operation", tuple(EVENTS), self.outcomes["misses"])
        if self.failures:
            lines += ["", *(f"{failure}; see {places.shown(LOG)}" for failure in self.failures)]
        if missed:
            lines += ["", 'Why some bars are missed, as far as is known: docs/bench.md, "Bars that are missed".']
        return "\n".join([*lines, "", f"bars: {met} met, {missed} missed"])

    def json(self):
        met, missed = tally(self.outcomes["bars"])
        return json.dumps({"quick": self.quick, "reps": self.reps, "met": met, "missed": missed,
                           "failures": self.failures} | {
            name: [outcome.as_json() for outcome in outcomes] for name, outcomes in self.outcomes.items()},
            indent=1, ensure_ascii=False)


def run(options):
    if platform.machine() != "x86_64":
        raise Problem(f"bench frames measures on x86_64; this machine is {platform.machine()}")
    report = Report(options)
    places.LOG.mkdir(parents=True, exist_ok=True)
    with open(LOG, "w") as log:
        report.measure(log)
    sys.stdout.write((report.json() if options.json else report.text()) + "\n")
    return report.status()
