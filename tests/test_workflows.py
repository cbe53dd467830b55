# SPDX-License-Identifier: MIT
"""The workflows of GitHub and GitLab cannot be run here. What can go stale in them can be seen: each `quire` command is
taken by the parser of the command itself, every part of the matrix is run by somebody, and what is kept is what is
written."""
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/quire"))

import options  # noqa: E402

GITHUB = sorted((ROOT / ".github/workflows").glob("*.yml"))
GITLAB = ROOT / ".gitlab-ci.yml"


@pytest.fixture
def commands(monkeypatch, capsys):
    """The table of all commands, from the program itself, whose end is kept from ending us."""
    monkeypatch.setattr(sys, "argv", ["quire", "help"])
    monkeypatch.setattr(sys, "exit", lambda status: None)
    return runpy.run_path(str(ROOT / "tools/quire/__main__.py"), run_name="__main__")["COMMANDS"]


def github_jobs(path):
    return yaml.safe_load(path.read_text())["jobs"].values()


def steps(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def gitlab_jobs():
    entries = yaml.safe_load(GITLAB.read_text()).items()
    return {name: entry for name, entry in entries if isinstance(entry, dict) and "script" in entry}


def scripts():
    for path in GITHUB:
        for job in github_jobs(path):
            yield path.name, steps(job)
    for name, job in gitlab_jobs().items():
        yield name, job["script"]


def quire_words(lines):
    """The words of each call of quire, with what the service fills in filled in."""
    for line in lines:
        if "./quire" in line:
            line = re.sub(r"\$\{\{[^}]*\}\}|\$CI_NODE_\w+", "3", line)
            yield shlex.split(line.partition("./quire ")[2])


def test_there_are_workflows():
    assert [path.name for path in GITHUB] == ["matrix.yml", "test.yml"]
    calls = [words[0] for _, lines in scripts() for words in quire_words(lines)]
    assert sorted(calls) == ["matrix", "matrix", "test", "test"]


def test_every_call_is_one_that_quire_takes(commands):
    for _, lines in scripts():
        for words in quire_words(lines):
            assert words[0] in commands
            given = options.parse(commands[words[0]], words[1:])
            if words[0] == "matrix":
                assert given.full and given.shard and given.junit and given.kcidb


def test_every_part_of_the_matrix_has_a_runner():
    job, = github_jobs(ROOT / ".github/workflows/matrix.yml")
    shards = job["strategy"]["matrix"]["shard"]
    assert shards == list(range(1, len(shards) + 1)) and job["strategy"]["fail-fast"] is False
    assert any("--shard ${{ matrix.shard }}/${{ strategy.job-total }}" in line for line in steps(job))
    gitlab = gitlab_jobs()["matrix"]
    assert gitlab["parallel"] > 1
    assert any('--shard "$CI_NODE_INDEX/$CI_NODE_TOTAL"' in line for line in gitlab["script"])


def test_what_is_written_is_kept():
    job, = github_jobs(ROOT / ".github/workflows/matrix.yml")
    upload, = (step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    gitlab = gitlab_jobs()["matrix"]["artifacts"]
    assert upload["if"] == "always()" and "${{ matrix.shard }}" in upload["with"]["name"] and gitlab["when"] == "always"
    for files in (upload["with"]["path"].split(), gitlab["paths"]):
        assert set(files) == {"junit.xml", "kcidb.json", "build/log"}
    assert gitlab["reports"] == {"junit": "junit.xml"}
    for lines in (steps(job), gitlab_jobs()["matrix"]["script"]):
        assert any("--junit junit.xml --kcidb kcidb.json" in line for line in lines)


def test_nothing_goes_on_after_a_failed_command():
    text = "".join(path.read_text() for path in (*GITHUB, GITLAB))
    assert "|| true" not in text and "continue-on-error" not in text and "allow_failure" not in text
