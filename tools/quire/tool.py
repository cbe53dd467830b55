# SPDX-License-Identifier: MIT
"""Other people's programs that do a step of the work, and say why if they cannot."""
import subprocess

from ui import Problem


def run(words, **options):
    """Runs a program to its end, and returns its output. Problem: the last line of what it complains about."""
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Problem(f"{words[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stdout
