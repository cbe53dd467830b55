# SPDX-License-Identifier: MIT
"""quire setup: installs at once what the other commands would install when they need it."""
import build
import chains
import libfdt
import packages
import places
import ui
from options import Command, Option


def setup(options):
    isas = (options.isa,) if options.isa else build.ISAS
    tools = [*packages.CLANG, "libfuzzer", "gdb", *packages.TESTS]
    for isa in isas:
        tools += [*packages.compilers(isa), *packages.emulator(isa), *chains.firmware(isa)]
    packages.ensure(tools)
    with places.lock():
        libfdt.ensure()
    ui.say("everything is there")
    return 0


SETUP = Command(
    "setup", "installs what quire needs (the other commands do it by themselves)", setup,
    options=(Option("--isa", "ISA", "only what this ISA needs", choices=build.ISAS),),
    text="Packages come by name through apt, as root or by sudo; nothing else on the system is changed.")
