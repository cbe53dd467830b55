# SPDX-License-Identifier: MIT
"""The quire command itself: what it says, and the status that it ends with, when things go well and when they do not.

Where QEMU matters, a program of ours stands in for it, so that it can die in every way."""
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUIRE = str(ROOT / "quire")
sys.path.insert(0, str(ROOT / "tools/quire"))

import boards  # noqa: E402
import boot  # noqa: E402
import build  # noqa: E402
import emulator  # noqa: E402
import ktap  # noqa: E402
import lint  # noqa: E402
import machine  # noqa: E402
import packages  # noqa: E402
import versions  # noqa: E402
from ui import Problem  # noqa: E402


def quire(*words, path=None, typed="", limit=120, cwd=None):
    environment = os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})
    return subprocess.run([QUIRE, *words], capture_output=True, text=True, input=typed, timeout=limit,
                          env=environment, cwd=cwd)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


# ---- Arguments -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, says", [
    (["rum"], 'command "rum" is not known; did you mean run?'),
    (["run", "risc64"], 'ISA "risc64" is not known; did you mean riscv64?'),
    (["run", "--cpu"], "--cpu needs a value"),
    (["run", "--cpus", "zero"], "--cpus zero: not a number"),
    (["run", "--cpus", "0"], "--cpus 0: must be 1 to"),
    (["run", "--mem", "much"], "--mem much: not a size"),
    (["run", "--mem", "-1G"], "--mem -1G: not a size"),
    (["run", "--timeout", "-3"], "--timeout -3: not a number of seconds"),
    (["run", "--memory", "1G"], "has no option --memory; did you mean --mem?"),
    (["run", "riscv64", "aarch64"], '"aarch64" is one argument too many'),
    (["run", "--initrd", "/nonexistent"], "--initrd /nonexistent: no such file"),
    (["run", "riscv64", "--cpus", "2", "--nodes", "4"], "4 nodes need --cpus 4 or more"),
    (["run", "aarch64", "--nodes", "4", "--mem", "2M"], "4 nodes need at least 4 MiB"),
    (["run", "--release", "--clang"], "two builds"),
    (["run", "riscv64", "--boot", "uefi"], "there is no uefi on riscv64: EDK2 for riscv64 needs QEMU 8.1"),
    (["run", "aarch64", "--boot", "uboot", "--nodes", "2"], "uboot-efi on aarch64 takes one node only: U-Boot"),
    (["run", "--boot", "lilo"], '--boot "lilo" is not known'),
    (["run", "riscv64", "--board", "raspi3b"], "raspi3b is a board for aarch64: quire run aarch64 --board raspi3b"),
    (["run", "aarch64", "--board", "pi3"], '--board "pi3" is not known (known: raspi3b, '),
    (["run", "aarch64", "--board", "raspi3b", "--cpus", "2"], "raspi3b has 4 CPUs, not 2"),
    (["run", "riscv64", "--board", "sifive_u", "--mem", "512M"], "sifive_u has 1G to 8G of memory, not 512M"),
    (["run", "riscv64", "--board", "sifive_u", "--nodes", "2"], "--nodes cannot change that"),
    (["run", "riscv64", "--board", "sifive_u", "--cpu", "max"], "--cpu cannot change them"),
    (["run", "aarch64", "--board", "raspi3b", "--boot", "uefi"], "raspi3b is booted by direct only, not by uefi"),
    (["run", "--append", "a -- map", "--exec", "map"], "--exec cannot add to them"),
    (["run", "--exec", "x" * 3000], "the kernel takes 2047"),
    (["run", "--release=yes"], "--release takes no value"),
    (["test", "--suite", "boots"], 'did you mean boot?'),
    (["run", "--bogus"], "quire run has no option --bogus (known: --cpus, "),
    (["test", "--suite", "foo"], '"foo" is not known (known: lint, '),
    (["test", "--isa", "mips"], '--isa "mips" is not known'),
    (["debug"], "quire debug needs ISA"),
    (["bench"], "quire bench needs SUBJECT"),
    (["bench", "kernel", "mips"], 'ISA "mips" is not known'),
    (["help", "tests"], 'did you mean test?'),
])
def test_wrong_arguments_get_one_line_and_status_2(words, says):
    done = quire(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("quire: ")
    assert says in done.stderr


@pytest.mark.parametrize("command", ["run", "image", "test", "bench", "inspect", "replay", "debug", "setup"])
def test_help_is_the_same_in_both_places(command):
    asked, option = quire("help", command), quire(command, "--help")
    assert asked.returncode == option.returncode == 0
    assert asked.stdout == option.stdout
    assert asked.stdout.startswith(f"usage: quire {command}")
    assert command in quire().stdout


@pytest.mark.parametrize("version, says", [
    ("7.2.22 (Debian 1:7.2+dfsg-7)", "needs QEMU 9.0 or newer; this is 7.2"), ("9.0.0", None), ("10.1.50 (v10.1)", None)])
def test_a_board_that_qemu_is_too_old_for(fake, monkeypatch, version, says):
    folder = fake(f"echo 'QEMU emulator version {version}'", "qemu-system-aarch64")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    versions.qemu.cache_clear()
    reason = boards.unavailable("raspi4b")
    versions.qemu.cache_clear()
    assert reason is None if says is None else says in reason


def test_help_of_inspect_tells_what_files_it_takes():
    told = quire("inspect", "some.file", "--help").stdout
    for word in ("fdt", "acpi", "phys", "e820", "efi", "topo", "apic.dat", "--json", "--efi-desc-size", "KIND"):
        assert word in told


# ---- The machine -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, size", [("32M", 32 << 20), ("1G", 1 << 30), ("512", 512 << 20), ("1.5g", 3 << 29),
                                        ("100k", 96 << 10), ("2GiB", 2 << 30)])
