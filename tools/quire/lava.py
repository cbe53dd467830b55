# SPDX-License-Identifier: MIT
"""quire lava: job definitions for LAVA, the software that runs labs of boards, and their judgement.

A target is one entry of TARGETS. All of them are tested in the same way: LAVA waits for the monitor's prompt (test case
"boot"), types `selftest`, and reads the report from the console as test cases. What differs is how the kernel gets
there: QEMU loads it, or a board's U-Boot, from LAVA's TFTP server.

LAVA calls a job passed when its commands ended, even if test cases failed or never came. So a job's log is judged by
judge(): every case passed or skipped, as many as planned, and the report whole by its own sum.

The QEMU jobs can be run here, without a server, by LAVA's own dispatcher. Its package wants systemd, lvm and kernel
headers, so it is unpacked into build/ instead of being installed; nothing of LAVA runs when quire does not."""
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import build
import emulator
import ktap
import packages
import places
import ui
from options import Command, Option
from ui import Problem

FOLDER = places.BUILD / "lava"
UNPACKED = ("lava-dispatcher", "lava-dispatcher-host", "lava-server")      # the server: for its device types only
PROMPT = "quire> "

# Together these see one report of the self-tests. LAVA searches what has arrived so far, so no pattern may match half a
# line: all of them want its end, and leave that to the next. Starts and ends consume nothing that another looks for.
# A terminal between QEMU and LAVA adds a carriage return to that of the kernel.
RESULTS = r"(?=\n(?:(?:not )?ok \d|# ))"            # the first line after the plan
TOTALS = r"(?=# totals: )"
MONITORS = (
    {"name": "plan", "start": "(?=KTAP version 1)", "end": RESULTS,
     "pattern": r"(?P<test_case_id>KTAP) version 1\r*\n1\.\.(?P<measurement>\d+)(?=\r*\n)"},
    # The lookahead takes the name; then `result` is the directive if there is one, else the verdict.
    {"name": "selftest", "start": RESULTS, "end": TOTALS,
     "pattern": r"\n(?=(?:not )?ok \d+ (?P<test_case_id>\S+))(?:ok \d+ \S+ # )?(?P<result>not ok|ok|SKIP)"
                r"(?: [^\r\n]*)?(?=\r*\n)",
     "fixupdict": {"ok": "pass", "not ok": "fail", "SKIP": "skip"}},
    {"name": "totals", "start": TOTALS, "end": r"\n",
     "pattern": r" (?P<test_case_id>pass|fail|skip):(?P<measurement>\d+)(?=\s)"},
)


@dataclass(frozen=True)
class Target:
    """What a job runs on."""
    isa: str
    device_type: str            # LAVA's name for it
    dtb: str | None = None      # the board's device tree, as Linux names its source; None: QEMU makes its own
    context: dict = field(default_factory=dict)     # what the device type is told


def qemu(isa, machine, cpu, *more):
    return Target(isa, "qemu", context={
        "arch": isa, "no_kvm": "true", "memory": "1G", "machine": machine, "cpu": cpu,
        "extra_options": ["-smp 4", *more]})


TARGETS = {
    "qemu-x86_64": qemu("x86_64", "q35", "max", "-machine q35", "-cpu max"),   # its device type drops both for x86_64
    "qemu-riscv64": qemu("riscv64", "virt", "rv64"),
    "qemu-aarch64": qemu("aarch64", "virt", "cortex-a57"),
    "bcm2711-rpi-4-b": Target("aarch64", "bcm2711-rpi-4-b", "broadcom/bcm2711-rpi-4-b.dtb"),
    "rk3399-rock-pi-4b": Target("aarch64", "rk3399-rock-pi-4b", "rockchip/rk3399-rock-pi-4b.dtb"),
    "hifive-unleashed-a00": Target("riscv64", "hifive-unleashed-a00", "sifive/hifive-unleashed-a00.dtb"),
    "jh7100-visionfive-v1": Target("riscv64", "jh7100-starfive-visionfive-v1",
                                   "starfive/jh7100-starfive-visionfive-v1.dtb"),
    "jh7110-visionfive-2": Target("riscv64", "jh7110-starfive-visionfive-2-v1.3b",
                                  "starfive/jh7110-starfive-visionfive-2-v1.3b.dtb"),
}


# ---- Job definitions --------------------------------------------------------------------------------------

def kernel_name(isa):
    return f"quire-{isa}.img"


def loading(target, base):
    """The actions that bring the kernel to its prompt."""
    kernel = {"url": f"{base}/{kernel_name(target.isa)}"}
    if target.dtb is None:
        return [{"deploy": {"to": "tmpfs", "images": {"kernel": {"image_arg": "-kernel {kernel}", **kernel}}}},
                {"boot": {"method": "qemu", "media": "tmpfs"}}]
    tree = {"url": f"{base}/dtb/{target.dtb}"}
    return [{"deploy": {"to": "tftp", "kernel": {**kernel, "type": "image"}, "dtb": tree}},
            {"boot": {"method": "u-boot", "commands": "ramdisk"}}]


