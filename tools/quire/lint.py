# SPDX-License-Identifier: MIT
"""Rules that a compiler does not check. Each yields lines `file:line: what`; none means that the rule is kept."""
import re
import shutil
import subprocess

import places

C_SUFFIXES = (".c", ".h", ".S")
LAYERS = ("base", "memmap", "topo", "frame", "pt", "slab")
HEADER_LAYER = {"types": "base", "bits": "base", "status": "base", "spinlock": "base", "port": "base"}

ARCH_CONDITION = re.compile(r"#\s*(?:if|ifdef|ifndef|elif)\b.*\b(__x86_64__|__amd64__|__i386__|__riscv\w*|__aarch64__|"
                            r"__arm__|__ARM_\w+|QUIRE_ISA)\b")
INCLUDE = re.compile(r'#\s*include\s*[<"]([^>"]+)[>"]')
MACHINE_PATH = re.compile("(?<![\\w.])/(?:" + "|".join(("home", "root", "Users", "work")) + r")/\w+")
FUNCTION_LINES, FILE_LINES = 40, 600


def project_files():
    """What belongs to the project: what git knows or would add; without git, all but build products."""
    if shutil.which("git") and (places.ROOT / ".git").exists():
        listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=places.ROOT,
                                 capture_output=True, text=True)
        if listing.returncode == 0:
            return sorted(path for name in listing.stdout.splitlines() if (path := places.ROOT / name).is_file())
    return sorted(path for path in places.ROOT.rglob("*") if path.is_file()
                  and path.relative_to(places.ROOT).parts[0] not in ("build", ".git", "subprojects"))


def lines_of(paths):
    for path in paths:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{places.shown(path)}:{number}", line


def c_files(files):
    return [path for path in files if path.suffix in C_SUFFIXES]


def no_arch_conditions(files):
    """No conditional on an architecture outside arch/."""
    outside = [path for path in c_files(files) if path.relative_to(places.ROOT).parts[0] != "arch"]
    for where, line in lines_of(outside):
        if found := ARCH_CONDITION.search(line):
            yield f"{where}: conditional on {found[1]}"


def header_layer(name):
    """The layer of a header as it is included: mm/frame.h, mm/frame_trace.h, ../frame/zone.h; None: not one of mm/'s."""
    parts = name.removesuffix(".h").split("/")
    if parts[0] == "mm" and len(parts) == 2:
        layer = parts[1].partition("_")[0]
        return HEADER_LAYER.get(layer, layer if layer in LAYERS else None)
    return next((part for part in parts[:-1] if part in LAYERS), None)


def file_layer(path):
    parts = path.relative_to(places.ROOT / "mm").parts
    return header_layer("mm/" + parts[-1]) if parts[0] == "include" else parts[0]


def layers_in_order(files):
    """A directory of mm/ never includes a later one, nor anything of the kernel around it."""
    own = [path for path in c_files(files) if path.is_relative_to(places.ROOT / "mm")]
    for path in own:
        layer = file_layer(path)
        for where, line in lines_of([path]):
            if not (found := INCLUDE.match(line)):
                continue
            target = header_layer(found[1])
            if target and layer in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
                yield f"{where}: mm/{layer} includes {found[1]}, of the later mm/{target}"
            if re.match(r"(kernel|boot|drivers)/", found[1]) or found[1] in ("arch/hal.h", "arch/cpu.h"):
                yield f"{where}: mm/ includes {found[1]}"


def no_machine_paths(files):
    """No absolute path of somebody's machine."""
    for where, line in lines_of(files):
        if found := MACHINE_PATH.search(line):
            yield f"{where}: {found[0]}"


def licence_lines(files):
    """Every source file names its licence in its first three lines."""
    for path in files:
        if path.suffix in (*C_SUFFIXES, ".py") and "SPDX-License-Identifier: MIT" not in "".join(
                path.read_text().splitlines(True)[:3]):
            yield f"{places.shown(path)}: no SPDX line"


RULES = (no_arch_conditions, layers_in_order, no_machine_paths, licence_lines)


def sizes(files):
    """For information: what is longer than the habit, in words."""
    long_files = [p for p in c_files(files) + [p for p in files if p.suffix == ".py"]
                  if len(p.read_text().splitlines()) > FILE_LINES]
    functions = [where for path in c_files(files) if path.suffix == ".c" for where in long_functions(path)]
    return f"{len(functions)} functions over {FUNCTION_LINES} lines, {len(long_files)} files over {FILE_LINES}", \
        functions + [places.shown(p) for p in long_files]


def long_functions(path):
    """Function bodies begin and end with a brace in the first column."""
    start = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > FUNCTION_LINES:
                yield f"{places.shown(path)}:{start}: {number - start - 1} lines"
            start = None