def test_sizes(text, size):
    assert machine.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1X", "-1", "0", "1 G", "0x10", "4K"])
def test_wrong_sizes(text):
    with pytest.raises(ValueError):
        machine.parse_size(text)


@pytest.mark.parametrize("cpus, nodes, mem", [(4, 4, 2048), (7, 3, 1001), (2, 4, 64), (64, 64, 64)])
def test_nodes_share_everything(cpus, nodes, mem):
    sizes = machine.node_sizes(mem << 20, nodes)
    assert sum(sizes) == mem << 20 and max(sizes) - min(sizes) <= 1 << 20
    ranges = [r for r in machine.node_cpus(cpus, nodes) if r]
    assert [cpu for first, last in ranges for cpu in range(first, last + 1)] == list(range(cpus))


def test_distances_are_symmetric_and_smallest_at_home():
    for a in range(8):
        for b in range(8):
            assert machine.node_distance(a, b, 8) == machine.node_distance(b, a, 8) >= 10
            assert (machine.node_distance(a, b, 8) == 10) == (a == b)


def test_kernel_line():
    plain = machine.Machine("riscv64")
    assert machine.kernel_line(plain, None) == "qemu-exit"
    assert machine.kernel_line(plain, "") == "qemu-exit --"
    assert machine.kernel_line(machine.Machine("riscv64", append="paging=sv39"), "map; nodes") == \
        "qemu-exit paging=sv39 -- map; nodes"


# ---- QEMU's end ------------------------------------------------------------------------------------------

