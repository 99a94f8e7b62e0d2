#!/usr/bin/env -S python3 -B
"""Build the gateware with the open flow: yosys, nextpnr-ecp5, ecppack; then its reports and their page.

    build.py                                 every configuration of configurations.toml
    build.py --only engine-4-tables          one (more names: several)
    build.py --list                          what there is
    build.py --check                         whether reports and page belong to the sources (needs no tool)
    build.py --area --only engine-4-tables   AMD's areas alone, into the report that is there (it must be of these sources)
    build.py --page                          the page alone, anew from the reports

Netlists, logs and bitstreams go to target/bitstream/NAME. Reports go to bitstreams/flow/reports, what work the steps were to
bitstreams/flow/durations.json, the page to bitstreams/doc/area-and-timing.md. Exit status 1: a gate (clock floor, area ceiling) or a step failed.
What is placed and routed has its pins unconstrained; nothing here has been run on hardware.
"""

import argparse
import concurrent.futures
import json
import pathlib
import sys
import time

import durations
import page
import placement
import reports
import sources
import synthesis

TARGET = sources.FLOW.parent.parent / "target/bitstream"


def build(target, entry, watch, progress):
    """Everything of one configuration: its report."""
    name, top, parameters = entry["name"], entry["top"], entry["parameters"]
    place = TARGET / name
    place.mkdir(parents=True, exist_ok=True)
    subject = reports.subject(target, entry)
    files = sources.needed_by(top)

    def area_of(family):
        with watch.time(family):
            return synthesis.for_amd(family, top, parameters, files, place)

    # AMD's families beside place and route: two processes at most.
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as beside:
        amd = {family: beside.submit(area_of, family) for family in (synthesis.AMD_FAMILIES if entry.get("amd", True) else ())}
        progress("yosys: synthesis for ECP5")
        with watch.time("ecp5"):
            netlist, core, warnings = synthesis.for_ecp5(top, parameters, files, place)
        for warning in warnings:
            progress(warning)
        progress(f"core: {core['lut4']} LUT4, {core['ff']} FF, {core['dp16kd']} DP16KD, {core['mult18']} MULT18")
        ecp5 = {"core": core}
        if entry.get("place", True):
            with watch.time("place"):
                ecp5 |= placed(target, entry, netlist, place, progress)
        amd = {family: area.result() for family, area in amd.items()}
    return {
        "schema": reports.SCHEMA,
        **subject,
        "ecp5": ecp5,
        **amd,
    }


def areas(target, entry, watch, progress):
    """AMD's areas anew, in the report that is there: they and what place and route came to know nothing of each other."""
    name, place = entry["name"], TARGET / entry["name"]
    subject = reports.subject(target, entry)
    report = reports.read(name) if reports.path_of(name).exists() else {}
    differs = [key for key, expected in subject.items() if key != "hardware" and report.get(key) != expected]
    if differs:
        raise synthesis.FlowError(f"--area: expected a report of these sources, configuration and tools, its {', '.join(differs)} "
                                  f"{'differs' if len(differs) == 1 else 'differ'}: make bitstream ONLY={name}")
    place.mkdir(parents=True, exist_ok=True)
    files = sources.needed_by(entry["top"])
    for family, title in synthesis.AMD_FAMILIES.items():
        report.pop(family, None)
        if entry.get("amd", True):
            progress(f"yosys: area on {title}")
            with watch.time(family):
                report[family] = synthesis.for_amd(family, entry["top"], entry["parameters"], files, place)
    return {**report, **subject}


def placed(target, entry, netlist, place, progress):
    """What place and route makes of a netlist: clocks, slowest paths, the bitstream."""
    speeds = {}
    target = {**target, "seed": reports.seed_of(target, entry)}
    grades = reports.grades_of(target, entry)
    fastest = max(grades)
    progress(f"nextpnr: place and route, speed grade -{fastest}")
    wanted = reports.mhz_wanted_of(entry)
    floor = entry.get("mhz_min")
    speeds[str(fastest)], routed, config = placement.route(netlist, target, fastest, wanted, wanted == floor, place, progress)
    if floor is not None and wanted != floor:
        progress(f"nextpnr: the floor, {floor} MHz")
        placement.hold(routed, target, fastest, floor, place, progress)
    for grade in sorted(set(grades) - {fastest}):
        progress(f"nextpnr: the same, speed grade -{grade}")
        speeds[str(grade)] = placement.measure(routed, target, grade, place, progress)
    for grade, speed in speeds.items():
        progress(f"-{grade}: {speed['fmax_mhz']} MHz; {speed['critical_path']}")
    progress("ecppack: bitstream")
    bitstream = placement.pack(config, place / f"{entry['name']}.bit", place, progress)
    return {"speed_grades": speeds, "bitstream": bitstream, **reports.clocks(entry)}


def check(target, entries):
    found = reports.faults(target, entries)
    if not found and page.render(target, entries) != page.PATH.read_text():
        found.append(f"{page.PATH}: expected what the reports give: bitstreams/flow/build.py --page")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these configurations alone")
    parser.add_argument("--list", action="store_true", help="print the configurations and end")
    parser.add_argument("--check", action="store_true", help="compare the committed reports and page with the sources and end")
    parser.add_argument("--area", action="store_true", help="AMD's areas alone, into the reports that are there")
    parser.add_argument("--page", action="store_true", help="write the page from the reports and end")
    parser.add_argument("--json", action="store_true", help="print the reports that were made as a JSON array")
    arguments = parser.parse_args()
    target, entries = reports.load()
    unknown = [name for name in arguments.only if name not in entries]
    if unknown:
        sys.exit(f"--only: expected one of {', '.join(entries)}; got {', '.join(unknown)}")
    if arguments.list:
        for entry in entries.values():
            print(f"{entry['name']:20} {entry['top']} {entry['parameters']}")
        return
    if arguments.check:
        found = check(target, entries)
        if found:
            sys.exit("\n".join(found))
        print(f"bitstream reports agree with their sources and pass their gates: {len(entries)}")
        return
    if arguments.page:
        page.PATH.write_text(page.render(target, entries))
        return
    began, made, failed = time.monotonic(), [], []
    chosen = arguments.only or list(entries)
    for number, name in enumerate(chosen, 1):
        def progress(text, name=name, number=number):
            print(f"[{time.monotonic() - began:5.0f} s] {number}/{len(chosen)} {name}: {text}", file=sys.stderr, flush=True)
        watch = durations.Watch()
        try:
            report = (areas if arguments.area else build)(target, entries[name], watch, progress)
            missed = reports.gates(target, entries[name], report)
            if missed:
                raise synthesis.FlowError("; ".join(missed))
        except (synthesis.FlowError, FileNotFoundError) as error:
            progress(f"failed: {error}")
            failed.append(name)
            continue
        reports.write(report)
        durations.write(name, watch, entries)
        made.append(report)
    if all(reports.path_of(name).exists() for name in entries):
        page.PATH.write_text(page.render(target, entries))
    if arguments.json:
        print(json.dumps(made, indent=1))
    if failed:
        sys.exit(f"{len(failed)} of {len(chosen)} configurations failed: {', '.join(failed)}; see {TARGET}")


if __name__ == "__main__":
    main()
