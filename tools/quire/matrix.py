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

PAGING = {"4": "4-level", "5": "5-level", "sv39": "Sv39", "sv48": "Sv48", "sv57": "Sv57"}
PROTOCOLS = {"linux": "bzImage", "grub-bios": "bzImage", "grub-efi": "bzImage", "uefi": "EFI", "uefi-dt": "EFI",
             "uboot-efi": "EFI", "uboot-extlinux": "Image"}
HELPERS = ("mtools", "dtc", "gcc", "libc", *(f"gcc-{isa}" for isa in ISAS))     # they make what is booted


@dataclass
class CellResult:
    """What came of a cell, or of what is missing."""
    cell: object                    # cells.Cell or cells.Missing
    status: str                     # PASS, FAIL, SKIP
    reason: str = ""                # why it was not run
    seconds: float = 0.0
    prompt: float | None = None     # seconds until the first prompt
    passed: list = dataclasses.field(default_factory=list)      # names of self-tests
    failed: list = dataclasses.field(default_factory=list)      # (name, why)
    skipped: list = dataclasses.field(default_factory=list)     # (name, why)
    wrong: list = dataclasses.field(default_factory=list)       # lines: what is wrong with the boot itself
    details: list = dataclasses.field(default_factory=list)     # lines: all that is wrong
    log: Path | None = None
    firmware: str = ""
    start: datetime.datetime = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc))
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
    paging = (rf"; paging {PAGING[cell.paging]}$",) if cell.paging else ()
    return boot.Boot(f"matrix {cell.name}", machine, table.script, check=agreement.agrees(machine),
                     timeout=table.timeout, silence=table.silence,
                     expect=(rf"^quire \S+: {cell.isa}, {protocol}\b", rf"^  0x\S+ 0x\S+ +{frames_kib} KiB  module ", *paging),
                     refuse=(r"^warning: (acpi|efi|fdt|memory map|topology)",))


def run_cell(cell, table, kernel, report):
    """Whatever happens to one cell, the others are not to suffer."""
    result = CellResult(cell, "FAIL", firmware=versions(cell))
    test = boot_of(cell, table)
    report.begin(cell.name)
    try:
        run = boot.run(test, kernel)
    except (Problem, OSError) as problem:
        result.wrong = result.details = [str(problem)]
        report.check("matrix", cell.name, result.wrong)
        return result
    finally:
        report.end(cell.name)
    report.add(run.result("matrix", cell.name))
    return dataclasses.replace(result, status="FAIL" if run.details else "PASS", seconds=run.seconds, prompt=run.prompt,
                               passed=run.tests.passed, failed=run.tests.failed, skipped=run.tests.skipped,
                               wrong=run.wrong, details=run.details, log=run.log,
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
    """The cells to run, and what is missing for others, each once."""
    table = cells.load()
    chosen, missing = [], {}
    for isa in ISAS:
        some, excluded = cells.choose(table, isa, choice.full)
        chosen += (cell for cell in some if all(wanted(cell) for wanted in choice.only))
        missing |= {what: None for cell, what in excluded if all(wanted(cell) for wanted in choice.only)}
    number, count = choice.shard
    chosen = chosen[number - 1::count]
    if not chosen:
        raise Problem("no cell of the matrix is left to run" + ("" if choice.full else "; --full has more of them"), status=2)
    return table, chosen, list(missing)


def prepare(chosen):
    """Kernels by ISA, and all that the chains need."""
    for cell in chosen:
        packages.ensure(chains.tools(cell.machine(None)))
    return {isa: build.kernel(isa) for isa in dict.fromkeys(cell.isa for cell in chosen)}


def run_all(table, chosen, jobs, report, results):
    """Puts what came of each cell into results as it ends."""
    kernels = prepare(chosen)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = {pool.submit(run_cell, cell, table, kernels[cell.isa], report): cell for cell in chosen}
        try:
            for run in concurrent.futures.as_completed(runs):
                results[runs[run]] = run.result()
        except BaseException:
            report.closed = True
            pool.shutdown(wait=False, cancel_futures=True)
            emulator.stop_all()
            raise


def names_of(result):
    return sorted(result.passed + [name for name, _ in (*result.failed, *result.skipped)])


def same_tests(results, report):
    """Each cell of an ISA has to have run the same self-tests."""
    for isa in dict.fromkeys(result.isa for result in results):
        whole = [result for result in results if result.isa == isa and not result.wrong]
        most = max(map(names_of, whole), key=len, default=[])
        for result in whole:
            if names_of(result) != most:
                result.status = "FAIL"
                result.wrong = [f"{len(names_of(result))} self-tests, not the same as the {len(most)} of other cells"]
                result.details = result.details + result.wrong
        report.check("matrix", f"{isa}: the same self-tests in each cell",
                     [f"{result.name}: {line}" for result in whole for line in result.wrong], note=f"{len(most)} of them")


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


def not_run(missing):
    """What is about a whole chain or board first."""
    rows = sorted(missing, key=lambda what: (what.chain is None, what.name))
    return [f"  {what.name}: {what.reason}" for what in rows]


def with_versions(results):
    used = {}
    for result in results:
        used.setdefault(result.firmware, []).append(f"{result.isa} {result.board or result.chain}")
    return [f"  {', '.join(dict.fromkeys(names))}: {firmware}" for firmware, names in used.items()]


def show(report, results, missing):
    lines = ["", *table_of(results), "", *(["Not run here:", *not_run(missing), ""] if missing else []),
             "Booted by:", *with_versions(results), ""]
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


def run_matrix(choice, report, outputs=()):
    """For the command and for quire test. outputs: (path, what makes its bytes of the results); what was there before does
    not survive, and a cell that was not run to its end is a failure, also when the run is interrupted."""
    table, chosen, missing = select(choice)
    for path, _ in outputs:
        path.unlink(missing_ok=True)
    announce(table, chosen, choice.jobs, report)
    report.expect(len(chosen))
    results = {cell: CellResult(cell, "FAIL", wrong=["not run to its end"], details=["not run to its end"]) for cell in chosen}
    try:
        run_all(table, chosen, choice.jobs, report, results)
        report.expect(0)
        same_tests(list(results.values()), report)
        show(report, list(results.values()), missing)
    finally:
        skipped = [CellResult(what, "SKIP", reason=what.reason) for what in missing]
        for path, form in outputs:
            path.write_bytes(form([*results.values(), *skipped]))


def matrix(options):
    report = Report(options.json)
    given = {"full": bool(options.full), "only": tuple(options.only)}
    given |= {key: value for key in ("shard", "jobs") if (value := getattr(options, key)) is not None}
    forms = ((options.junit, exports.junit), (options.kcidb, lambda results: json.dumps(exports.kcidb(results)).encode()))
    run_matrix(Choice(**given), report, [(path, form) for path, form in forms if path])
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
