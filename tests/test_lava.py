# SPDX-License-Identifier: MIT
"""Jobs for LAVA: its schema takes them, its dispatcher runs them, and one that only looks well is refused."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/quire"))

import build  # noqa: E402
import lava  # noqa: E402
import packages  # noqa: E402
import places  # noqa: E402
from ui import Problem  # noqa: E402

RESULTS = ["ok 1 base.one", "ok 2 base.two # SKIP one node", "ok 3 pt.three"]


def report(results, planned=None):
    """What the monitor prints for these results."""
    tests = [line for line in results if not line.startswith("# ")]
    failed, skipped = sum(line.startswith("not ok") for line in tests), sum("# SKIP " in line for line in tests)
    plan = f"1..{planned or len(tests)}"
    crc = zlib.crc32("".join(f"{line}\n" for line in [plan, *tests]).encode())
    totals = f"# totals: pass:{len(tests) - failed - skipped} fail:{failed} skip:{skipped} crc:{crc:08x}"
    return ["quire> selftest", "KTAP version 1", plan, *results, totals, "quire> "]


def monitored(console, chunk, end_of_line="\r\r\n"):
    """LAVA's cases (monitor, name, result or measurement) for a console from which `chunk` characters arrive at a time.
    It looks for the leftmost match of a monitor's patterns in what is there, and goes on behind it."""
    text = end_of_line.join(console)
    arrived = position = 0
    cases = []

    def expect(*patterns):
        nonlocal arrived, position
        while True:
            found = [re.compile(pattern, re.DOTALL).search(text, position, arrived) for pattern in patterns]
            if any(found):
                first = min(filter(None, found), key=lambda match: match.start())
                position = first.end()
                return first
            if arrived >= len(text):
                raise EOFError
            arrived = min(arrived + chunk, len(text))

    for monitor in lava.MONITORS:
        expect(monitor["start"])
        while (match := expect(monitor["end"], monitor["pattern"])).re.pattern != monitor["end"]:
            groups = match.groupdict()
            result = groups.get("result")
            cases.append((monitor["name"], groups["test_case_id"],
                          monitor["fixupdict"][result] if result else int(groups["measurement"])))
    return cases


@pytest.mark.parametrize("chunk", [1, 2, 7, 2000])
@pytest.mark.parametrize("end_of_line", ["\n", "\r\n", "\r\r\n"])
def test_patterns_see_each_result_once_however_it_arrives(chunk, end_of_line):
    console = report([*RESULTS, "# tests/unit/test_pt.c:9: x == y", "not ok 4 pt.four",
                      "ok 5 pt.five # SKIPPED is no word"])
    assert monitored(console, chunk, end_of_line) == [
        ("plan", "KTAP", 5), ("selftest", "base.one", "pass"), ("selftest", "base.two", "skip"),
        ("selftest", "pt.three", "pass"), ("selftest", "pt.four", "fail"), ("selftest", "pt.five", "pass"),
        ("totals", "pass", 3), ("totals", "fail", 1), ("totals", "skip", 1)]


def test_patterns_begin_with_a_failure_too():
    assert [case[2] for case in monitored(report(["# a.c:1: no", "not ok 1 a.b"]), 3)] == [1, "fail", 0, 1, 0]


def entries(console, cases):
    """A log as lava-run writes it."""
    lines = [{"lvl": "target", "msg": line} for line in console]
    for suite, name, value in cases:
        told = {"result": value} if isinstance(value, str) else {"result": "pass", "measurement": f"{value}.0"}
        lines.append({"lvl": "results", "msg": {"definition": suite, "case": name.lower(), **told}})
    return [json.dumps(line) + "\n" for line in lines]


def judged(console=None, cases=None, end=("lava", "job", "pass")):
    console = console or report(RESULTS)
    cases = monitored(console, 100) if cases is None else cases
    return list(lava.judge(lava.read_log(entries(console, [*cases, *([end] if end else [])]))))


def test_a_good_log_in_both_forms():
    assert judged() == []
    console = report(RESULTS)
    lines = entries(console, [*monitored(console, 100), ("lava", "job", "pass")])
    assert not list(lava.judge(lava.read_log(["Traceback\n", "{broken\n", *("- " + line for line in lines)])))


def test_a_failed_case_fails_the_job_that_lava_calls_passed():
    assert judged(report([*RESULTS, "not ok 4 pt.four"])) == ["selftest pt.four: fail"]


