# SPDX-License-Identifier: MIT
"""`quire replay`: small traces with known results, malformed ones with the line that is wrong."""
import gzip
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests/fixtures/tiny.ptrace"
HEADER = "# page-trace-1 test\n"


def replay(*words):
    return subprocess.run([ROOT / "quire", "replay", *map(str, words)], capture_output=True, text=True, timeout=300)


def replayed(tmp_path, text, *words):
    path = tmp_path / "trace"
    path.write_text(text)
    done = replay(path, "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_samples(found):
    pages = found["memory_bytes"] // 4096
    for sample in found["samples"]:
        assert sample["used_pages"] + sample["free_pages"] == pages
        assert sample["whole_blocks"] <= sample["possible_blocks"] == sample["free_pages"] // 512
        unusable = sample["unusable_permille"]
        assert unusable == sorted(unusable) and unusable[0] == 0 and unusable[-1] <= 1000


def test_the_small_trace():
    found = json.loads(replay(TINY, "--json").stdout)
    assert (found["events"], found["allocs"], found["frees"], found["nodes"], found["cpus"]) == (9, 5, 4, 2, 4)
    assert found["peak_live_pages"] == 512 + 600 + 8
    assert (found["live_at_end_blocks"], found["live_at_end_pages"]) == (2, 9)
    assert [sample["used_pages"] for sample in found["samples"]] == [1, 513, 1113, 1112, 1120, 1070, 520, 521, 9]
    assert found["not_served"] == found["strangers"] == 0
    assert found["blocks_after_all_freed"] << 21 == found["memory_bytes"] == 8 << 20
    check_samples(found)


def test_the_table_says_the_same():
    done = replay(TINY)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "5 allocations, 4 frees; at most 4.4 MiB at a time; 4 CPUs, 2 nodes, 8 MiB of memory"
    assert [line.split()[0] for line in lines[4:13]] == [str(event) for event in range(1, 10)]
    assert lines[-1].endswith("4 whole 2 MiB blocks: all there are")


def test_packed(tmp_path):
    packed = tmp_path / "trace.gz"
    packed.write_bytes(gzip.compress(TINY.read_bytes()))
    assert replay(packed).stdout == replay(TINY).stdout
    packed.write_bytes(packed.read_bytes()[:40])
    done = replay(packed)
    assert done.returncode == 1 and "cannot be unpacked" in done.stderr and done.stderr.count("\n") == 1


def test_a_checkerboard_is_seen(tmp_path):
    """Every second frame of 4 MiB stays: nothing above order 0 is left."""
    text = HEADER + "".join(f"A {i} 0 0 0 0 0\n" for i in range(1024)) + "".join(f"F {i} 0\n" for i in range(0, 1024, 2))
    last = replayed(tmp_path, text, "--memory", "4M")["samples"][-1]
    assert last["used_pages"] == last["free_pages"] == 512
    assert last["whole_blocks"] == 0 and last["unusable_permille"][9] == 1000


def test_what_finds_no_memory_is_counted(tmp_path):
    found = replayed(tmp_path, HEADER + "A 1 9 0 0 0 0\nA 2 9 0 0 0 0\nA 3 9 0 0 0 0\nF 3 0\nF 1 0\n", "--memory", "4M")
    assert found["not_served"] == 1 and found["blocks_after_all_freed"] == 2
    assert [sample["used_pages"] for sample in found["samples"]] == [512, 1024, 1024, 1024, 512]


def test_a_partial_trace_may_free_what_it_never_saw(tmp_path):
    found = replayed(tmp_path, "# page-trace-1 test partial\nF 9 0\nA 9 0 0 0 0 0\nF 9 0\nF 9 0\n")
    assert (found["events"], found["strangers"]) == (2, 2)


def test_an_empty_trace(tmp_path):
    found = replayed(tmp_path, HEADER)
    assert found["samples"] == [] and found["events"] == 0


@pytest.mark.parametrize("line, says", [
    ("A 1 0 0 0 0", "not `A id order flags node type cpu`"),
    ("A 1 0 0 0 0 0 0", "not `A id order flags node type cpu`"),
    ("R 1 0 0 0 0", "not `R id count flags node type cpu`"),
    ("A 1 x 0 0 0 0", "not `A id"),
    ("A 1 -1 0 0 0 0", "not `A id"),
    ("A 99999999999999999999 0 0 0 0 0", "not `A id"),
    ("A1 0 0 0 0 0", "not `A id"),
    ("A", "not `A id"),
    ("A 1 21 0 0 0 0", "the order is above 20"),
    ("R 1 0 0 0 0 0", "the count is not 1 to 1048576 frames"),
    ("R 1 1048577 0 0 0 0", "the count is not 1 to 1048576 frames"),
    ("A 1 0 0 64 0 0", "the node is above 63"),
    ("A 1 0 0 0 0 1024", "the CPU is above 1023"),
    ("F 7 1024", "the CPU is above 1023"),
    ("F 7", "not `F id cpu` or `F id cpu offset count`"),
    ("F 7 0 1", "not `F id cpu` or `F id cpu offset count`"),
    ("F 8 0", "8 is not allocated"),
    ("A 7 0 0 0 0 0", "7 is allocated already"),
    ("F 7 0 0 0", "7 has no such frames left"),
    ("F 7 0 4 1", "7 has no such frames left"),
    ("F 7 0 1 18446744073709551615", "7 has no such frames left"),
    ("F 7 0 3 1", "a part of this was freed before"),
    ("X 1", "begins with none of A, R, F and #"),
    ("a 1 0 0 0 0 0", "begins with none of A, R, F and #"),
    ("F 7 0\0", "holds a zero byte"),
])
def test_malformed_lines_are_named(tmp_path, line, says):
    path = tmp_path / "trace"
    path.write_text(HEADER + "A 7 2 0 0 0 0\nF 7 0 3 1\n" + line + "\n")
    done = replay(path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"quire: {path}: line 4: {says}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words, says, status", [
    ([], "quire replay needs FILE", 2),
    (["nowhere.ptrace"], "nowhere.ptrace: No such file", 1),
    ([ROOT / "README.md"], "README.md: not a page trace", 1),
    ([TINY, "--memory", "2T"], "--memory 2T: more than 1 TiB", 2),
    ([TINY, "--memory", "much"], "--memory much: not a size", 2),
    ([TINY, TINY], "is one argument too many", 2),
    ([TINY, "--jsno"], "did you mean --json?", 2),
])
def test_wrong_arguments(words, says, status):
    done = replay(*words)
    assert done.returncode == status and says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
