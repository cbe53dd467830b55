# SPDX-License-Identifier: MIT
"""quire bench kernel: instructions per operation, counted exactly, and held against budgets.

The release build boots under QEMU's -icount with one CPU: there an instruction takes 1 ns, nothing waits for the
host, and every run is the same to the last instruction. The monitor's command `bench` prints a figure per line. Two
machines run: a small one, twice, so that a figure which is not the same each time is found; and one of 64 GiB, whose
figures show what grows with memory. tests/bench/kernel_budgets.toml has a budget for every figure."""
import collections
import concurrent.futures
import json
import math
import re
import sys
import tomllib
from dataclasses import dataclass

import build
import chains
import emulator
import packages
import places
import ui
from machine import MIB, Machine
from ui import Problem

BUDGETS = places.ROOT / "tests/bench/kernel_budgets.toml"
SLACK = 1.03                    # a new budget, by the figure that was measured
LOOSE = 1.1                     # a budget so far above its figure should be lowered
TIMEOUT = 300.0
FIGURE = re.compile(r"([a-z0-9_]+) (\d+)")
TOTAL = re.compile(r"(alloc|free)_(small|large)_max")  # the worst in all states


@dataclass(frozen=True)
class Memory:
    suffix: str                 # of the figures' names
    size: int
    states: str = ""            # which the command goes through; none named: all

    @property
    def script(self):
        return f"bench {self.states}".rstrip()

    def machine(self, isa):
        """Memory that is not touched costs the host nothing, not even a promise."""
        return Machine(isa, cpus=1, mem=self.size, extra=(
            "-icount", "shift=0,sleep=off", "-object", f"memory-backend-ram,id=all,size={self.size},reserve=off",
            "-machine", "memory-backend=all"))


SMALL = Memory("", 256 * MIB)
LARGE = Memory("_64g", 65536 * MIB, "empty full checkerboard sparse halves chunks")
BOOTS = (LARGE, SMALL, SMALL)   # the longest first
END = "quire: the script succeeded\n"


# ---- Counting --------------------------------------------------------------------------------------------

def figures_in(output, script):
    """The figures that a console shows after the command, by name."""
    before, prompt, text = output.partition(f"{emulator.PROMPT.decode()}{script}\n")
    if not prompt:
        raise Problem("the machine did not come to the command", details=before.splitlines()[-5:])
    figures = {}
    for line in text.removesuffix(END).splitlines():
        if not (match := FIGURE.fullmatch(line)) or match[1] in figures:
            raise Problem(f"`{script}` says: {line}")
        figures[match[1]] = int(match[2])
    return figures


def count(isa, memory, kernel):
    """Boots once."""
    data = bytearray()
    outcome = emulator.run(chains.command(memory.machine(isa), kernel, memory.script), data.extend, TIMEOUT)
    log = places.log_file(f"bench-{isa}{memory.suffix}")
    log.write_bytes(data)
    try:
        figures = figures_in(data.decode(errors="replace"), memory.script)
    except Problem as problem:
        raise Problem(f"{isa}: {problem}; {places.shown(log)}", details=problem.details) from None
    if outcome.problem():
        raise Problem(f"{isa}: {outcome.problem()}; {places.shown(log)}")
    return figures


def joined(isa, large, small, again):
    """All figures of an ISA, in the order of their output. The totals are those of both machines."""
    if small != again:
        differing = [name for name in {**small, **again} if small.get(name) != again.get(name)]
        raise Problem(f"{isa}: two runs counted differently: {', '.join(differing)}")
    figures = {name: n for name, n in small.items() if not TOTAL.fullmatch(name)}
    figures |= {name + LARGE.suffix: n for name, n in large.items() if not TOTAL.fullmatch(name)}
    return figures | {name: max(n, large.get(name, 0)) for name, n in small.items() if TOTAL.fullmatch(name)}


