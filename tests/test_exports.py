# SPDX-License-Identifier: MIT
"""JUnit and KCIDB: nothing that a console prints breaks them, and nothing that failed looks well in them."""
import copy
import datetime
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/quire"))

import exports  # noqa: E402

START = datetime.datetime(2024, 2, 29, 23, 59, 1, 500000, tzinfo=datetime.timezone.utc)
EVIL = "".join(map(chr, range(32))) + "\x1b[31mred\x1b[0m \x1b]0;title\x07<&\"'>]]> \x7f\x9b\ud800\ufffe\U0001f600 §"
HARMLESS = "\t\nred <&\"'>]]> \U0001f600 §"
SOURCE = exports.Checkout("0123456789abcdef0123456789abcdef01234567", "v0.1.0-3-g0123456",
                          "https://example.org/quire.git")


def cell(name="riscv64 uboot-efi cpus=4 nodes=2 mem=1G", **more):
    return SimpleNamespace(**{
        "name": name, "isa": name.partition(" ")[0], "chain": "uboot-efi", "board": None, "status": "PASS",
        "reason": "", "seconds": 12.25, "prompt": 1.5, "passed": ["base.one", "frame.two"], "failed": [],
        "skipped": [("pt.three", "one node")], "wrong": [], "details": [], "log": None, "firmware": "U-Boot 2023.01", "start": START,
    } | more)


def failed_cell(**more):
    return cell(**{"name": "aarch64 uefi cpus=1 mem=32M", "status": "FAIL",
                   "failed": [("pt.four", "planned, but not reported")],
                   "details": ["pt.four: planned, but not reported"]} | more)


def hung_cell(**more):
    return cell(**{"name": "x86_64 linux cpus=8", "status": "FAIL", "prompt": None, "passed": [], "skipped": [],
                   "wrong": ["no end within 120 s"], "details": ["no end within 120 s", "| Booting"]} | more)


def skipped_cell():
    return cell("riscv64 uefi", status="SKIP", reason="EDK2 needs QEMU 8.1", seconds=0.0, prompt=None, passed=[],
                skipped=[])


CELLS = [cell(), failed_cell(), hung_cell(), skipped_cell()]


def test_a_boot_that_went_wrong_is_a_failure_beside_its_failed_tests():
    both = failed_cell(wrong=["memory is missing"])
    assert [(name, status) for name, status, _ in exports.cases(both)][0] == ("boot", "FAIL")
    assert [(name, status) for name, status, _ in exports.cases(failed_cell())][0] == ("boot", "PASS")
    assert [(name, status) for name, status, _ in exports.cases(cell(status="FAIL"))][0] == ("boot", "FAIL")


# ---- JUnit ------------------------------------------------------------------------------------------------

SUITE = {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}


def suites(results):
    """The parsed file, after a look at all that its readers rely on."""
    root = ElementTree.fromstring(exports.junit(results))
    assert root.tag == "testsuites" and set(root.attrib) == SUITE - {"timestamp"}
    for suite in root:
        assert suite.tag == "testsuite" and set(suite.attrib) == SUITE
        others = [child.tag for child in suite if child.tag != "testcase"]
        assert others in (["properties"], ["properties", "system-out"])
        cases = suite.findall("testcase")
        assert all(set(case.attrib) == {"classname", "name", "time"} and len(case) <= 1 for case in cases)
        assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
        assert int(suite.get("tests")) == len(cases) and suite.get("errors") == "0"
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
        assert abs(float(suite.get("time")) - sum(float(case.get("time")) for case in cases)) < 0.001
    for count in ("tests", "failures", "skipped"):
        assert int(root.get(count)) == sum(int(suite.get(count)) for suite in root)
    return list(root)


