# SPDX-License-Identifier: MIT
"""quire matrix: runs the cells of the boot matrix, a line as each ends, tables at the end: what passed by ISA and chain,
how soon the prompt was there, what firmware keeps, what is not run and why."""
import concurrent.futures
import dataclasses
import datetime
import functools
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import agreement
import boot
import build
import cells
import chains
import emulator
import exports
import packages
import ui
from machine import ISAS, parse_count
from options import Command, Option
from report import Report, Result
from ui import Problem

PROTOCOLS = {"linux": "bzImage", "grub-bios": "bzImage", "grub-efi": "bzImage", "uefi": "EFI", "uefi-dt": "EFI",
             "uboot-efi": "EFI", "uboot-extlinux": "Image"}
HELPERS = ("mtools", "dtc", "gcc", "libc", *(f"gcc-{isa}" for isa in ISAS))     # they make what is booted


@dataclass
class CellResult:
    """What came of a cell, or why it was not run."""
    cell: object
    status: str                     # PASS, FAIL, SKIP
    reason: str = ""                # why it was not run
    seconds: float = 0.0
    prompt: float | None = None     # seconds until the first prompt
    passed: list = dataclasses.field(default_factory=list)      # names of self-tests
    failed: list = dataclasses.field(default_factory=list)      # (name, why)
    skipped: list = dataclasses.field(default_factory=list)     # (name, why)
    details: list = dataclasses.field(default_factory=list)     # lines: why it failed
    log: Path | None = None
    firmware: str = ""
    start: datetime.datetime | None = None
    kept: dict = dataclasses.field(default_factory=dict)        # bytes that firmware keeps, by type

    def __post_init__(self):
        self.name, self.isa, self.chain, self.board = self.cell.name, self.cell.isa, self.cell.chain, self.cell.board


# ---- One cell ---------------------------------------------------------------------------------------------

def boot_of(cell, table):
    """Every cell is held to the same: the self-tests, memory, nodes and CPUs as QEMU was told, the right way in, the boot
    archive in the map, no complaint about the firmware."""
    archive = cells.TABLE       # any file will do
    frames_kib = (archive.stat().st_size + 4095) // 4096 * 4
    protocol = PROTOCOLS.get(cell.chain, "PVH" if cell.isa == "x86_64" else "Image")
    machine = cell.machine(archive)
    return boot.Boot(f"matrix {cell.name}", machine, table.script, check=agreement.agrees(machine),
                     timeout=table.timeout, silence=table.silence,
                     expect=(rf"^quire \S+: {cell.isa}, {protocol}\b", rf"^  0x\S+ 0x\S+ +{frames_kib} KiB  module "),
                     refuse=(r"^warning: (acpi|efi|fdt|memory map|topology)",))


def run_cell(cell, table, kernel, report):
    test, start = boot_of(cell, table), datetime.datetime.now(datetime.timezone.utc)
    report.begin(cell.name)
    run = boot.run(test, kernel)
    report.end(cell.name)
    report.add(run.result("matrix", cell.name))
    return CellResult(cell, "FAIL" if run.details else "PASS", seconds=run.seconds, prompt=run.prompt,
                      passed=run.tests.passed, failed=run.tests.failed, skipped=run.tests.skipped, details=run.details,
                      log=run.log, firmware=versions(cell), start=start,
                      kept=agreement.kept_in(test.machine, run.output) or {})


@functools.cache
def package_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else "of unknown version"


def versions(cell):
    """The packages that a cell was booted by."""
    tools = chains.tools(cell.machine(None))
    names = dict.fromkeys(packages.TOOLS[tool][1] for tool in tools if tool not in HELPERS)
    return ", ".join(f"{name} {package_version(name)}" for name in names)


# ---- All of them ------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Choice:
    """Which cells to run, and how many at a time."""
    full: bool = False
    only: tuple = ()                # tests that a cell has to pass
    shard: tuple = (1, 1)
    jobs: int = dataclasses.field(default_factory=emulator.boxes)


def select(choice):
    """The cells to run and, by reason, how many others cannot be."""
    table = cells.load()
    chosen, reasons = [], {}
    for isa in ISAS:
        some, why = cells.choose(table, isa, choice.full)
        chosen += some
        reasons |= why
    chosen = [cell for cell in chosen if all(wanted(cell) for wanted in choice.only)]
    number, count = choice.shard
    chosen = chosen[number - 1::count]
    if not chosen:
        raise Problem("no cell of the matrix is left to run; --full has more of them", status=2)
    return table, chosen, reasons


def prepare(chosen):
    """Kernels by ISA, and all that the chains need."""
    for cell in chosen:
        packages.ensure(chains.tools(cell.machine(None)))
    return {isa: build.kernel(isa) for isa in dict.fromkeys(cell.isa for cell in chosen)}


