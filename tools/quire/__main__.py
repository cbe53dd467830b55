# SPDX-License-Identifier: MIT
"""The quire command: finds the command's table entry, parses, runs, and turns every end into a status."""
import os
import signal
import sys

if sys.version_info < (3, 11):
    sys.exit(f"quire: needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}")

import bench
import debug
import image
import lava
import matrix
import options
import replay
import run
import setup
import tests
import ui

COMMANDS = {c.name: c for c in (run.RUN, image.IMAGE, tests.TEST, matrix.MATRIX, bench.BENCH, run.INSPECT, replay.REPLAY,
                                debug.DEBUG, lava.LAVA, setup.SETUP)}


def overview():
    rows = [(c.name, c.summary) for c in COMMANDS.values()] + [("help", "shows this, or a command's options")]
    return "\n".join(["usage: quire COMMAND …", "", *(f"  {name:8} {text}" for name, text in rows), "",
                      "quire help COMMAND tells more. What a command needs is installed when it is needed; all output of "
                      "builds is in build/."])


def show_help(words):
    for word in words[:1]:
        if word not in ("help", "-h", "--help"):
            options.check_choice("command", word, tuple(COMMANDS))
            print(options.help_text(COMMANDS[word]))
            return 0
    print(overview())
    return 0


def dispatch(words):
    if not words or words[0] in ("help", "-h", "--help"):
        return show_help(words[1:])
    name = options.check_choice("command", words[0], (*COMMANDS, "help"))
    command = COMMANDS[name]
    if command.passes_on:
        return show_help([name]) if {"-h", "--help"}.intersection(words[1:]) else command.run(words[1:])
    given = options.parse(command, words[1:])
    return show_help([name]) if given is None else command.run(given)


def ask_to_end(number, frame):
    """SIGTERM and SIGHUP unwind like any other end, so that emulators are stopped on the way."""
    sys.exit(128 + number)


def main():
    signal.signal(signal.SIGTERM, ask_to_end)
    signal.signal(signal.SIGHUP, ask_to_end)
    try:
        return dispatch(sys.argv[1:])
    except ui.Problem as problem:
        ui.complain(problem)
        return problem.status
    except KeyboardInterrupt:
        ui.say("\nquire: interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads our output any more: not worth a word
        return 1
    except OSError as error:
        ui.say(f"quire: {error.filename or 'system'}: {error.strerror}")
        return 1


sys.exit(main())
