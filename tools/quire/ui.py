# SPDX-License-Identifier: MIT
"""What people see: one line per step, one line per problem. Both go to standard error, so that standard output
holds nothing but what was asked for."""
import shutil
import sys
import time

LIVE = sys.stderr.isatty()


class Problem(Exception):
    """Something that the user should read: one line, and the status that the command ends with."""

    def __init__(self, message, status=1, details=()):
        super().__init__(message)
        self.status = status
        self.details = list(details)


def say(text):
    print(text, file=sys.stderr, flush=True)


def complain(problem):
    for line in problem.details:
        say(f"    {line}")
    say(f"quire: {problem}")


def plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Step:
    """A step of work that shows itself when there is something to tell: `with Step("build") as step: step.note("1/9")`.
    On a terminal the line is redrawn in place; in a log there is one line at the start and, if the step took
    long, one at the end."""

    def __init__(self, title):
        self.title = title
        self.shown = False
        self.start = time.monotonic()

    def note(self, text=""):
        if LIVE:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + f"{self.title} {text}"[:width] + "\x1b[K", end="", file=sys.stderr, flush=True)
        elif not self.shown:
            say(f"{self.title} …")
        self.shown = True

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        seconds = time.monotonic() - self.start
        if not self.shown:
            return
        result = f"{self.title}: {'done' if kind is None else 'failed'}, {seconds:.1f} s"
        if LIVE:
            say(f"\r{result}\x1b[K")
        elif seconds > 10:
            say(result)
