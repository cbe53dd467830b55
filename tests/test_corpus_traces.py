# SPDX-License-Identifier: MIT
"""`quire replay` over the corpus's page traces: captured from a running Linux, with facts counted by other means.

QUIRE_CORPUS names the corpus. Without one the tests are skipped and say so; tests/test_replay.py stands in for them."""
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("QUIRE_CORPUS", ROOT.parent / "shared" / "corpus"))
SECONDS = 300


def traces():
    found = sorted(CORPUS.glob("traces/page/*.ptrace.gz"))
    if not found:
        return [pytest.param(None, id="no-traces", marks=pytest.mark.skip(reason=f"no page traces in {CORPUS}"))]
    return [pytest.param(path, id=path.name) for path in found]


def replay(*words):
    done = subprocess.run([ROOT / "quire", "replay", "--json", *map(str, words)], capture_output=True, text=True,
                          timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def facts(trace):
    lines = Path(str(trace).removesuffix(".gz") + ".facts").read_text().splitlines()
    return {key: int(value) for key, value in (line.split()[:2] for line in lines) if value.isdigit()}


@pytest.mark.parametrize("trace", traces())
def test_a_trace_is_served_and_comes_apart_again(trace):
    found = replay(trace)
    expected = facts(trace)
    assert expected.keys() == {"events", "peak_live_pages", "live_at_end_blocks", "live_at_end_pages"}
    assert {key: found[key] for key in expected} == expected
    assert found["not_served"] == 0
    assert found["blocks_after_all_freed"] << 21 == found["memory_bytes"]
    assert found["samples"][-1]["used_pages"] == expected["live_at_end_pages"]
    for sample in found["samples"]:
        assert sample["used_pages"] + sample["free_pages"] == found["memory_bytes"] // 4096
        assert sample["whole_blocks"] <= sample["possible_blocks"]


@pytest.mark.parametrize("trace", traces())
def test_where_memory_is_short_only_requests_fail(trace):
    """Half of what the trace needs at its peak: much is refused, nothing goes wrong."""
    expected = facts(trace)
    found = replay(trace, "--memory", str(expected["peak_live_pages"] // 512))
    assert found["not_served"] > 0
    assert found["blocks_after_all_freed"] << 21 == found["memory_bytes"]
