# SPDX-License-Identifier: MIT
"""`quire inspect` against the corpus: real firmware inputs whose facts were worked out without this project.

QUIRE_CORPUS names the corpus (default: ../shared/corpus beside the project), QUIRE_INSPECT the program. Every fact
that the corpus states about memory, nodes, CPUs and distances is compared, and every hostile input gets its
verdict. Without a corpus the tests are skipped and say so; tests/test_inspect.py stands in for them.
"""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = pathlib.Path(os.environ.get("QUIRE_CORPUS", ROOT.parent / "shared" / "corpus"))
INSPECT = os.environ.get("QUIRE_INSPECT", "")
SECONDS = 20


def inputs(*patterns):
    found = sorted(path for pattern in patterns for path in CORPUS.glob(pattern))
    if not found:
        reason = f"no corpus at {CORPUS} (QUIRE_CORPUS names one)"
        return [pytest.param(None, id="no-corpus", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=str(path.relative_to(CORPUS))) for path in found]


def inspect(*arguments):
    assert INSPECT, "QUIRE_INSPECT does not name the inspect program"
    return subprocess.run([INSPECT, "--json", *map(str, arguments)], capture_output=True, text=True,
                          timeout=SECONDS, check=False)


def machine(*arguments):
    result = inspect(*arguments)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return json.loads(result.stdout)


class Facts:
    """Lines of `key value...`."""

    def __init__(self, path):
        lines = [line.split() for line in path.read_text().splitlines()]
        self.rows = [line for line in lines if line and not line[0].startswith("#")]

    def all(self, key):
        return [row[1:] for row in self.rows if row[0] == key]

    def has(self, key):
        return any(row[0] == key for row in self.rows)

    def number(self, key):
        return int(self.all(key)[0][0], 0)

    def ranges(self, key):
        return [(int(row[0], 0), int(row[1], 0)) for row in self.all(key)]

    def by_node(self, key):
        """{node: [the rest of each row]}"""
        found = {}
        for row in self.all(key):
            found.setdefault(int(row[0], 0), []).append(row[1:])
        return found


def spans(items):
    return [(int(item["start"], 16), int(item["end"], 16)) for item in items]


def union(ranges):
    merged = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif start < end:
            merged.append((start, end))
    return merged


def usable(found):
    return union(spans([region for region in found["regions"] if region["type"] == "usable"]))


def nodes(found):
    return {node["id"]: node for node in found["nodes"]}


def check_shape(found):
    """What holds for every machine."""
    regions = spans(found["regions"])
    assert all(start < end for start, end in regions)
    assert all(a[1] <= b[0] for a, b in zip(regions, regions[1:]))
    assert found["usable_bytes"] == sum(end - start for start, end in usable(found))
    assert sum(zone["frames"] for zone in found["zones"] if zone["zone"] != "Device") == found["usable_frames"]
    order = [node["id"] for node in found["nodes"]]
    assert order == sorted(order)
    for node, fallback in zip(found["nodes"], found["fallback"], strict=True):
        assert fallback[0] == node["id"] and sorted(fallback) == order
        distance = dict(zip(order, node["distances"], strict=True))
        assert fallback[1:] == sorted(fallback[1:], key=lambda other: (distance[other], other))


def check_sums(found, facts, names):
    for key, fact in names.items():
        value = found[key]
        assert (int(value, 16) if isinstance(value, str) else value) == facts.number(fact), key


# ---- Device trees ----------------------------------------------------------------------------------------

def check_dtb_memory(found, facts):
    check_sums(found, facts, {
        "usable_bytes": "free_total", "usable_frames": "free_frames_4k", "usable_below_16m": "free_below_16m",
        "usable_below_4g": "free_below_4g", "memory_bytes": "memory_total", "highest_end": "memory_highest_end"})
    assert usable(found) == facts.ranges("free")


