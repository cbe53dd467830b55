# SPDX-License-Identifier: MIT
"""What must fail, must fail in a way that a person and a script understand."""
from boot import HANG, Boot
from machine import STATUS_FAILED, Machine

FAULTS = {
    "read": "page fault on CPU", "write": "page fault on CPU", "exec": "page fault on CPU",
    "rodata": "page fault on CPU", "illegal": "illegal instruction on CPU", "stack": "stack overflow on CPU",
    "panic": "quire stops: as asked for",
}


def faults(isa):
    for name, message in FAULTS.items():
        backtrace = "call_data|command_fault" if name == "exec" else f"fault_{name}|hal_overflow_stack"
        yield Boot(f"fault {name}", Machine(isa, cpus=2), f"fault {name}", status=STATUS_FAILED,
                   expect=(rf"^\*\*\* {message}", r"^  backtrace:", backtrace))
    yield Boot("fault breakpoint", Machine(isa, cpus=1), "fault breakpoint; stat", expect=("^breakpoint at 0x",))


def commands(isa):
    yield Boot("a command that does not exist", Machine(isa, cpus=1), "stat; nonsense; stat", status=STATUS_FAILED,
               expect=("^nonsense: no such command",))
    yield Boot("an allocation that cannot be", Machine(isa, cpus=1), "alloc 8G", status=STATUS_FAILED,
               expect=("not allocated",))
    yield Boot("a free of what is not allocated", Machine(isa, cpus=1), "free 0x1000 1", status=STATUS_FAILED,
               expect=("not freed",))
    yield Boot("a benchmark that does not exist", Machine(isa, cpus=1), "bench empty nonsense", status=STATUS_FAILED,
               expect=("^usage: bench ",), refuse=("_max",))


def options(isa):
    yield Boot("options that do not exist", Machine(isa, cpus=1, append="paging=sv99 nonsense cpus=0"), "stat",
               expect=('option "paging=sv99"', 'option "nonsense"', 'option "cpus=0"'))
    yield Boot("fewer CPUs than there are", Machine(isa, cpus=4, append="cpus=2"), "cpus; selftest base",
               expect=("^cpus: 2 of ",))


def hangs(isa):
    yield Boot("a hang", Machine(isa, cpus=1, extra=("-S",)), "", status=HANG, timeout=1.5)


def boots(isa):
    for group in (faults, commands, options, hangs):
        yield from group(isa)
