# SPDX-License-Identifier: MIT
"""Changes to device trees, by the device tree compiler's fdtput."""
import tool


def fdtput(path, options, words):
    """options: what comes before the file's name; words: what comes behind it."""
    tool.run(["fdtput", *options, str(path), *words])


def two_cells(number):
    """A number of 64 bits as a property has it."""
    return [number >> 32, number & 0xffffffff]


def put(path, node, properties):
    """Adds a node if it is not there, and properties to it: text, or lists of cells."""
    fdtput(path, ["-p", "-c"], [node])
    for name, value in properties.items():
        text = isinstance(value, str)
        fdtput(path, ["-t", "s" if text else "x"], [node, name, *([value] if text else (f"{cell:x}" for cell in value))])