def check_dtb_reservations(found, facts):
    reserved = [item for item in found["reserved"] if item["source"] == "fdt"]
    assert union(spans(reserved)) == facts.ranges("reserved_union")
    listed = {(item["name"], *span, item["type"] == "no-map") for item, span in zip(reserved, spans(reserved))}
    for name, start, end, *rest in facts.all("reserved_static"):
        wanted = (name, int(start, 16), int(end, 16), "nomap=1" in rest)
        if wanted[1] < wanted[2]:
            assert (wanted in listed) == ("disabled=1" not in rest), wanted
    for start, size in facts.ranges("memreserve"):
        assert ("memreserve", start, start + size, False) in listed
    wishes = {wish["name"]: wish for wish in found["dynamic_reserved"]}
    for name, size, align, ranges, nomap, *rest in facts.all("reserved_dynamic"):
        if "disabled=1" in rest:
            assert name not in wishes
            continue
        wish = wishes[name]
        assert f"size={wish['size']:#x}" == size and f"align={wish['align']:#x}" == align
        assert f"nomap={wish['no_map']:d}" == nomap and f"reusable={wish['reusable']:d}" == rest[0]
        if ranges != "alloc_ranges=-":
            start, length = (int(part, 16) for part in ranges.removeprefix("alloc_ranges=").split("+"))
            assert spans(wish["ranges"]) == [(start, start + length)]


def check_dtb_topology(found, facts):
    listed = nodes(found)
    for node, rows in facts.by_node("node_memory").items():
        assert spans(listed[node]["ranges"]) == [(int(a, 16), int(b, 16)) for a, b in rows]
    for node, rows in facts.by_node("node_total").items():
        assert listed[node]["bytes"] == int(rows[0][0])
    order = list(listed)
    for node, to, distance in facts.all("distance"):
        assert listed[int(node)]["distances"][order.index(int(to))] == int(distance)
    for node, count in facts.all("cpus_on_node"):
        assert len(listed[0 if node == "-" else int(node)]["cpus"]) == int(count)


@pytest.mark.parametrize("path", inputs("dtb/*/*.dtb", "boot/*/fdt.dtb"))
def test_dtb(path):
    facts, found = Facts(path.with_suffix(".facts")), machine(path)
    check_shape(found)
    check_dtb_memory(found, facts)
    check_dtb_reservations(found, facts)
    check_dtb_topology(found, facts)
    assert found["platform"]["model"] == " ".join(facts.all("model")[0])[:63]


# ---- ACPI ------------------------------------------------------------------------------------------------

def check_srat(found, facts):
    listed = nodes(found)
    for domain, rows in facts.by_node("domain_memory").items():
        assert spans(listed[domain]["ranges"]) == [(int(a, 16), int(b, 16)) for a, b in rows]
    for domain, rows in facts.by_node("domain_total").items():
        assert f"bytes={listed[domain]['bytes']}" == rows[0][0]


def check_srat_cpus(found, facts):
    for row in facts.all("srat_cpu"):
        values = dict(item.split("=") for item in row)
        if values["enabled"] == "1":
            assert int(values["id"], 0) in nodes(found)[int(values["domain"])]["cpus"]
    memory_only = [str(node["id"]) for node in found["nodes"] if node["memory_only"]]
    assert (memory_only or ["-"]) == facts.all("memory_only_domains")[0]


def check_slit(found, facts):
    listed = nodes(found)
    order = list(listed)
    for domain, *row in facts.all("row"):
        for to, distance in enumerate(row):
            assert listed[int(domain)]["distances"][order.index(to)] == int(distance)


def check_madt(found, facts):
    rows = [dict(item.split("=") for item in row) for row in facts.all("madt_cpu")]
    enabled = [int(row["id"], 0) for row in rows if row["enabled"] == "1"]
    kinds = {row["kind"] for row in rows}
    cpus = [cpu for node in found["nodes"] for cpu in node["cpus"]]
    if kinds <= {"lapic", "x2apic"}:
        assert sorted(cpus) == sorted(set(enabled))
    elif kinds == {"gicc"}: # the facts count interfaces, we name CPUs by MPIDR
        assert len(cpus) == facts.number("madt_enabled_cpus")
    else: # the facts' tool does not know RINTC
        assert kinds == {"rintc"} and len(cpus) == len(rows)


