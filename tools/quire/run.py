# SPDX-License-Identifier: MIT
"""quire run, quire inspect."""
import os
import re
import sys
from dataclasses import replace

import boards
import boot
import build
import chains
import emulator
import flash
import ktap
import packages
import places
import ui
from machine import ISAS, Machine, NODES_MAX, STATUS_OK, parse_count, parse_size, with_enough_cpus
from options import Command, Operand, Option
from ui import Problem

EXEC_TIMEOUT = 60.0


def parse_seconds(text):
    seconds = float(text) if text.replace(".", "", 1).isdigit() else 0
    if not 0 < seconds < 1e6:
        raise ValueError("not a number of seconds")
    return seconds


ISA = Operand("ISA", build.ISAS, "riscv64")

MACHINE_OPTIONS = (
    Option("--cpus", "N", "number of CPUs (default 4, or one per node)", parse_count(1024)),
    Option("--mem", "SIZE", "memory: 32M, 1G, … (default 1G); a plain number counts MiB", parse_size),
    Option("--nodes", "N", "cut memory and CPUs into N NUMA nodes that stand in a ring (default 1)",
           parse_count(NODES_MAX)),
    Option("--cpu", "MODEL", "QEMU's CPU model (default "
           + ", ".join(f"{isa.cpu} on {isa.name}" for isa in ISAS.values()) + ")"),
    Option("--boot", "CHAIN", "how the kernel is booted: " + ", ".join(chains.CHAINS) + "; uboot and grub mean their "
           "EFI forms (default direct)", choices=(*chains.CHAINS, *chains.ALIASES)),
    Option("--board", "NAME", "one of QEMU's board models, with the CPUs and the memory that it has: "
           + ", ".join(f"{name} ({board.isa})" for name, board in boards.BOARDS.items()), choices=tuple(boards.BOARDS),
           others={board.name: f"a board to flash: quire image {board.isas[0]} --board {board.name}"
                   for board in flash.BOARDS.values()}),
    Option("--append", "OPTIONS", "kernel options: paging=sv39|sv48|sv57|4|5, cpus=N, directmap=SIZE, movable=SIZE",
           may_be_empty=True),
    Option("--initrd", "FILE", "a file that the boot loader places in memory"),
    Option("--qemu-arg", "A", "one more word for QEMU's command line", repeat=True, may_be_empty=True),
    Option("--exec", "\"CMD; CMD\"", "run these monitor commands, then end; status 0 only if all succeeded",
           may_be_empty=True),
    Option("--release", None, "the release build"),
    Option("--clang", None, "the build by clang and lld"),
)


def machine_from(options):
    usual = boards.machine(options.board) if options.board else Machine(options.isa)
    machine = replace(usual, isa=options.isa, mem=options.mem or usual.mem, nodes=options.nodes or 1,
                      cpus=options.cpus or usual.cpus, cpu=options.cpu, append=options.append or "",
                      initrd=options.initrd and os.path.abspath(options.initrd), extra=tuple(options.qemu_arg),
                      chain=chains.named(options.boot))
    return machine if options.cpus or options.board else with_enough_cpus(machine)


def variant_from(options):
    if options.release and options.clang:
        raise Problem("--release and --clang are two builds: choose one", status=2)
    return "release" if options.release else "clang" if options.clang else "debug"