def test_a_lost_case_fails_the_job():
    cases = monitored(report(RESULTS), 100)
    assert judged(cases=cases[:2] + cases[3:])[0] == "3 tests planned, LAVA saw 2"
    assert judged(cases=cases[1:])[0] == "LAVA saw no test plan"
    assert judged(cases=cases[:-1]) == ["the totals are not those of the cases that LAVA saw"]
    assert "2 results on the console, LAVA saw 3" in judged(report(RESULTS[:2]), cases)


def test_a_damaged_console_fails_the_job():
    console = report(RESULTS)
    console[3] = "ok 1 base.0ne"
    assert judged(console) == ["console: the report's sum is not that of its lines: the console lost or mixed some"]
    assert any("tests planned" in line for line in judged(report(RESULTS, planned=4)))


@pytest.mark.parametrize("change", [{"measurement": "many"}, {"measurement": None}, {"case": None}, {"result": None}])
def test_a_log_that_makes_no_sense_fails(change, tmp_path):
    cases = [*monitored(report(RESULTS), 100), ("lava", "job", "pass")]
    lines = [json.loads(line) for line in entries(report(RESULTS), cases)]
    plan = next(line for line in lines if line["lvl"] == "results")
    plan["msg"].update(change)
    log = tmp_path / "plain.log"
    lines += [{"lvl": "results", "msg": "text"}, {"lvl": "results"}]
    log.write_text("".join(f"- {json.dumps(line)}\n" for line in lines))
    with pytest.raises(Problem, match="failed$") as caught:
        lava.lava(SimpleNamespace(judge=str(log), run=None, o=None, url=None))
    assert caught.value.details


def test_judge_takes_a_good_log(tmp_path, capsys):
    log = tmp_path / "plain.log"
    log.write_text("".join(entries(report(RESULTS), [*monitored(report(RESULTS), 100), ("lava", "job", "pass")])))
    assert lava.lava(SimpleNamespace(judge=str(log), run=None, o=None, url=None)) == 0
    assert f"{log}: 2 passed, 1 skipped of 3 planned" in capsys.readouterr().err


def test_a_job_that_did_not_end_fails():
    assert judged(end=None) == ["the log has no end"]
    assert judged(end=("lava", "job", "fail")) == ["lava job: fail"]
    assert "no test plan" in "".join(lava.judge(lava.Log()))


# ---- With LAVA's own programs -----------------------------------------------------------------------------

def lava_or_skip(tools, root=False):
    if root and os.geteuid() != 0:
        pytest.skip("LAVA's lava-run works as root only")
    try:
        packages.ensure(tools)
        if root:
            packages.unpacked(lava.UNPACKED, lava.FOLDER / "unpacked")
    except Problem as problem:
        pytest.skip(f"LAVA is not to be had: {problem}")


@pytest.fixture
def jobs(tmp_path):
    lava_or_skip(packages.LAVA_SCHEMA)
    files = {}
    for name in lava.TARGETS:
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(lava.text(lava.job(name, "https://example.org/quire")))
    return files


def test_schema_takes_every_job(jobs):
    assert len(jobs) == 8 and lava.validate(jobs.values()) == []


@pytest.mark.parametrize("name, old, new, says", [
    ("qemu-riscv64", "fixupdict", "fixupdic", "extra keys not allowed"),
    ("qemu-aarch64", "no_kvm", "no_kwm", "context"),
    ("bcm2711-rpi-4-b", "type: image", "type: Image", "not a valid value"),
    ("bcm2711-rpi-4-b", "commands: ramdisk", "command: ramdisk", "extra keys not allowed"),
    ("hifive-unleashed-a00", "to: tftp", "to: tfpt", "unknown action type"),
])
def test_schema_refuses_a_bad_job(jobs, name, old, new, says):
    good = jobs[name].read_text()
    assert old in good
    jobs[name].write_text(good.replace(old, new, 1))
    said = "\n".join(lava.validate([jobs[name]]))
    assert "invalid job definition" in said and says in said


@pytest.mark.parametrize("isa", build.ISAS)
def test_dispatcher_runs_the_qemu_job(isa, tmp_path):
    lava_or_skip((*packages.LAVA, *packages.emulator(isa)), root=True)
    name = f"qemu-{isa}"
    path = lava.execute(name, lava.job(name, build.kernel(isa).image.parent.as_uri()), tmp_path)
    log = lava.read_log(path.read_text(errors="replace").splitlines(True))
    assert list(lava.judge(log)) == []
    results = [case["result"] for case in log.named("selftest")]
    assert len(results) == log.measured("plan")["ktap"] and results.count("pass") > 100 and "fail" not in results
    assert results.count("skip") == sum("# SKIP" in line for line in log.console)