def testing():
    """The actions from the prompt on. The interactive one ends with the echo and leaves the report to the monitors."""
    script = [{"command": None, "name": "boot"},
              {"command": "selftest", "name": "selftest", "successes": [{"message": "selftest"}],
               "wait_for_prompt": False}]
    return [{"test": {"interactive": [{"name": "quire", "prompts": [PROMPT], "script": script}]}},
            {"test": {"monitors": [dict(monitor) for monitor in MONITORS]}}]


def job(name, base):
    """A job definition. base: the URL of the folder that holds kernels, and dtb/ for boards."""
    target = TARGETS[name]
    return {"job_name": f"quire self-tests, {name}", "device_type": target.device_type, "visibility": "public",
            "priority": "medium",
            "timeouts": {"job": {"minutes": 15}, "action": {"minutes": 5}, "connection": {"minutes": 5}},
            **({"context": target.context} if target.context else {}),
            "actions": loading(target, base) + testing()}


def text(definition):
    import yaml                 # comes by name, like all packages: see packages.py
    return yaml.safe_dump(definition, sort_keys=False, width=1000)


def write(folder, base):
    """Jobs, and the kernels that they load, in a folder that a web server can show. Returns the files of the jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    for isa in build.ISAS:
        shutil.copyfile(build.kernel(isa).image, folder / kernel_name(isa))
    files = {name: folder / f"{name}.yaml" for name in TARGETS}
    for name, path in files.items():
        path.write_text(text(job(name, base or folder.resolve().as_uri())))
    return files


# ---- Judgement --------------------------------------------------------------------------------------------

NUMBER = re.compile(r"\d+(\.0*)?")


@dataclass
class Log:
    """What a job's log tells: the console, and LAVA's test cases in the order in which they came."""
    console: list = field(default_factory=list)
    cases: list = field(default_factory=list)       # LAVA's dictionaries

    def named(self, suite):
        return [case for case in self.cases if case.get("definition") == suite]

    def measured(self, suite):
        """The numbers of a suite, by their names; what is no number is left out."""
        return {case["case"]: int(float(case["measurement"])) for case in self.named(suite)
                if NUMBER.fullmatch(str(case.get("measurement")))}


def read_log(lines):
    """The log that lava-run prints, and that a server offers as log_file/plain: an entry of YAML per line, which on a
    server makes a list. Lines that are no such entry are what Python or the shell said, and are passed over."""
    import yaml
    log = Log()
    for line in lines:
        line = line.removeprefix("- ")
        try:
            entry = yaml.safe_load(line) if line.startswith("{") else {}
        except yaml.YAMLError:
            continue
        if entry.get("lvl") == "target":
            log.console.append(str(entry.get("msg", "")))
        elif entry.get("lvl") == "results" and isinstance(entry.get("msg"), dict) and "case" in entry["msg"]:
            log.cases.append(entry["msg"])
    return log


def judge(log):
    """What is wrong with a job, a line each; none: it passed. The report on the console counts as well as LAVA's cases,
    so that neither a lost line nor a pattern that misses one makes a success."""
    for case in log.cases:
        if case.get("result") not in ("pass", "skip"):
            yield f"{case.get('definition')} {case.get('case')}: {case.get('result')}" + \
                (f" ({case['error_msg']})" if case.get("error_msg") else "")
    if "job" not in [case["case"] for case in log.named("lava")]:
        yield "the log has no end"
    planned = log.measured("plan").get("ktap")
    results = [case.get("result") for case in log.named("selftest")]
    if not planned:
        yield "LAVA saw no test plan"
    elif planned != len(results):
        yield f"{planned} tests planned, LAVA saw {len(results)}"
    if log.measured("totals") != {word: results.count(word) for word in ("pass", "fail", "skip")}:
        yield "the totals are not those of the cases that LAVA saw"
    report = ktap.parse("\n".join(log.console), 1)
    if report.problem:
        yield f"console: {report.problem}"
    elif report.count != len(results):
        yield f"{report.count} results on the console, LAVA saw {len(results)}"


def tell(name, log):
    """One line for a good job; Problem for another."""
    wrong = list(judge(log))
    if wrong:
        raise Problem(f"{name} failed", details=wrong)
    results = [case["result"] for case in log.named("selftest")]      # judged: they are there
    boot = next((case for case in log.cases if case.get("case") == "boot"), {})
    ui.say(f"{name}: {results.count('pass')} passed, {results.count('skip')} skipped of "
           f"{log.measured('plan')['ktap']} planned; prompt after {boot.get('duration', '?')} s")


# ---- LAVA itself ------------------------------------------------------------------------------------------

SCHEMA = "/usr/share/lava-common/lava-schema.py"

# What lava-run is started through: a place for its files, and no libguestfs, which only jobs with overlays need.
LAUNCHER = """
import runpy, sys, types
sys.modules["guestfs"] = types.ModuleType("guestfs")
import lava_common.constants
lava_common.constants.DISPATCHER_DOWNLOAD_DIR = sys.argv[1]
program = sys.argv[2]
sys.argv = sys.argv[2:]
runpy.run_path(program, run_name="__main__")
"""


def validate(files):
    """Lets LAVA's schema check job definitions. Returns what it says about them; nothing: all are good."""
    packages.ensure(packages.LAVA_SCHEMA)
    done = subprocess.run([sys.executable, SCHEMA, "job", "--strict", *map(str, files)], capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if not line.startswith("* ")]
    return said or (done.stderr.splitlines()[-1:] if done.returncode else [])


