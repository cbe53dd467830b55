# SPDX-License-Identifier: MIT
"""quire test: the suites, in the order in which a mistake is cheapest to find."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

import bench_kernel
import boot
import build
import chains
import emulator
import ktap
import lint
import packages
import places
import ui
from options import Command, Option
from report import Report, Result

IMAGE_MAX = 512 << 10
TAIL = 25
FUZZ_SECONDS = 5


def tail(text):
    return [f"| {line}" for line in text.rstrip().splitlines()[-TAIL:]]


# ---- lint ------------------------------------------------------------------------------------------------

def suite_lint(report, options):
    files = lint.project_files()
    for rule in lint.RULES:
        start = time.monotonic()
        report.check("lint", rule.__name__.replace("_", " "), rule(files), time.monotonic() - start)
    note, where = lint.sizes(files)
    places.log_file("lint-sizes").write_text("\n".join(where) + "\n")
    report.note("lint", f"for information: {note} ({places.shown(places.LOG / 'lint-sizes.txt')})")


# ---- host ------------------------------------------------------------------------------------------------

def host_result(entry, under):
    """What a line of Meson's testlog.json says. A program that prints KTAP counts by its tests."""
    output = entry.get("stdout") or ""
    result = Result("host", entry["name"] + under, seconds=entry["duration"])
    tests = ktap.parse(output)
    good = entry["result"] in ("OK", "EXPECTEDFAIL")
    if entry["result"] == "SKIP":
        result.skipped = ["the program skipped itself"]
    elif tests.count == 0:
        result.passed, result.failed = int(good), int(not good)
    else:
        result.passed, result.skipped = len(tests.passed), [reason for _, reason in tests.skipped]
        result.failed = len(tests.failed) or int(not good or tests.problem is not None)
        result.details = [f"{name}: {why}" for name, why in tests.failed] + ([tests.problem] if tests.problem else [])
    if not good and not tests.failed:
        result.details += tail(output + (entry.get("stderr") or "")) + [f"Meson says {entry['result']}, status "
                                                                        f"{entry['returncode']}"]
    return result


def without_randomisation():
    """Words before a command. ThreadSanitizer wants memory at places of its own, which a kernel may have given away
    when it maps at random; not every container lets a program choose."""
    command = ["setarch", "-R"]
    allowed = shutil.which(command[0]) and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if allowed else []


def meson_test(report, directory, under="", names=(), before=(), environment=None):
    """Runs the tests of a build, or those named, and reports each with `under` behind its name. before: words before
    the command."""
    journal = directory / "meson-logs/testlog.json"
    journal.unlink(missing_ok=True)
    report.begin("host" + under)
    log = places.log_file(directory.name)
    with open(log, "w") as output:
        done = subprocess.run([*before, "meson", "test", "-C", str(directory), "--no-rebuild", *names],
                              env=build.ENVIRONMENT | (environment or {}), stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT)
    report.end("host" + under)
    entries = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    for entry in entries:
        report.add(host_result(entry, under))
    if not entries:
        report.check("host", "meson test" + under, tail(log.read_text()) + [f"status {done.returncode}"])


def suite_host(report, options):
    meson_test(report, build.hosted())
    meson_test(report, build.hosted_tsan(), " (threads)", build.THREADED, without_randomisation(),
               {"TSAN_OPTIONS": "halt_on_error=1"})


# ---- fuzz ------------------------------------------------------------------------------------------------

