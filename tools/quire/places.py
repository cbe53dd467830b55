# SPDX-License-Identifier: MIT
"""Where things lie. Everything that `quire` makes is under build/, except Meson's subproject cache."""
import contextlib
import fcntl
import os
import shutil
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
def held(folder):
    """Holds a folder's lock, which ends with the process. OSError: another has it, the folder is gone or not ours, or its
    file system knows no such locks."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def sweep():
    """Removes the scratch folders of those who were killed."""
    for folder in BUILD.glob("scratch-*"):
        with contextlib.suppress(OSError), held(folder):
            shutil.rmtree(folder)


@contextlib.contextmanager
def scratch():
    """A folder that is gone afterwards: at the latest when the next one is made."""
    BUILD.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        with open(BUILD / "sweep", "w") as file:    # one at a time: a folder is not yet locked when it appears
            fcntl.flock(file, fcntl.LOCK_EX)
            sweep()
            folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="scratch-")
            with contextlib.suppress(OSError):      # where there are no locks nobody sweeps either
                stack.enter_context(held(folder.name))
        yield Path(stack.enter_context(folder))


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