@pytest.fixture
def fake(tmp_path):
    """fake(script): a folder for PATH whose QEMU, for riscv64 if not named, is that shell script."""
    def make(script, name="qemu-system-riscv64"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(tmp_path)
    return make


@pytest.mark.parametrize("script, status, says", [
    ("echo fine; exit 33", 0, None),
    ("exit 35", 1, "a command failed, or the kernel stopped"),
    ("exit 0", 1, "ended without a status"),
    ("echo 'qemu-system-riscv64: no such CPU' >&2; exit 1", 1, "ended with status 1: no such CPU"),
    ("kill -SEGV $$", 1, "was ended by SIGSEGV"),
    ("exec sleep 100", 1, "no end within 1 s"),
    ("trap '' TERM; while :; do sleep 1; done", 1, "no end within 1 s"),
    ("while :; do echo line; done", 1, "no end within 1 s"),
])
def test_what_the_end_of_qemu_means(fake, script, status, says):
    done = quire("run", "riscv64", "--exec", "map", "--timeout", "1", path=fake(script))
    assert done.returncode == status
    if says:
        assert says in last_line(done)
    else:
        assert done.stdout == "fine\n"


def test_firmware_chatter_is_shown_only_if_nothing_follows(fake):
    banner = "printf '\\nOpenSBI v1.1\\r\\n  logo\\r\\nBoot HART MEDELEG         : 0x0\\r\\n'; "
    assert quire("run", "--exec", "", path=fake(banner + "printf 'kernel\\r\\n'; exit 33")).stdout == "kernel\n"
    assert "logo" in quire("run", "--exec", "", path=fake("printf '\\nOpenSBI v1.1\\n logo\\n'; exit 0")).stdout


def test_typed_lines_wait_for_the_prompt_and_end_with_poweroff(fake):
    path = fake("echo \"early [$(timeout 0.3 cat)]\"; printf 'quire> '; while read line; do echo \"got $line\"; "
                "[ \"$line\" = poweroff ] && exit 33; done")
    done = quire("run", path=path, typed="map\nnodes\n")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == ["early []", "quire> got map", "got nodes"] and lines[-1] == "got poweroff"


def alive(mark):
    return any(mark in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
               for pid in os.listdir("/proc") if pid.isdigit() and os.path.exists(f"/proc/{pid}/cmdline"))


def comes_true(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_emulator_outlives_quire(fake, number):
    mark = f"98765.{int(number)}"
    path = fake(f"echo started; exec sleep {mark}")
    process = subprocess.Popen([QUIRE, "run", "--exec", "map"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"},
                               # What was started in the background ignores SIGINT, and its children inherit that.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline() == b"started\n"
    assert comes_true(lambda: alive(mark))
    process.send_signal(number)
    status = process.wait(20)
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert comes_true(lambda: not alive(mark))


def test_on_a_terminal_the_machine_gets_the_keys(fake):
    """A real QEMU would set the terminal to raw; here it is enough that the keys arrive and the status returns."""
    path = fake("printf 'quire> '; read line; echo \"got $line\"; exit 33")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PATH"] = f"{path}:{os.environ['PATH']}"
        os.execv(QUIRE, [QUIRE, "run", "riscv64"])
    shown = b""
    while b"quire> " not in shown:
        shown += os.read(terminal, 4096)
    assert b"Ctrl-A X ends QEMU" in shown
    os.write(terminal, b"map\r")
    while b"got map" not in shown:
        shown += os.read(terminal, 4096)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_output_that_nobody_reads_is_no_crash(fake):
    path = fake("while :; do echo line; done")
    done = subprocess.run(f"{QUIRE} run --exec map --timeout 20 | head -1", shell=True, capture_output=True, text=True,
                          env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}, timeout=60)
    assert done.stdout == "line\n" and done.stderr == ""


def test_real_qemu_complains_in_one_line():
    done = quire("run", "riscv64", "--cpu", "no-such-model", "--exec", "map")
    assert done.returncode == 1
    assert "ended with status 1: unable to find CPU model 'no-such-model'" in last_line(done)
    assert "Traceback" not in done.stderr


# ---- Other commands --------------------------------------------------------------------------------------

def test_debug_stops_at_kmain():
    done = quire("debug", "riscv64", "--cpus", "1", typed="info program\nquit\n")
    assert done.returncode == 0
    assert "Breakpoint 1, kmain (" in done.stdout


def test_inspect_takes_paths_from_where_it_is_called(tmp_path):
    (tmp_path / "map").mkdir()
    (tmp_path / "map/small.map").write_text("0x0 0x9f000 1\n0x100000 0x8000000 1\n")
    done = quire("inspect", "--json", "e820:map/small.map", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usable_bytes"] == 0x9f000 + 0x7f00000
    assert quire("inspect", "map/none.dtb", cwd=tmp_path).returncode == 1


def test_inspect_runs_where_it_cannot_be_built(tmp_path, monkeypatch):
    monkeypatch.setattr(build.places, "BUILD", tmp_path)
    monkeypatch.setattr(build, "hosted", lambda target: tmp_path / "new")
    program = tmp_path / "host" / build.INSPECT
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / "lock").touch()
    assert build.inspect() == tmp_path / "new" / build.INSPECT
    monkeypatch.setattr(build.places.os, "access", lambda path, mode: False)
    assert build.inspect() == program
    program.unlink()
    assert build.inspect() == tmp_path / "new" / build.INSPECT


def test_a_missing_tool_is_named_with_its_package(monkeypatch):
    monkeypatch.setitem(packages.TOOLS, "dtc", (lambda: False, "device-tree-compiler"))
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(Problem, match="device-tree-compiler"):
        packages.ensure(["dtc"])


def test_without_root_and_sudo_the_command_is_named(monkeypatch):
    monkeypatch.setitem(packages.TOOLS, "dtc", (lambda: False, "device-tree-compiler"))
    monkeypatch.setattr(packages, "privilege", lambda: None)
    with pytest.raises(Problem, match="apt-get install device-tree-compiler"):
        packages.ensure(["dtc"])


# ---- The pieces that judge -------------------------------------------------------------------------------

def report(*lines):
    """As the kernel prints one."""
    body = "".join(f"{line}\n" for line in (f"1..{len(lines)}", *lines))
    return f"KTAP version 1\n{body}# totals: pass:0 fail:0 skip:0 crc:{zlib.crc32(body.encode()):08x}\n"


def test_ktap_counts_each_kind():
    found = ktap.parse("KTAP version 1\n1..4\nok 1 a.b\n# file.c:3: no\nnot ok 2 a.c\n"
                       "ok 3 a.d # SKIP one node\nok 4 - e\n")
    assert found.passed == ["a.b", "e"]
    assert found.failed == [("a.c", "file.c:3: no")]
    assert found.skipped == [("a.d", "one node")]
    assert found.problem is None


@pytest.mark.parametrize("text, problem", [("", "no test plan"), ("ok 1 a\n", "no test plan"),
                                           ("1..3\nok 1 a\n", "3 tests planned, 1 reported"),
                                           ("1..2\nok 2 b\nok 1 a\n", "result 2 where 1 was to come"),
                                           ("1..1\n1..1\nok 1 a\n", "1 tests planned, 0 reported")])
def test_ktap_that_breaks_off_is_noticed(text, problem):
    assert problem in ktap.parse(text).problem


REPORTS = (report("ok 1 a.b", "not ok 2 a.c", "ok 3 a.d # SKIP one node") + "quire> selftest pt\n" +
           report("ok 1 e.f", "ok 2 e.g"))


def test_several_reports_count_together():
    found = ktap.parse(REPORTS, reports=2)
    assert (found.passed, [name for name, _ in found.failed], len(found.skipped)) == (["a.b", "e.f", "e.g"], ["a.c"], 1)
    assert found.problem is None


def test_a_report_of_nothing_is_no_success():
    assert "no tests" in ktap.parse(report(), reports=1).problem


def test_a_console_that_loses_or_changes_any_byte_makes_no_success():
    """What turns into another report at least says that something is wrong with it; noise between the lines may stay."""
    good = ktap.parse(REPORTS, reports=2)
    for at in range(len(REPORTS)):
        for broken in (REPORTS[:at] + REPORTS[at + 1:], REPORTS[:at] + "x" + REPORTS[at:], REPORTS[:at] + "\n" + REPORTS[at:],
                       REPORTS[:at] + REPORTS[at + 7:], REPORTS[:at]):
            found = ktap.parse(broken, reports=2)
            same = (found.passed, found.failed, found.skipped) == (good.passed, good.failed, good.skipped)
            assert found.problem or same, broken


GOOD = report("ok 1 a.b", "ok 2 a.c # SKIP one node").replace("\n", "\\n")
BAD = report("ok 1 a.b", "not ok 2 a.c").replace("not ok", "# x.c:1: wrong\nnot ok").replace("\n", "\\n")


@pytest.mark.parametrize("script, wanted, passed, failed, says", [
    (f"printf '{GOOD}'; exit 33", {}, 2, 0, ""),                                   # the boot itself counts as one
    (f"printf '{BAD}'; exit 35", {}, 2, 1, "a.c: x.c:1: wrong"),
    (f"printf '{GOOD}'; exit 0", {}, 1, 1, "ended without a status"),
    (f"printf '{GOOD}'; exit 35", {}, 1, 1, "a command failed"),
    (f"printf '{GOOD}'; exec sleep 60", {}, 1, 1, "no end within 1 s"),
    ("echo nothing; exit 33", {}, 0, 1, "no test plan"),
    (f"printf '{BAD}'; exit 33", {}, 2, 1, "a.c: x.c:1: wrong"),
    (f"printf '{GOOD}'; exit 33", {"status": 35}, 1, 1, "although it must not"),
    (f"printf '{GOOD}'; exit 33", {"expect": ("^zones",)}, 1, 1, "lacks /^zones/"),
    (f"printf '{GOOD}'; exit 33", {"refuse": ("a.b",)}, 1, 1, 'holds "a.b"'),
    (f"printf '{GOOD}'; exit 33", {"check": lambda output: "odd"}, 1, 1, "odd"),
    (f"printf '{GOOD}'; exec sleep 60", {"timeout": 60, "silence": 1}, 1, 1, "no end within 1 s"),
    ("exec sleep 60", {"script": "", "status": boot.HANG}, 1, 0, ""),
])
def test_what_a_boot_test_makes_of_a_boot(fake, monkeypatch, script, wanted, passed, failed, says):
    monkeypatch.setenv("PATH", f"{fake(script)}:{os.environ['PATH']}")
    test = boot.Boot("a fake", machine.Machine("riscv64"), **{"timeout": 1} | wanted)
    result = boot.run(test, build.Kernel("riscv64", Path("elf"), Path("image"))).result("boot", test.name)
    assert (result.passed, result.failed) == (passed, failed)
    assert says in "\n".join(result.details)


def test_the_test_command_reports_to_machines():
    done = quire("test", "--suite", "lint", "--json")
    report = json.loads(done.stdout)
    assert report["passed"] + report["failed"] == len(lint.RULES)
    assert done.returncode == (1 if report["failed"] else 0)


def test_a_problem_without_message_is_still_one_line():
    assert emulator.Outcome("qemu", 2, 1.0).problem() == "qemu ended with status 2: no message"


@pytest.mark.parametrize("name, text, rule", [
    ("kernel/x.c", "/* SPDX-License-Identifier: MIT */\n#ifdef __riscv\n#endif\n", lint.no_arch_conditions),
    ("mm/topo/x.c", "/* SPDX-License-Identifier: MIT */\n#include <mm/frame.h>\n", lint.layers_in_order),
    ("mm/include/mm/memmap.h", "/* SPDX-License-Identifier: MIT */\n#include <mm/topo.h>\n", lint.layers_in_order),
    ("mm/frame/x.c", "/* SPDX-License-Identifier: MIT */\n#include <kernel/console.h>\n", lint.layers_in_order),
    ("docs/x.md", "see /" + "home/someone/quire\n", lint.no_machine_paths),
    ("boot/x.c", "int x;\n", lint.licence_lines),
])
def test_lint_finds_what_it_is_for(tmp_path, monkeypatch, name, text, rule):
    monkeypatch.setattr(lint.places, "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(list(rule([path]))) == 1