def run_fuzzer(report, program, seeds):
    """Lets one target run for a moment from what earlier runs found: proves that it works, finds what is easy."""
    corpus = places.BUILD / "fuzz-corpus" / program.name
    corpus.mkdir(parents=True, exist_ok=True)
    log = places.log_file(program.name)
    report.begin(program.name)
    start = time.monotonic()
    with open(log, "w") as output:
        done = subprocess.run([program, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-max_len=65536",
                               f"-artifact_prefix={places.LOG}/{program.name}-", corpus, *seeds],
                              stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    report.end(program.name)
    text = log.read_text(errors="replace")
    runs = re.search(r"Done (\d+) runs", text)
    wrong = [] if done.returncode == 0 and runs else [*tail(text), f"status {done.returncode}; {places.shown(log)}"]
    report.check("fuzz", program.name, wrong, time.monotonic() - start, f"{runs[1]} inputs" if runs else "")


def suite_fuzz(report, options):
    directory = build.fuzzers() / "tests/fuzz"
    seeds = places.BUILD / "fuzz-corpus/seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    for seed in directory.glob("seed.*"):
        shutil.copy(seed, seeds)
    with concurrent.futures.ThreadPoolExecutor(emulator.boxes()) as pool:
        runs = [pool.submit(run_fuzzer, report, program, [seeds])
                for program in sorted(directory.glob("fuzz-*")) if program.is_file() and os.access(program, os.X_OK)]
        for run in runs:
            run.result()
    if not runs:
        report.check("fuzz", "targets", ["there are none"])


# ---- pytest ----------------------------------------------------------------------------------------------

def pytest(report, suite, files, environment):
    """Runs pytest, and reports each file as one result that counts its tests."""
    if not files:
        report.skip(suite, "pytest", "there are no such tests yet")
        return
    packages.ensure(packages.TESTS)
    xml_file, log = places.LOG / f"{suite}.xml", places.log_file(suite)
    xml_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider",
               f"--junitxml={xml_file}", "-o", "junit_logging=no", *map(str, files)]
    report.begin(suite)
    with open(log, "w") as output:
        done = subprocess.run(command, cwd=places.ROOT, env=build.ENVIRONMENT | environment, stdin=subprocess.DEVNULL,
                              stdout=output, stderr=subprocess.STDOUT)
    report.end(suite)
    if not xml_file.exists():
        report.check(suite, "pytest", tail(log.read_text()) + [f"status {done.returncode}"])
        return
    for result in junit_results(suite, xml_file):
        report.add(result)


def junit_results(suite, xml_file):
    results = {}
    for case in xml.etree.ElementTree.parse(xml_file).iter("testcase"):
        module = case.get("classname", "").split(".")
        name = next((part for part in module if part.startswith("test_")), "pytest")
        result = results.setdefault(name, Result(suite, name))
        result.seconds += float(case.get("time", 0))
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if failure is not None:
            result.failed += 1
            result.details += [f"{case.get('name')}: {failure.get('message', '').splitlines()[0][:200]}"]
            result.details += tail(failure.text or "")
        elif skipped is not None:
            result.skipped.append(skipped.get("message", "no reason given"))
        else:
            result.passed += 1
    return results.values()


def suite_corpus(report, options):
    corpus = os.environ.get("QUIRE_CORPUS") or os.path.normpath(places.ROOT / "../shared/corpus")
    if not os.path.isdir(corpus):
        report.skip("corpus", "inspect and replay over the corpus", f"{corpus} is not there (QUIRE_CORPUS names it)")
        return
    files = sorted((places.ROOT / "tests").glob("test_corpus*.py"))
    pytest(report, "corpus", files, {"QUIRE_INSPECT": str(build.inspect()), "QUIRE_CORPUS": os.path.realpath(corpus)})


def suite_cli(report, options):
    # Some tests put fakes of these first in PATH; what they do not fake must be there.
    packages.ensure(("mtools",))
    for isa in build.ISAS:
        packages.ensure(packages.compilers(isa) + packages.emulator(isa))
    files = sorted(path for path in (places.ROOT / "tests").glob("test_*.py")
                   if not path.name.startswith("test_corpus"))
    pytest(report, "cli", files, {"QUIRE_INSPECT": str(build.inspect()), "QUIRE": str(places.ROOT / "quire")})


# ---- build -----------------------------------------------------------------------------------------------

def build_kernel(report, isa, variant):
    """The kernel, or None after reporting why there is none."""
    start = time.monotonic()
    report.begin(f"{variant} build for {isa}")
    try:
        kernel = build.kernel(isa, variant)
    except ui.Problem as problem:
        report.check("build", f"{isa} {variant}", [*problem.details, str(problem)])
        return None
    finally:
        report.end(f"{variant} build for {isa}")
    size = kernel.image.stat().st_size
    wrong = [] if size < IMAGE_MAX else [f"the image has {size} bytes; the limit is {IMAGE_MAX}"]
    report.check("build", f"{isa} {variant}", wrong, time.monotonic() - start, f"{size / 1024:.0f} KiB")
    return kernel