def device(root, target, lab):
    """LAVA's own description of a device, as a server makes it from the device type, the lab's settings and the job's
    context."""
    import jinja2
    types = jinja2.FileSystemLoader(root / "usr/share/lava-server/device-types")
    template = jinja2.Environment(loader=types, autoescape=False).get_template(f"{target.device_type}.jinja2")
    return template.render(lab | target.context)


def execute(name, definition, folder, lab=None, address="127.0.0.1"):
    """Runs a job definition through lava-run. Returns its log, which is kept in build/log. lab: settings of the device,
    which QEMU needs none of. address: where the device finds what is deployed."""
    if os.geteuid() != 0:
        raise Problem("LAVA's lava-run works as root only")
    target = TARGETS[name]
    packages.ensure((*packages.LAVA, *packages.emulator(target.isa)))
    root = packages.unpacked(UNPACKED, FOLDER / "unpacked")
    (folder / "device.yaml").write_text(device(root, target, lab or {}))
    (folder / "dispatcher.yaml").write_text(f"dispatcher_ip: {address}\n")
    (folder / "job.yaml").write_text(text(definition))
    log = places.log_file(f"lava-{name}")
    command = [sys.executable, "-c", LAUNCHER, folder / "tmp", root / "usr/bin/lava-run", "--job-id", "1",
               "--output-dir", folder / "output", "--device", folder / "device.yaml",
               "--dispatcher", folder / "dispatcher.yaml", folder / "job.yaml"]
    with open(log, "w") as output:
        subprocess.run(emulator.bound_to_us([*map(str, command)]), cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                       stderr=subprocess.STDOUT, env=os.environ | {
                           "PYTHONPATH": str(root / "usr/lib/python3/dist-packages")})
    return log


def run_here(isa):
    name = f"qemu-{isa}"
    base = build.kernel(isa).image.parent.as_uri()
    with places.scratch() as folder, ui.Step(f"LAVA job {name}") as step:
        step.note()
        path = execute(name, job(name, base), folder)
    with open(path, errors="replace") as lines:
        tell(f"{name} ({places.shown(path)})", read_log(lines))


def lava(options):
    tasks = [name for name, given in (("--judge", options.judge), ("--run", options.run),
                                      ("-o or --url", options.o or options.url)) if given]
    if len(tasks) > 1:
        raise Problem(f"{' and '.join(tasks)} are different tasks: choose one", status=2)
    packages.ensure(("yaml",))
    if options.judge:
        with open(options.judge, errors="replace") as lines:
            tell(options.judge, read_log(lines))
        return 0
    if options.run:
        run_here(options.run)
        return 0
    folder = Path(options.o or FOLDER / "jobs")
    files = write(folder, options.url and options.url.rstrip("/"))
    wrong = validate(files.values())
    if wrong:
        raise Problem("LAVA refuses these jobs", details=wrong)
    ui.say(f"{ui.plural(len(files), 'job')} in {places.shown(folder)}, valid by LAVA's schema; boards want their "
           "device tree in dtb/ there")
    return 0


LAVA = Command(
    "lava", "writes job definitions for LAVA labs, or runs one on QEMU here", lava,
    options=(Option("-o", "DIR", "where to write jobs and kernels (default build/lava/jobs)"),
             Option("--url", "BASE", "where the lab will find that folder (default: its file:// URL)"),
             Option("--run", "ISA", "run the QEMU job of this ISA here, by LAVA's dispatcher, and judge it",
                    choices=build.ISAS),
             Option("--judge", "LOG", "judge a job that a lab has run by its log: status 0 only if all planned tests "
                    "came and none failed")),
    text="Targets: " + ", ".join(TARGETS) + ".",
    examples=("quire lava -o site --url https://example.org/quire", "quire lava --run riscv64",
              "quire lava --judge plain.log"))