def run_all(table, chosen, jobs, report):
    kernels = prepare(chosen)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_cell, cell, table, kernels[cell.isa], report) for cell in chosen]
        try:
            return [run.result() for run in runs]
        except BaseException:
            report.closed = True
            pool.shutdown(wait=False, cancel_futures=True)
            emulator.stop_all()
            raise


# ---- Tables -----------------------------------------------------------------------------------------------

def sizes(kept):
    return ", ".join(f"{kind} {size // 1024}" for kind, size in sorted(kept.items(), key=lambda item: -item[1])) or "-"


def row(results):
    """One ISA and chain. What is kept differs a little from cell to cell; the most is shown."""
    prompts = [result.prompt for result in results if result.prompt is not None]
    most = max((result.kept for result in results), key=lambda kept: sum(kept.values()))
    return (results[0].isa, results[0].board or results[0].chain, str(len(results)), str(sum(r.status == "PASS" for r in results)),
            str(sum(r.status == "FAIL" for r in results)), str(sum(len(r.passed) for r in results)),
            f"{min(prompts):.1f} - {max(prompts):.1f}" if prompts else "none", sizes(most))


def table_of(results):
    groups = {}
    for result in results:
        groups.setdefault((result.isa, result.chain, result.board), []).append(result)
    head = ("ISA", "chain or board", "cells", "pass", "fail", "self-tests", "prompt, s", "most kept by firmware, KiB")
    rows = [head, *(row(group) for group in groups.values())]
    widths = [max(len(line[i]) for line in rows) for i in range(len(head) - 1)]
    for line in rows:
        yield "  ".join([*(f"{cell:{'<' if i < 2 else '>'}{width}}" for i, (cell, width) in enumerate(zip(line, widths))),
                         line[-1]])


def not_run(reasons):
    """Reasons that are about a whole chain first."""
    return [f"  {reason}" for reason in sorted(reasons, key=lambda reason: ("=" in reason, reason))]


def with_versions(results):
    used = {}
    for result in results:
        used.setdefault(result.firmware, []).append(f"{result.isa} {result.board or result.chain}")
    return [f"  {', '.join(dict.fromkeys(names))}: {firmware}" for firmware, names in used.items()]


def show(report, results, reasons):
    lines = ["", *table_of(results), "", "Not run here:", *not_run(reasons), "", "Booted by:", *with_versions(results), ""]
    print("\n".join(lines), file=report.stream, flush=True)


# ---- The command ------------------------------------------------------------------------------------------

def parse_shard(text):
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("not I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def parse_output(text):
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError("no file that can be written")
    return path


def announce(table, chosen, jobs, report):
    minutes = max(1, round(sum(table.cost(cell) for cell in chosen) / jobs / 60))
    report.note("matrix", f"{ui.plural(len(chosen), 'cell')}, {jobs} at a time: about {ui.plural(minutes, 'minute')}")


def run_matrix(choice, report):
    """For the command and for quire test: runs, shows, and returns the results."""
    table, chosen, reasons = select(choice)
    announce(table, chosen, choice.jobs, report)
    results = run_all(table, chosen, choice.jobs, report)
    show(report, results, reasons)
    return results


def matrix(options):
    report = Report(options.json)
    given = {"full": bool(options.full), "only": tuple(options.only)}
    given |= {key: value for key in ("shard", "jobs") if (value := getattr(options, key)) is not None}
    results = run_matrix(Choice(**given), report)
    if options.junit:
        options.junit.write_bytes(exports.junit(results))
    if options.kcidb:
        options.kcidb.write_text(json.dumps(exports.kcidb(results), indent=1) + "\n")
    return report.summary()


MATRIX = Command(
    "matrix", "boots every chain and many machines, and runs the self-tests in each", matrix,
    options=(Option("--full", None, "every pair of values that can be together, for a nightly run"),
             Option("--only", "EXPR", "of these, the cells that EXPR holds for", cells.expression, repeat=True),
             Option("--shard", "I/N", "of these, part I of N", parse_shard),
             Option("--jobs", "N", "machines at a time (default: one per CPU)", parse_count(256)),
             Option("--junit", "FILE", "the results for CI servers, as JUnit's XML", parse_output),
             Option("--kcidb", "FILE", "the results as KCIDB 5.3 JSON", parse_output),
             Option("--json", None, "the results as JSON on standard output, progress on standard error")),
    text="The cells are in tests/matrix.toml: chains, CPUs, NUMA nodes, memory, paging modes, CPU models, boards. EXPR is one\n"
         f"or more of FIELD=VALUE|VALUE, FIELD!=VALUE, FIELD<VALUE with a FIELD of {', '.join(cells.FIELDS)}.\n"
         "The output of each cell is kept in build/log/. The status is 0 only if all cells passed.",
    examples=("quire matrix", 'quire matrix --only "isa=aarch64 chain=uefi|uefi-dt"',
              "quire matrix --full --shard 1/4 --junit results.xml"))