def build_hosted_release(report):
    start = time.monotonic()
    report.begin("release build for this machine")
    try:
        build.hosted_release()
        wrong = []
    except ui.Problem as problem:
        wrong = [*problem.details, str(problem)]
    report.end("release build for this machine")
    report.check("build", "host release", wrong, time.monotonic() - start)


def suite_build(report, options):
    build_hosted_release(report)
    for variant in build.VARIANTS:
        for isa in options.isas:
            build_kernel(report, isa, variant)


# ---- boot ------------------------------------------------------------------------------------------------

def run_boot(report, test, kernel):
    name = f"{test.machine.isa} {test.name}"
    report.begin(name)
    result = boot.run(test, kernel)
    report.end(name)
    report.add(result)


def suite_boot(report, options):
    kernels, tests = {}, []
    for isa in options.isas:
        for test in boot.load(isa):
            packages.ensure(chains.tools(test.machine))
            key = (isa, test.variant)
            if key not in kernels:
                kernels[key] = build_kernel(report, *key)
            tests.append(test)
    packages.ensure(packages.TESTS)
    with concurrent.futures.ThreadPoolExecutor(emulator.boxes()) as pool:
        runs = []
        for test in tests:
            kernel = kernels[test.machine.isa, test.variant]
            if kernel is None:
                report.skip("boot", f"{test.machine.isa} {test.name}", "there is no kernel to boot")
            else:
                runs.append(pool.submit(run_boot, report, test, kernel))
        try:
            for run in concurrent.futures.as_completed(runs):
                run.result()
        except BaseException:
            report.closed = True
            pool.shutdown(wait=False, cancel_futures=True)
            emulator.stop_all()
            raise


# ---- bench -----------------------------------------------------------------------------------------------

def suite_bench(report, options):
    start = time.monotonic()
    report.begin("instruction counts")
    try:
        checked = list(bench_kernel.check(options.isas))
    finally:
        report.end("instruction counts")
    for isa, wrong, note in checked:
        report.check("bench", f"{isa} instructions within budgets", wrong, time.monotonic() - start, note)


# ---- all -------------------------------------------------------------------------------------------------

SUITES = {"lint": suite_lint, "host": suite_host, "fuzz": suite_fuzz, "corpus": suite_corpus, "cli": suite_cli,
          "build": suite_build, "boot": suite_boot, "bench": suite_bench}


def test(options):
    options.isas = (options.isa,) if options.isa else build.ISAS
    report = Report(options.json)
    for name, suite in SUITES.items():
        if options.suite not in (None, name):
            continue
        try:
            suite(report, options)
        except ui.Problem as problem:
            report.check(name, "preparation", [*problem.details, str(problem)])
    return report.summary()


TEST = Command(
    "test", "runs the tests, on all three ISAs", test,
    options=(Option("--isa", "ISA", "build and boot this ISA only", choices=build.ISAS),
             Option("--suite", "NAME", "this suite only: " + ", ".join(SUITES), choices=tuple(SUITES)),
             Option("--json", None, "the results as JSON on standard output, progress on standard error")),
    text="lint    rules that compilers do not check\n"
         "host    unit tests on this machine, under sanitizers; every interleaving of small scenarios\n"
         "fuzz    the readers of firmware tables, a moment each under libFuzzer\n"
         "corpus  inspect and replay, against facts about real machines' firmware and page traces\n"
         "cli     this command and the tools\n"
         "build   debug, release and clang builds, and their size; inspect and unit tests without sanitizers\n"
         "boot    self-tests and more in QEMU: CPUs, memory, nodes, paging modes, faults\n"
         "bench   instructions that the kernel needs per operation, against budgets",
    examples=("quire test", "quire test --suite boot --isa riscv64"))