def write_output(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def image_machine(options):
    """The machine for --image. What is in the image already cannot be given as well."""
    for name in ("append", "initrd", "release", "clang"):
        if getattr(options, name):
            raise Problem(f"--{name} cannot change a given image, which holds kernel, command line and boot archive; "
                          f"`quire image {options.isa} --{name} …` makes one with it", status=2)
    if options.board:
        raise Problem(f"--board {options.board} cannot boot an image: QEMU loads the kernel itself there", status=2)
    chain = chains.named(options.boot) if options.boot else chains.IMAGE_CHAIN[options.isa]
    return replace(machine_from(options), image=os.path.abspath(options.image), chain=chain)


def image_problem(outcome, output, script):
    """Why the run of an image was no success; None if it was one. QEMU's own status does not tell everything: the prompt may
    not have got the commands, and an image made without qemu-exit ends with none. So the console is read as well, and
    nothing that is missing there counts as good. script: what was typed, or None."""
    if outcome.watched and outcome.status == 0:
        return None
    if outcome.status not in (0, STATUS_OK) or outcome.watched:
        return outcome.problem()
    text = emulator.plain(output)
    if found := re.search(r"^\*\*\* .*", text, re.MULTILINE):
        return found[0]
    if script is not None and not re.search(r"^quire> poweroff$", text, re.MULTILINE):
        return "the prompt did not get all commands; does the image run commands of its own?"
    reports = len(re.findall(r"^1\.\.\d+$", text, re.MULTILINE)) if script is None else boot.reports_of(script)
    tests = ktap.parse(text, reports) if reports else ktap.Results()
    if tests.failed:
        return f"{ui.plural(len(tests.failed), 'self-test')} failed: {tests.failed[0][0]}"
    if tests.problem:
        return f"the self-tests' report is not complete: {tests.problem}"
    said = [line for line in text.splitlines() if line in (emulator.SUCCEEDED, emulator.FAILED)]
    if emulator.FAILED in said:
        return "a command failed"
    return None if said or outcome.status == STATUS_OK else "the machine ended without a status and without its last line"


def run_image(options):
    machine = image_machine(options)
    chains.check(machine)
    packages.ensure(chains.tools(machine))
    chains.check_image_files(machine)
    shown = bytearray()

    def write(data):
        shown.extend(data)
        write_output(data)
    with places.scratch() as folder:
        line = chains.command(machine, None, folder=folder)
        if options.exec is None:
            outcome = start(line, options, write)
        else:
            typed = folder / "typed"
            typed.write_text("\n".join(words.strip() for words in options.exec.split(";")))
            with open(typed, "rb") as file:
                outcome = emulator.run(line, write, options.timeout or EXEC_TIMEOUT, typed=file.fileno())
    if problem := image_problem(outcome, shown, options.exec):
        raise Problem(problem)
    return 0


def run(options):
    if options.image:
        return run_image(options)
    machine = machine_from(options)
    variant = variant_from(options)
    chains.check(machine, options.exec)
    packages.ensure((*chains.tools(machine), *packages.compilers(machine.isa, variant)))
    kernel = build.kernel(machine.isa, variant)
    with places.scratch() as folder:
        outcome = start(chains.command(machine, kernel, options.exec, folder), options, write_output)
    if outcome.problem():
        raise Problem(outcome.problem())
    return 0


def start(line, options, write):
    if options.exec is not None:
        return emulator.run(line, write, options.timeout or EXEC_TIMEOUT)
    if sys.stdin.isatty():
        ui.say("Ctrl-A X ends QEMU; Ctrl-A H lists its other keys")
        return emulator.run_on_terminal(line, options.timeout)
    return emulator.run(line, write, options.timeout, typed=sys.stdin.fileno())


def inspect(words):
    program = build.inspect()
    os.execv(program, ["inspect", *words])


RUN = Command(
    "run", "boots the kernel in QEMU, to a prompt or to run commands", run, operands=(ISA,),
    options=MACHINE_OPTIONS + (
        Option("--image", "FILE", "boot this disk, made by quire image, and leave it as it is (--boot: default "
               + ", ".join(f"{chain} on {isa}" for isa, chain in chains.IMAGE_CHAIN.items()) + ")"),
        Option("--timeout", "S", f"give up after S seconds (default {EXEC_TIMEOUT:.0f} with --exec, else none)",
               parse_seconds),),
    text="Without --exec the terminal is the machine's console; Ctrl-A X leaves. From a pipe, lines are typed at the "
         "prompt\nand the end of input powers off. The status is 0 only if the machine ended by itself with "
         "success: a failed command, a\npanic, a hang, a reset and a triple fault are not. On a terminal nobody has to be "
         "told what failed: there the status\ntells whether the machine ended by itself.\n\n"
         "With --image the command line is the image's own; commands of --exec are typed at the prompt, where one that\n"
         "fails does not stop those behind it. Success is also the console's to tell: it must show that the prompt got all\n"
         "commands, complete reports of self-tests without a failure, and no panic; and the kernel's last line must be that\n"
         "all commands succeeded if the image was made without qemu-exit, as the machine then has no status to end with.",
    examples=("quire run riscv64", 'quire run x86_64 --cpus 4 --nodes 4 --mem 2G --exec "map; nodes; zones; selftest"',
              "quire run riscv64 --append paging=sv39", "quire run aarch64 --qemu-arg -d --qemu-arg int"))

INSPECT = Command(
    "inspect", "shows what the kernel would make of a machine, from its firmware's tables", inspect,
    passes_on="[--json] [--efi-desc-size N] [KIND:]FILE…",
    text="""
FILE is one of these; several together describe one machine:
  fdt    a device tree
  acpi   an ACPI table, or a folder of them: files named APIC, SSDT1, APIC.bin, apic.dat
  phys   an image of physical memory with ACPI tables in it (PHYSIMG1)
  e820   a memory map: binary, entries of 20 bytes; or text, lines of START END TYPE
  efi    a memory map: binary, descriptors of N bytes; or text, lines of START END TYPE ATTRIBUTES
  topo   a topology: lines of node ID memtotal_kb N cpus LIST, and distance ID ROW…
KIND is the word on the left; without it the content decides, then the names of the file and its folder.
In text, END is the first address after the range, and # begins a comment.

  --json             the same for programs
  --efi-desc-size N  bytes per descriptor of an EFI map (default 48)""",
    examples=("quire inspect board.dtb", "quire inspect --json e820:map.bin acpi:/sys/firmware/acpi/tables"))