def test_junit_has_a_case_for_each_test_and_the_boot():
    good, failed, hung, skipped = suites(CELLS)
    assert good.get("name") == CELLS[0].name
    assert (good.get("timestamp"), good.get("time")) == ("2024-02-29T23:59:01", "12.250")
    assert [case.get("name") for case in good.iter("testcase")] == ["boot", "base.one", "frame.two", "pt.three"]
    assert good.get("failures") == "0" and good.find("testcase/skipped").get("message") == "one node"
    assert {p.get("name"): p.get("value") for p in good.iter("property")} == {
        "isa": "riscv64", "chain": "uboot-efi", "firmware": "U-Boot 2023.01", "prompt": "1.50"}
    assert failed.find("testcase[@name='pt.four']/failure").get("message") == "planned, but not reported"
    assert failed.get("failures") == "1" and "pt.four" in failed.find("system-out").text
    assert hung.find("testcase[@name='boot']/failure").get("message") == "no end within 120 s"
    assert [case.get("name") for case in skipped.iter("testcase")] == ["boot"]
    assert skipped.find("testcase/skipped").get("message") == "EDK2 needs QEMU 8.1"


@pytest.mark.parametrize("result", [failed_cell(), failed_cell(failed=[]), failed_cell(prompt=None), hung_cell(),
                                    hung_cell(details=[]), hung_cell(prompt=0.0, details=["", "\x1b[0m"])])
def test_a_cell_that_failed_has_a_failed_case(result):
    suite, = suites([result])
    assert int(suite.get("failures")) > 0 and all(failure.get("message") for failure in suite.iter("failure"))
    assert "FAIL" in [test["status"] for test in checked(exports.kcidb([result], SOURCE))["tests"]]


def test_whatever_a_console_prints_junit_is_xml():
    result = failed_cell(name=f"aarch64 {EVIL}", failed=[(EVIL, EVIL)], skipped=[("s", EVIL)], details=[EVIL],
                         firmware=EVIL)
    suite, = suites([result])
    failure = suite.find("testcase/failure")
    assert failure.text == HARMLESS == failure.get("message")
    assert suite.find("system-out").text == HARMLESS
    assert exports.junit([]).startswith(b"<?xml")


# ---- KCIDB ------------------------------------------------------------------------------------------------

