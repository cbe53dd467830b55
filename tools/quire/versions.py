# SPDX-License-Identifier: MIT
"""Which versions of the emulator and of firmware are here. What they can do differs between Debian's releases, and is
found out by asking them, not by knowing the release."""
import functools
import re
import subprocess
from pathlib import Path

import packages


@functools.cache
def qemu(isa):
    """Of QEMU for an ISA, which is installed if it is not there, as (7, 2); None: it does not say."""
    packages.ensure(packages.emulator(isa))
    said = subprocess.run([f"qemu-system-{isa}", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    match = re.match(r"QEMU emulator version (\d+)\.(\d+)", said)
    return match and (int(match[1]), int(match[2]))


@functools.cache
def uboot(image):
    """Of the U-Boot in a file, as (2023, 1), from its banner; None: there is none."""
    try:
        match = re.search(rb"U-Boot (20\d\d)\.(\d\d)", Path(image).read_bytes())
    except OSError:
        return None
    return match and (int(match[1]), int(match[2]))


def shown(version):
    """As people write it: 7.2, 2023.01."""
    return f"{version[0]}.{version[1]:02d}" if version[0] >= 2000 else f"{version[0]}.{version[1]}"
