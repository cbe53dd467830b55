# SPDX-License-Identifier: MIT
"""Results of a matrix in the forms that CI systems read: JUnit's XML, and KCIDB 5.3, what KernelCI collects.

A result stands for one cell: a machine that was booted in one chain, and the self-tests that ran in it. In both forms
each self-test is a test, and the cell itself one more, named "boot". A cell that failed is never without a failed test:
if its self-tests do not tell of it, "boot" does.

Consoles print what they like. Neither form holds control characters or halves of code points: see clean()."""
import re
import subprocess
from dataclasses import dataclass
from xml.etree import ElementTree

import places

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", re.DOTALL)     # ECMA-48
NOT_XML = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")   # XML 1.0, 2.2; nor DEL, C1
EXCERPT_MAX = 16384             # characters of KCIDB's log_excerpt
ORIGIN = "quire"


def clean(text):
    """Text without what XML cannot hold: escape sequences as wholes, then control characters and lone surrogates."""
    return NOT_XML.sub("", ESCAPES.sub("", str(text)))


def boot_reason(result):
    """Why the boot counts as failed, in one line."""
    return next((line for line in map(clean, result.wrong) if line.strip()), "no reason given")


def cases(result):
    """(name, PASS, FAIL or SKIP, why) of each test in a cell, the boot first."""
    if result.status == "SKIP":
        yield "boot", "SKIP", clean(result.reason) or "no reason given"
    elif result.wrong or (result.status == "FAIL" and not result.failed):
        yield "boot", "FAIL", boot_reason(result)
    else:
        yield "boot", "PASS", ""
    for name in result.passed:
        yield clean(name), "PASS", ""
    for status, tests in (("FAIL", result.failed), ("SKIP", result.skipped)):
        for name, why in tests:
            yield clean(name), status, clean(why) or "no reason given"


# ---- JUnit ------------------------------------------------------------------------------------------------

def properties(result):
    """What is known of a cell, for people who look for what failing cells have in common."""
    named = {"isa": result.isa, "chain": result.chain, "board": result.board, "firmware": result.firmware,
             "prompt": None if result.prompt is None else f"{result.prompt:.2f}",
             "log": None if result.log is None else places.shown(result.log)}
    return {name: clean(value) for name, value in named.items() if value}


def add_counts(element, suites):
    """The attributes that readers add up; `suites` is a list of lists of cases."""
    statuses = [status for suite in suites for _, status, _ in suite]
    element.set("tests", str(len(statuses)))
    element.set("failures", str(statuses.count("FAIL")))
    element.set("errors", "0")
    element.set("skipped", str(statuses.count("SKIP")))


def add_case(suite, result, case):
    """One <testcase>. The cell's time is the boot's: self-tests are not timed by themselves."""
    name, status, why = case
    seconds = result.seconds if name == "boot" else 0.0
    element = ElementTree.SubElement(suite, "testcase", classname=clean(result.name), name=name, time=f"{seconds:.3f}")
    if status == "SKIP":
        ElementTree.SubElement(element, "skipped", message=why)
    elif status == "FAIL":
        failure = ElementTree.SubElement(element, "failure", message=why, type="boot" if name == "boot" else "selftest")
        failure.text = "\n".join(map(clean, result.details)) if name == "boot" else why


def add_suite(root, result):
    tests = list(cases(result))
    suite = ElementTree.SubElement(root, "testsuite", name=clean(result.name), time=f"{result.seconds:.3f}",
                                   timestamp=result.start.strftime("%Y-%m-%dT%H:%M:%S"))
    add_counts(suite, [tests])
    table = ElementTree.SubElement(suite, "properties")
    for name, value in properties(result).items():
        ElementTree.SubElement(table, "property", name=name, value=value)
    for case in tests:
        add_case(suite, result, case)
    if result.status == "FAIL":
        ElementTree.SubElement(suite, "system-out").text = "\n".join(map(clean, result.details))
    return tests


def junit(results):
    """A JUnit file: a <testsuite> for each result. Times are seconds, timestamps UTC."""
    root = ElementTree.Element("testsuites", name="quire", time=f"{sum(result.seconds for result in results):.3f}")
    add_counts(root, [add_suite(root, result) for result in results])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


# ---- KCIDB ------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Checkout:
    """The source that was tested. None: not known."""
    commit: str | None          # 40 hexadecimal digits
    name: str | None            # as `git describe` calls it
    url: str | None             # https://, the only one that KCIDB takes


def git(*words):
    try:
        done = subprocess.run(["git", *words], cwd=places.ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def checkout():
    """This tree, as git knows it; nothing is known where there is no git."""
    commit, url = git("rev-parse", "HEAD"), git("remote", "get-url", "origin")
    return Checkout(commit if commit and re.fullmatch("[0-9a-f]{40}", commit) else None,
                    git("describe", "--always", "--dirty"),
                    re.sub("//[^/@]*@", "//", url) if url and url.startswith("https://") else None)  # no one's password


def known(**fields):
    """KCIDB has no nulls: what is not known is left out."""
    return {name: value for name, value in fields.items() if value not in (None, "")}


def path(name):
    """A test's place in KCIDB's tree: words of letters, digits, _ and -, with dots between them."""
    words = [re.sub(r"[^\w-]+", "_", word, flags=re.ASCII) for word in name.split(".")]
    return ".".join(word or "_" for word in ("quire", *([] if name == "boot" else ["selftest"]), *words))


def excerpt(result):
    """The end of what is known about a failure."""
    text = "\n".join(result.details)
    if result.log is not None and result.log.is_file():
        text = result.log.read_text(errors="replace")
    return clean(text)[-EXCERPT_MAX:]


def kcidb_test(result, case, build, run, origin):
    name, status, why = case
    boot = name == "boot"
    number = {"value": round(result.prompt, 3), "unit": "s"} if boot and result.prompt is not None else None
    return known(id=f"{run} {name}", build_id=build, origin=origin, path=path(name), status=status, number=number,
                 comment=why, start_time=result.start.isoformat(), duration=round(result.seconds, 3) if boot else None,
                 environment=known(comment=clean(result.name), misc=properties(result) if boot else None),
                 log_excerpt=excerpt(result) if boot and result.status == "FAIL" else None)


def kcidb(results, source=None, origin=ORIGIN):
    """The same for KernelCI: a dictionary in KCIDB's schema 5.3, for json.dump. One checkout, a build for each ISA, a
    test for each test; the boot's number is the seconds until the first prompt, and its environment tells all that is
    known of the machine. origin: the name of the CI system, lower-case letters, digits and _. source: a Checkout; None:
    this tree."""
    source = source or checkout()
    state = source.name if source.name and source.name.endswith("-dirty") else None
    tree = f"{origin}:{state or source.commit or 'unknown'}"
    builds, tests = {}, []
    for result in results:
        build = f"{tree} {result.isa}"
        ran = result.status != "SKIP" or build in builds and "status" in builds[build]
        builds[build] = known(id=build, checkout_id=tree, origin=origin, architecture=result.isa,
                              status="PASS" if ran else None)
        run = f"{tree} {result.start.isoformat()} {clean(result.name)}"
        tests += [kcidb_test(result, case, build, run, origin) for case in cases(result)]
    start = min((result.start for result in results), default=None)
    return {"version": {"major": 5, "minor": 3},
            "checkouts": [known(id=tree, origin=origin, tree_name="quire", git_commit_hash=source.commit,
                                git_commit_name=source.name, git_repository_url=source.url, valid=True,
                                start_time=start and start.isoformat())],
            "builds": list(builds.values()), "tests": tests}