def measure(isas, progress=lambda text: None):
    """{ISA: {name: instructions}}."""
    kernels = {}
    for isa in isas:
        packages.ensure((*packages.emulator(isa), *packages.compilers(isa, "release")))
        kernels[isa] = build.kernel(isa, "release")
    found = collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor(emulator.boxes()) as pool:
        runs = [(isa, pool.submit(count, isa, memory, kernels[isa])) for memory in BOOTS for isa in isas]
        try:
            for i, (isa, run) in enumerate(runs):
                progress(f"{i}/{len(runs)}")
                found[isa].append(run.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            emulator.stop_all()
            raise
    return {isa: joined(isa, *found[isa]) for isa in isas}


# ---- Judging ---------------------------------------------------------------------------------------------

@dataclass
class Verdict:
    """What the budgets say to an ISA's figures."""
    wrong: list                 # why it fails
    missed: list                # bars that are not reached; no failure as long as the budget holds
    loose: list                 # names whose budgets no longer guard anything


def load_budgets():
    """{"bar": {name: n}, ISA: {name: n}}."""
    try:
        return tomllib.loads(BUDGETS.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{places.shown(BUDGETS)}: {error}") from None


def judge(isa, figures, budgets):
    own, bars = budgets.get(isa, {}), budgets.get("bar", {})
    wrong = [f"{isa} {name}: {n} instructions, budget {own[name]}" for name, n in figures.items()
             if name in own and n > own[name]]
    wrong += [f"{isa} {name}: {n} instructions, no budget" for name, n in figures.items() if name not in own]
    wrong += [f"{isa} {name}: a budget, but no figure" for name in own if name not in figures]
    if wrong:
        wrong.append(f"the budgets are in {places.shown(BUDGETS)}; this run's figures in that form: "
                     f"{places.shown(draft_file())}")
    return Verdict(wrong, [f"{isa} {name}: {n} instructions, bar {bars[name]}: MISSED" for name, n in figures.items()
                           if name in bars and n > bars[name]],
                   [name for name, n in figures.items() if own.get(name, 0) > math.ceil(n * LOOSE)])


def draft_file():
    return places.log_file("kernel-budgets")


def write_draft(measured):
    """The figures as budgets, to be copied by whoever means the change."""
    tables = ["\n".join([f"[{isa}]", *(f"{name} = {math.ceil(n * SLACK)}" for name, n in figures.items())])
              for isa, figures in measured.items()]
    draft_file().write_text("\n\n".join(tables) + "\n")


# ---- quire bench kernel, quire test ------------------------------------------------------------------------

def as_json(measured, budgets):
    def entry(isa, name, n):
        bar = budgets.get("bar", {}).get(name)
        return {"instructions": n, "budget": budgets.get(isa, {}).get(name)} | (
            {} if bar is None else {"bar": bar, "verdict": "met" if n <= bar else "MISSED"})
    return json.dumps({isa: {name: entry(isa, name, n) for name, n in figures.items()}
                       for isa, figures in measured.items()}, indent=1)


def kernel(options):
    """Prints `NAME N`, or `ISA NAME N` for all ISAs; what there is to say about the figures goes to standard error."""
    isas = build.ISAS if options.isa == "all" else (options.isa,)
    with ui.Step("count instructions") as step:
        measured = measure(isas, step.note)
    budgets = load_budgets()
    write_draft(measured)
    if options.json:
        print(as_json(measured, budgets))
    else:
        for isa, figures in measured.items():
            for name, n in figures.items():
                print(f"{isa} {name} {n}" if len(isas) > 1 else f"{name} {n}")
    sys.stdout.flush()
    verdicts = [judge(isa, figures, budgets) for isa, figures in measured.items()]
    for verdict in verdicts:
        for line in verdict.missed + verdict.wrong:
            ui.say(line)
    return int(any(verdict.wrong for verdict in verdicts))


def check(isas):
    """For quire test: (ISA, what is wrong, what there is to know) of each."""
    measured = measure(isas)
    budgets = load_budgets()
    write_draft(measured)
    for isa, figures in measured.items():
        verdict = judge(isa, figures, budgets)
        notes = [ui.plural(len(figures), "figure")] + [line.partition(" ")[2] for line in verdict.missed]
        if verdict.loose:
            notes.append(f"{ui.plural(len(verdict.loose), 'budget')} to lower: {', '.join(verdict.loose)}")
        yield isa, verdict.wrong, "; ".join(notes)
