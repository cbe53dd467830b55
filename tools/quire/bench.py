# SPDX-License-Identifier: MIT
"""quire bench: what things cost, by subject."""
import bench_frames
import bench_kernel
import build
import ui
from machine import parse_count
from options import Command, Operand, Option

SUBJECTS = {"frames": bench_frames.run, "kernel": bench_kernel.kernel}


def bench(options):
    """Refuses what belongs to the other subject."""
    if options.subject == "frames" and options.isa != "all":
        raise ui.Problem(f"bench frames runs on this machine: it takes no ISA ({options.isa})")
    if options.subject == "kernel" and (options.quick or options.workload or options.reps):
        raise ui.Problem("--quick, --workload and --reps belong to bench frames")
    return SUBJECTS[options.subject](options)


BENCH = Command(
    "bench", "measures what the allocator costs, and compares with the bars that are set", bench,
    operands=(Operand("SUBJECT", tuple(SUBJECTS)), Operand("ISA", (*build.ISAS, "all"), "all")),
    options=(Option("--quick", None, "frames: smaller memory, fewer operations: an indication"),
             Option("--workload", "NAME[,NAME]", "frames: only these: " + ", ".join(bench_frames.WORKLOADS),
                    bench_frames.parse_workloads),
             Option("--reps", "N", f"frames: repetitions (default {bench_frames.REPS}); figures are medians",
                    parse_count(99)),
             Option("--json", None, "the figures as JSON on standard output, with bars and budgets")),
    text="frames  the frame allocator on this machine, on frames without memory behind them, beside two lower bounds:\n"
         "        null, which allocates nothing, and pcpstack, an array per CPU. Times are in ns of CPU time. Every\n"
         "        ratio is taken within one repetition. The status is 0 only if all bars are met. docs/bench.md\n"
         "        tells what each workload does.\n"
         "kernel  instructions per operation and at worst, inside the kernel: exact, the same on every run. A line per\n"
         "        figure: NAME N for one ISA, ISA NAME N for all. The status is 1 if one exceeds its budget in\n"
         "        tests/bench/kernel_budgets.toml.",
    examples=("quire bench frames", "quire bench frames --quick --workload repeat,random", "quire bench kernel riscv64"))