# ---- A board's job, with U-Boot on QEMU's virt in the place of the board -----------------------------------

ABSENT = ("in.tftpd", "mkimage", "udevadm")     # LAVA wants them to be there for TFTP; these jobs do not call them
LOADER = {"riscv64": ("-kernel", "/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"),
          "aarch64": ("-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin")}
SERVER = "10.0.2.2"                             # in QEMU's user network, which has a TFTP server and leads nowhere
CPU = {"riscv64": "rv64", "aarch64": "cortex-a57"}


def stand_in(isa, folder):
    """The words of a machine that boots U-Boot and has QEMU's TFTP server for tftp/; its device tree."""
    words = [f"qemu-system-{isa}", "-M", "virt", "-cpu", CPU[isa], "-smp", "2", "-m", "1G", "-display", "none",
             "-monitor", "none", "-chardev", "stdio,id=tty,signal=off", "-serial", "chardev:tty", *LOADER[isa]]
    tree = folder / "tree"
    subprocess.run([word.replace("virt", f"virt,dumpdtb={tree}") for word in words], check=True, capture_output=True)
    net = ["-netdev", f"user,id=net,restrict=on,tftp={folder / 'tftp'}", "-device", "virtio-net-device,netdev=net"]
    return words + net, tree


@pytest.mark.parametrize("name, memory", [
    ("hifive-unleashed-a00", {}),
    ("bcm2711-rpi-4-b", {"booti_kernel_addr": "0x40400000", "booti_dtb_addr": "0x44000000",
                         "booti_ramdisk_addr": "0x45000000"})])
def test_dispatcher_runs_the_job_of_a_board(name, memory, tmp_path, monkeypatch):
    target = lava.TARGETS[name]
    lava_or_skip((*packages.LAVA, *packages.emulator(target.isa), "u-boot"), root=True)
    site, programs = tmp_path / "site", tmp_path / "bin"
    for folder in (site / "dtb" / Path(target.dtb).parent, tmp_path / "tftp", programs):
        folder.mkdir(parents=True)
    words, tree = stand_in(target.isa, tmp_path)
    shutil.copy(tree, site / "dtb" / target.dtb)
    shutil.copy(build.kernel(target.isa).image, site)
    for program in ABSENT:
        (programs / program).write_text("#!/bin/sh\nexit 1\n")
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(lava, "LAUNCHER", lava.LAUNCHER.replace("program = ", f"""
import lava_dispatcher.utils.filesystem
lava_dispatcher.utils.filesystem.tftpd_dir = lambda: {str(tmp_path / 'tftp')!r}
program = """))
    definition = lava.job(name, site.as_uri())
    definition["actions"][2]["test"]["interactive"][0]["script"][1]["command"] = "selftest base"   # all run elsewhere
    path = lava.execute(name, definition, tmp_path, address=SERVER, lab=memory | {
        "connection_command": shlex.join(words), "bootloader_prompt": "=>", "hard_reset_command": "/bin/true",
        "power_on_command": "/bin/true", "power_off_command": "/bin/true"})
    log = lava.read_log(path.read_text(errors="replace").splitlines(True))
    assert list(lava.judge(log)) == [] and len(log.named("selftest")) == log.measured("plan")["ktap"] > 0
    assert any(line.startswith("Bytes transferred = ") for line in log.console) and "Starting kernel ..." in log.console


def test_a_missing_kernel_fails_the_job(tmp_path):
    lava_or_skip((*packages.LAVA, *packages.emulator("riscv64")), root=True)
    path = lava.execute("qemu-riscv64", lava.job("qemu-riscv64", tmp_path.as_uri()), tmp_path)
    log = lava.read_log(path.read_text(errors="replace").splitlines(True))
    assert any(line.startswith("lava job: fail") for line in lava.judge(log))


def test_packages_that_cannot_be_had_leave_nothing(tmp_path, monkeypatch):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package'; exit 100\n")
    (fake / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    with pytest.raises(Problem, match="^lava-dispatcher could not be unpacked: Unable to locate package"):
        packages.unpacked(("lava-dispatcher",), tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists() and not list(places.BUILD.glob("scratch-*/*.deb"))
