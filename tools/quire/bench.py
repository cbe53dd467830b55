# SPDX-License-Identifier: MIT
"""quire bench: what things cost."""
import bench_kernel
import build
from options import Command, Operand, Option

SUBJECTS = {"kernel": bench_kernel.kernel}


def bench(options):
    return SUBJECTS[options.subject](options)


BENCH = Command(
    "bench", "measures what the allocator costs", bench,
    operands=(Operand("SUBJECT", tuple(SUBJECTS)), Operand("ISA", (*build.ISAS, "all"), "all")),
    options=(Option("--json", None, "the figures as JSON, with budgets and bars"),),
    text="kernel  instructions per operation and at worst, inside the kernel: exact, the same on every run\n\n"
         "Standard output has a line per figure: NAME N for one ISA, ISA NAME N for all. The status is 1 if one\n"
         "exceeds its budget in tests/bench/kernel_budgets.toml.",
    examples=("quire bench kernel", "quire bench kernel riscv64"))