def checksum_wrong(path):
    return any("checksum_ok=0" in row for row in Facts(path.with_suffix(".facts")).all("sig"))


@pytest.mark.parametrize("path", inputs("acpi/*/*.bin", "boot/*/acpi/*.bin"))
def test_acpi_table(path):
    facts = Facts(path.with_suffix(".facts"))
    if checksum_wrong(path):
        assert inspect(path).returncode == 1
        return
    found = machine(path)
    check_shape(found)
    signature = path.name[:4]
    if signature == "SRAT":
        check_srat(found, facts)
        check_srat_cpus(found, facts)
    elif signature == "SLIT":
        check_slit(found, facts)
    elif signature == "APIC":
        check_madt(found, facts)


def check_tables(found, folder):
    for signature, check in {"SRAT": check_srat, "SLIT": check_slit, "APIC": check_madt}.items():
        facts = folder / f"{signature}.facts"
        if facts.exists():
            check(found, Facts(facts))


@pytest.mark.parametrize("path", inputs("acpi/[!p]*", "boot/*/acpi"))
def test_acpi_folder(path):
    if all(checksum_wrong(table) for table in path.glob("????.bin")):
        assert inspect(path).returncode == 1
        return
    found = machine(path)
    check_shape(found)
    check_tables(found, path)


@pytest.mark.parametrize("path", inputs("acpi/phys/*.phys", "boot/*/acpi.phys"))
def test_phys(path):
    found = machine(path)
    check_shape(found)
    check_tables(found, path.parent / "acpi")
    assert any(node["cpus"] for node in found["nodes"])


# ---- Maps ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", inputs("e820/*.map", "boot/*/e820_raw.map", "boot/*/e820_raw.bin"))
def test_e820(path):
    facts, found = Facts(path.with_suffix(".facts")), machine(path)
    check_shape(found)
    check_sums(found, facts, {
        "usable_bytes": "usable_bytes", "usable_frames": "usable_frames_4k", "usable_below_16m": "usable_below_16m",
        "usable_below_4g": "usable_below_4g", "highest_end": "highest_usable_end"})
    assert usable(found) == facts.ranges("usable")


@pytest.mark.parametrize("path", inputs("efi/*.map", "efi/*.bin", "boot/*/efi_memmap.map", "boot/*/efi_memmap.bin"))
def test_efi(path):
    facts = Facts(path.with_suffix(".facts"))
    found = machine("--efi-desc-size", facts.number("descriptor_size"), path)
    check_shape(found)
    check_sums(found, facts, {
        "usable_bytes": "after_exit_usable_bytes", "usable_below_16m": "after_exit_below_16m",
        "usable_below_4g": "after_exit_below_4g", "memory_bytes": "ram_like_bytes",
        "highest_end": "after_exit_highest_end"})
    assert usable(found) == facts.ranges("after_exit_usable")


# ---- Whole machines and topologies ------------------------------------------------------------------------------

def cut(ranges, holes):
    """ranges without holes"""
    for low, high in holes:
        ranges = [part for start, end in ranges for part in ((start, min(end, low)), (max(start, high), end))
                  if part[0] < part[1]]
    return ranges


def linux_distances(expect):
    rows = {}
    for row in expect.rows:
        if row[0].startswith("linux_node") and row[0][10:].isdigit():
            values = dict(item.split("=", 1) for item in row[1:])
            rows[int(row[0][10:])] = [int(distance) for distance in values["distance"].split(",")]
    return rows


