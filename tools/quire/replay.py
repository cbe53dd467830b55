# SPDX-License-Identifier: MIT
"""quire replay: a page trace against the frame allocator, hosted, and what became of memory on the way."""
import gzip
import json
import subprocess
import sys
import zlib

import build
from machine import MIB, parse_size
from options import Command, Operand, Option
from ui import Problem, plural

GZIP = b"\x1f\x8b"
ORDERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
PAGE = 4096


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise Problem(f"{path}: cannot be unpacked: {error}") from None


def mib(pages):
    return f"{pages * PAGE / MIB:.1f}"


def row(sample):
    blocks = f"{sample['whole_blocks']}/{sample['possible_blocks']}"
    return (f"{sample['events']:>10} {mib(sample['used_pages']):>10} {mib(sample['free_pages']):>10} {blocks:>13} "
            + "".join(f"{sample['unusable_permille'][order]:>6}" for order in ORDERS))


def table(found):
    events = f"{found['allocs']} allocations, {found['frees']} frees"
    lines = [f"{events}; at most {mib(found['peak_live_pages'])} MiB at a time; {plural(found['cpus'], 'CPU')}, "
             f"{plural(found['nodes'], 'node')}, {found['memory_bytes'] // MIB} MiB of memory", "",
             f"{'':45} permille of free memory in blocks below order",
             f"{'events':>10} {'used MiB':>10} {'free MiB':>10} {'whole 2 MiB':>13} " + "".join(f"{o:>6}" for o in ORDERS)]
    lines += map(row, found["samples"])
    lines += ["", f"{found['not_served']} of {plural(found['allocs'], 'allocation')} found no memory"]
    if found["strangers"]:
        lines.append(f"{plural(found['strangers'], 'free')} of what was allocated before the trace began, left out")
    lines.append("no frame was handed out twice; after all was freed, "
                 f"{plural(found['blocks_after_all_freed'], 'whole 2 MiB block')}: all there are")
    return "\n".join(lines)


def replay(options):
    trace = read(options.file)
    memory = (options.memory or 0) // MIB
    done = subprocess.run([build.page_replay(), str(memory)], input=trace, capture_output=True)
    complaint = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode != 0:
        raise Problem(f"{options.file}: {complaint[0] if complaint else f'ended with status {done.returncode}'}",
                      details=complaint[1:])
    output = done.stdout.decode()
    print(output.rstrip() if options.json else table(json.loads(output)))
    sys.stdout.flush()
    return 0


def parse_memory(text):
    size = parse_size(text)
    if size > 1 << 40:
        raise ValueError("more than 1 TiB")
    return size


REPLAY = Command(
    "replay", "replays a page trace against the frame allocator, and shows fragmentation over time", replay,
    operands=(Operand("FILE", (), help="a page trace, plain or gzip; a console log with one in it will do"),),
    options=(Option("--memory", "SIZE", "of the simulated machine: 512M, 8G, … (default: the trace's peak and a quarter); "
                                        "a plain number counts MiB", parse_memory),
             Option("--json", None, "the same for programs")),
    text="The machine has metadata only, so a trace of any size runs in seconds. Each allocation is checked against a map\n"
         "of what is held. In the table, `whole 2 MiB` counts free blocks and how many free memory could make at best; the\n"
         "columns behind say which permille of free memory lies in blocks too small for an order. docs/traces.md has the\n"
         "format.",
    examples=("quire replay build.ptrace.gz", "quire replay --memory 1G --json build.ptrace.gz"))
