# SPDX-License-Identifier: MIT
"""Command lines: a table of options per command gives the parser, the messages and the help.

An option's value is the next word, whatever it looks like, so `--qemu-arg -d` and `--append "a b"` need no
tricks; `--option=value` works too."""
import difflib
import textwrap
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Callable

from ui import Problem


@dataclass(frozen=True)
class Option:
    name: str                       # "--cpus"
    value: str | None               # what the help calls its value; None: a switch
    help: str
    convert: Callable = str         # raises ValueError with what is wrong
    repeat: bool = False            # a list of values
    choices: tuple = ()
    others: dict = field(default_factory=dict)  # what one may take for a choice, and what each is instead
    may_be_empty: bool = False      # else an empty value is refused: mostly a script's variable that is not set

    @property
    def key(self):
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self):
        return f"{self.name} {self.value}" if self.value else self.name


@dataclass(frozen=True)
class Operand:
    name: str                       # "ISA"
    choices: tuple                  # empty: any word
    default: str | None = None      # None: it must be given
    help: str = ""                  # where there are no choices


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    run: Callable
    operands: tuple = ()
    options: tuple = ()
    text: str = ""                  # more help
    passes_on: str = ""             # not empty: all words go to another program; what the usage calls them
    examples: tuple = field(default=())


def usage_error(message):
    return Problem(message, status=2)


def did_you_mean(word, choices):
    # 0.65 still takes "rum" for "run", but not "--bogus" for "--cpus" or "foo" for "boot".
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.65)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(choices)})"


def check_choice(kind, word, choices):
    if word not in choices:
        raise usage_error(f"{kind} \"{word}\" is not known{did_you_mean(word, choices)}")
    return word


def convert(option, word):
    if not word and not option.may_be_empty:
        raise usage_error(f"{option.name} has an empty value: {option.usage}")
    if word in option.others:
        raise usage_error(f"{option.name}: {word} is {option.others[word]}")
    if option.choices:
        return check_choice(option.name, word, option.choices)
    try:
        return option.convert(word)
    except ValueError as error:
        raise usage_error(f"{option.name} {word}: {error}") from None


def take_option(command, given, word, rest):
    """Stores the option that `word` names; its value may come from `rest`."""
    name, equals, value = word.partition("=")
    option = next((o for o in command.options if o.name == name), None)
    if option is None:
        known = [o.name for o in command.options]
        raise usage_error(f"quire {command.name} has no option {name}"
                          + (did_you_mean(name, known) if known else ""))
    if option.value is None:
        if equals:
            raise usage_error(f"{name} takes no value")
        value = True
    elif not equals:
        if not rest:
            raise usage_error(f"{name} needs a value: {option.usage}")
        value = rest.pop(0)
    if option.value is not None:
        value = convert(option, value)
    if option.repeat:
        given[option.key].append(value)
    else:
        given[option.key] = value


def parse(command, words):
    """The options and operands of a command, by name, or None if help was asked for."""
    given = {o.key: [] if o.repeat else None for o in command.options}
    operands = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return None
        if word.startswith("-") and word != "-":
            take_option(command, given, word, rest)
        else:
            operands.append(word)
    for i, operand in enumerate(command.operands):
        if i >= len(operands) and operand.default is None:
            raise usage_error(f"quire {command.name} needs {operand.name}: {operand.help or ', '.join(operand.choices)}")
        word = operands[i] if i < len(operands) else operand.default
        if not word:
            raise usage_error(f"quire {command.name}: {operand.name} is empty")
        given[operand.name.lower()] = check_choice(operand.name, word, operand.choices) if operand.choices else word
    if len(operands) > len(command.operands):
        raise usage_error(f"quire {command.name}: \"{operands[len(command.operands)]}\" is one argument too many")
    return SimpleNamespace(**given)


def help_text(command):
    words = [o.name if o.default is None else f"[{o.name}]" for o in command.operands]
    words += [f"[{o.usage}]" + ("…" if o.repeat else "") for o in command.options]
    words += [command.passes_on] if command.passes_on else []
    words = [word.replace(" ", "\0") for word in words]  # "[--cpus N]" stays on one line
    usage = textwrap.fill(" ".join([f"usage: quire {command.name}", *words]), 100, subsequent_indent=" " * 8,
                          break_long_words=False, break_on_hyphens=False).replace("\0", " ")
    lines = [usage, "", command.summary[0].upper() + command.summary[1:] + "."]
    if command.text:
        lines += ["", command.text.strip()]
    if command.operands or command.options:
        rows = [(o.name, (o.help or ", ".join(o.choices)) + (f" (default {o.default})" if o.default else ""))
                for o in command.operands]
        rows += [(o.usage, o.help) for o in command.options]
        width = max(len(left) for left, _ in rows)
        lines += [""] + [textwrap.fill(right, 100, initial_indent=f"  {left:{width}}  ",
                                       subsequent_indent=" " * (width + 4)) for left, right in rows]
    if command.examples:
        lines += ["", "Examples:"] + [f"  {example}" for example in command.examples]
    return "\n".join(lines)