# The rules of KCIDB's schema 5.3 for what we write, in our own words: https://github.com/kernelci/kcidb-io.
TEXT = {"type": "string", "pattern": "^[^\\0]*$"}
ID = {"type": "string", "pattern": "^[a-z0-9_]+:[^\\0]*$"}
NAME = {"type": "string", "pattern": "^[a-z0-9_]+$"}
TIME = {"type": "string", "format": "date-time",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
STATUS = {"enum": ["FAIL", "ERROR", "MISS", "PASS", "DONE", "SKIP"]}


def objects(required, **properties):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def lists(item):
    return {"type": "array", "items": item}


SCHEMA = objects(
    ["version"], version=objects(["major"], major={"const": 5}, minor={"type": "integer", "minimum": 0, "maximum": 3}),
    checkouts=lists(objects(
        ["id", "origin"], id=ID, origin=NAME, tree_name=TEXT, git_commit_name=TEXT, valid={"type": "boolean"},
        start_time=TIME, git_commit_hash={"type": "string", "pattern": "^[0-9a-f]{40}$"},
        git_repository_url={"type": "string", "format": "uri", "pattern": "^https://[^\\0]*$"})),
    builds=lists(objects(
        ["checkout_id", "id", "origin"], checkout_id=ID, id=ID, origin=NAME, status=STATUS,
        architecture={"type": "string", "pattern": "^[a-z0-9_]*$"})),
    tests=lists(objects(
        ["build_id", "id", "origin"], build_id=ID, id=ID, origin=NAME, comment=TEXT, status=STATUS, start_time=TIME,
        path={"type": "string", "pattern": r"^([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*)?$"}, duration={"type": "number"},
        environment=objects([], comment=TEXT, misc={"type": "object"}), log_excerpt=TEXT | {"maxLength": 16384},
        number=objects(["value"], value={"type": "number"}, unit=TEXT, prefix={"enum": ["metric", "binary"]}))))


def checked(report):
    """A report that the schema takes, whose objects have ids of their own and refer to ones that are there."""
    report = json.loads(json.dumps(report, allow_nan=False))
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(report, SCHEMA, cls=jsonschema.Draft7Validator)
    for kind, parent, key in (("checkouts", None, None), ("builds", "checkouts", "checkout_id"),
                              ("tests", "builds", "build_id")):
        ids = [item["id"] for item in report[kind]]
        assert len(set(ids)) == len(ids)
        assert all(item[key] in {other["id"] for other in report[parent]} for item in report[kind] if parent)
        assert all(item["id"].startswith(item["origin"] + ":") for item in report[kind])
    return report


def test_kcidb_tells_the_same():
    report = checked(exports.kcidb(CELLS, SOURCE))
    assert report["version"] == {"major": 5, "minor": 3}
    assert report["checkouts"] == [{
        "id": f"quire:{SOURCE.commit}", "origin": "quire", "tree_name": "quire", "git_commit_hash": SOURCE.commit,
        "git_commit_name": SOURCE.name, "git_repository_url": SOURCE.url, "valid": True,
        "start_time": "2024-02-29T23:59:01.500000+00:00"}]
    assert [build["architecture"] for build in report["builds"]] == ["riscv64", "aarch64", "x86_64"]
    tests = report["tests"]
    assert [(t["path"], t["status"]) for t in tests[:4]] == [
        ("quire.boot", "PASS"), ("quire.selftest.base.one", "PASS"), ("quire.selftest.frame.two", "PASS"),
        ("quire.selftest.pt.three", "SKIP")]
    assert tests[0]["environment"]["misc"]["firmware"] == "U-Boot 2023.01" and tests[3]["comment"] == "one node"
    assert tests[0]["number"] == {"value": 1.5, "unit": "s"} and tests[0]["duration"] == 12.25
    assert [t["status"] for t in tests if t["path"] == "quire.boot"] == ["PASS", "PASS", "FAIL", "SKIP"]
    assert all("number" not in t for t in tests if t["path"] != "quire.boot" or t["status"] == "SKIP")
    hung = next(t for t in tests if t["path"] == "quire.boot" and t["status"] == "FAIL")
    assert hung["log_excerpt"] == "no end within 120 s\n| Booting" and "number" not in hung


def test_kcidb_takes_whatever_a_console_prints(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\n" + b"\0\xff\x1b[1m<>" * 30000 + b"last")
    result = hung_cell(name=f"x86_64 {EVIL}", failed=[("a b/c.\x1b[0md", EVIL), ("", EVIL)], log=log, details=[EVIL],
                       firmware=EVIL)
    excerpt = checked(exports.kcidb([result], SOURCE))["tests"][0]["log_excerpt"]
    assert excerpt.endswith("last") and len(excerpt) == 16384 and "\0" not in excerpt


def test_kcidb_of_a_tree_that_git_does_not_know():
    report = checked(exports.kcidb(CELLS, exports.Checkout(None, None, None)))
    assert report["checkouts"][0]["id"] == "quire:unknown" and "git_commit_hash" not in report["checkouts"][0]
    changed = exports.Checkout(SOURCE.commit, "v0.1.0-dirty", None)
    assert SOURCE.commit not in checked(exports.kcidb([], changed))["checkouts"][0]["id"]
    checked(exports.kcidb(CELLS, origin="my_lab"))


def test_checkout_says_nothing_about_passwords(monkeypatch):
    said = {"rev-parse": "0" * 40, "remote": "https://user:secret@example.org/quire", "describe": "v1"}
    monkeypatch.setattr(exports, "git", lambda *words: said[words[0]])
    assert exports.checkout() == exports.Checkout("0" * 40, "v1", "https://example.org/quire")
    said["remote"] = "git@example.org:quire"
    assert exports.checkout().url is None


@pytest.mark.parametrize("kind, change", [
    ("tests", {"status": "OK"}), ("tests", {"path": "quire..boot"}), ("tests", {"number": {"unit": "s"}}),
    ("tests", {"comment": None}), ("tests", {"log_excerpt": "x" * 16385}), ("tests", {"unknown": 1}),
    ("tests", {"start_time": "yesterday"}), ("builds", {"id": "quire"}), ("builds", {"architecture": "RISC-V"}),
    ("checkouts", {"git_commit_hash": "v0.1.0"}), ("checkouts", {"git_repository_url": "git@example.org:quire"}),
])
def test_the_schema_refuses(kind, change):
    report = copy.deepcopy(exports.kcidb(CELLS, SOURCE))
    report[kind][0].update(change)
    with pytest.raises(jsonschema.ValidationError):
        checked(report)