@pytest.mark.parametrize("path", inputs("boot/*/expect.txt"))
def test_boot(path):
    """All that one boot's firmware said, at once, against what Linux made of it."""
    parts = [path.parent / name for name in ("acpi", "e820_raw.bin", "efi_memmap.bin", "fdt.dtb")]
    found, expect = machine(*[part for part in parts if part.exists()]), Facts(path)
    check_shape(found)
    for node, row in linux_distances(expect).items():
        if node in nodes(found): # Linux adds nodes for CXL windows
            assert nodes(found)[node]["distances"] == row[:len(found["nodes"])]
    e820 = path.parent / "e820_raw.facts"
    if not e820.exists() or Facts(e820).all("linux_ranges_vs_map") != [["exact"]]:
        return
    # Linux keeps frame 0 and the legacy window to itself.
    for node, rows in expect.by_node("linux_node_range").items():
        mine = union(spans([region for region in found["regions"]
                            if region["type"] == "usable" and region["node"] == node]))
        whole = [((start + 4095) & ~4095, end & ~4095) for start, end in mine]
        assert cut(whole, [(0, 0x1000), (0xa0000, 0x100000)]) == [(int(a, 16), int(b, 16)) for a, b in rows]


@pytest.mark.parametrize("path", inputs("numa/*.topo"))
def test_numa(path):
    facts, found = Facts(path.with_suffix(".facts")), machine(path)
    check_shape(found)
    assert len(found["nodes"]) == facts.number("nodes")
    for fallback, row in zip(found["fallback"], facts.all("nearest_first"), strict=True):
        assert fallback == [int(node) for node in row[1:]]
    assert sum(node["bytes"] for node in found["nodes"]) == facts.number("total_kb") * 1024
    memory_only = [str(node["id"]) for node in found["nodes"] if node["memory_only"]]
    assert (memory_only or ["-"]) == facts.all("memory_only_nodes")[0]


@pytest.mark.parametrize("folder", ["dtb/arm64", "dtb/riscv64", "dtb/qemu", "e820", "efi", "numa"])
def test_text_fits_a_terminal(folder):
    paths = [path for path in (CORPUS / folder).glob("*") if path.suffix in (".dtb", ".map", ".topo")]
    if not paths:
        pytest.skip(f"no corpus at {CORPUS} (QUIRE_CORPUS names one)")
    for path in paths:
        result = subprocess.run([INSPECT, path], capture_output=True, text=True, timeout=SECONDS, check=True)
        assert max(map(len, result.stdout.splitlines()[1:])) <= 100, path


# ---- Hostile inputs ----------------------------------------------------------------------------------------

def check_accepted(path, expect, found):
    check_shape(found)
    if expect.has("usable_min"):
        assert expect.number("usable_min") <= found["usable_bytes"] <= expect.number("usable_max")
    if expect.all("expect") != [["accept"]]:
        return
    if path.suffix == ".dtb":
        check_sums(found, expect, {"usable_bytes": "free_total", "usable_frames": "free_frames_4k",
                                   "usable_below_4g": "free_below_4g", "memory_bytes": "memory_total",
                                   "highest_end": "memory_highest_end"})
        for node, rows in expect.by_node("node_total").items():
            assert nodes(found)[node]["bytes"] == int(rows[0][0])
    else:
        check_sums(found, expect, {"usable_bytes": "usable_bytes", "usable_frames": "usable_frames_4k",
                                   "usable_below_16m": "usable_below_16m", "usable_below_4g": "usable_below_4g",
                                   "highest_end": "highest_usable_end"})


@pytest.mark.parametrize("path", inputs("corrupt/*/*[!t]"))
def test_corrupt(path):
    expect = Facts(path.with_suffix(".expect"))
    size = ["--efi-desc-size", expect.number("descriptor_size")] if expect.has("descriptor_size") else []
    result = inspect(*size, path)
    verdict = expect.all("expect")[0][0]
    assert result.returncode in (0, 1), result.stderr
    if result.returncode == 1:
        assert verdict != "accept", result.stderr
        assert result.stdout == "" and result.stderr.count("\n") == 1, "one line says what and where"
        return
    assert verdict != "reject", "accepted"
    check_accepted(path, expect, json.loads(result.stdout))
