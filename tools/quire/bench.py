# SPDX-License-Identifier: MIT
"""quire bench: what is measured, by subject."""
import bench_frames
from machine import parse_count
from options import Command, Operand, Option

SUBJECTS = {"frames": bench_frames.run}


def bench(options):
    return SUBJECTS[options.subject](options)


BENCH = Command(
    "bench", "measures, and compares with the bars that are set", bench,
    operands=(Operand("SUBJECT", tuple(SUBJECTS)),),
    options=(Option("--quick", None, "smaller memory, fewer operations: an indication"),
             Option("--workload", "NAME[,NAME]", "only these: " + ", ".join(bench_frames.WORKLOADS),
                    bench_frames.parse_workloads),
             Option("--reps", "N", f"repetitions (default {bench_frames.REPS}); figures are medians", parse_count(99)),
             Option("--json", None, "the results as JSON on standard output")),
    text="frames  the frame allocator on this machine, on frames without memory behind them, beside two lower bounds:\n"
         "        null, which allocates nothing, and pcpstack, an array per CPU. Times are in ns of CPU time. Every\n"
         "        ratio is taken within one repetition. docs/bench.md tells what each workload does.\n\n"
         "The status is 0 only if all bars are met.",
    examples=("quire bench frames", "quire bench frames --quick --workload repeat,random"))
