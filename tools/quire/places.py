# SPDX-License-Identifier: MIT
"""Where things lie. Everything that `quire` makes is under build/, except Meson's subproject cache."""
import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

import ui

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
LOG = BUILD / "log"


def log_file(name):
    LOG.mkdir(parents=True, exist_ok=True)
    return LOG / f"{name}.txt"


def shown(path):
    """A path as people write it: relative to the project if it lies there."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def may_build():
    """False in somebody else's tree, or one that cannot be written to. What was built there can still be run."""
    lock_file = BUILD / "lock"
    return os.access(lock_file, os.W_OK) if lock_file.exists() else os.access(BUILD.parent, os.W_OK)


@contextlib.contextmanager
def scratch():
    """A folder that is gone afterwards."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="scratch-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def lock():
    """One quire at a time installs, configures and builds in this tree. The lock ends with the process."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ui.say("another quire is building in this tree; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        os.set_inheritable(file.fileno(), False)
        yield
