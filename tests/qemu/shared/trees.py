# SPDX-License-Identifier: MIT
"""Device trees for tests: QEMU's own with changes, or made from source."""
import subprocess

import devicetree
import tool


def changed(*changes):
    """For Boot.prepare: boots with QEMU's own device tree after fdtput made `changes`. Each is fdtput's options, and last
    a tuple of what comes behind the file's name."""
    def prepare(command, folder):
        tree = str(folder / "machine.dtb")
        tool.run([*command, "-M", f"dumpdtb={tree}"])
        for change in changes:
            devicetree.fdtput(tree, change[:-1], change[-1])
        return ["-dtb", tree]
    return prepare


def compiled(source):
    return subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source.encode(), check=True,
                          capture_output=True).stdout
