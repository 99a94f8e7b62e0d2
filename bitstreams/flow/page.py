"""The page on area and timing: bitstreams/doc/area-and-timing.md, written from the reports alone.

Owns its text. Invariant: every figure of ours on it comes from a report, from the ratio table of algorithm.md, or from
published.toml, which names the source; durations are those of durations.json. It measures nothing.
"""

import json
import re
import tomllib

import durations
import reports
import sources

PATH = sources.FLOW.parent / "doc/area-and-timing.md"
ALGORITHM = sources.FLOW.parent / "doc/algorithm.md"
# Cycles that the Verilated engine took, beside the functional model's: written and checked by bitstreams/dv.
CYCLES = sources.FLOW.parent / "dv/cycles.json"
# Sizes that section 13 of algorithm.md gives ratios for.
RATIO_BYTES = (65536, 1048576)


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(heads, rows):
    return [row(*heads), "|" + "---|" * len(heads), *(row(*cells) for cells in rows), ""]


def ratio_of(label):
    """Ratios at 64 KiB and 1 MiB of a row of algorithm.md, section 13."""
    for line in ALGORITHM.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == label:
            return f"{cells[1]} / {cells[4]}"
    raise KeyError(f"{ALGORITHM}: expected a row \"{label}\" in section 13")


def own_seeds(target, entries):
    """The configurations with another seed than the target's."""
    return "".join(f"; {entry['seed']} for `{name}`" for name, entry in entries.items() if reports.seed_of(target, entry) != target["seed"])


def unplaced(entries):
    """Which configurations have no place and route."""
    names = [f"`{name}`" for name, entry in entries.items() if not entry.get("place", True)]
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} synthesised and neither placed nor routed; " if names else ""


def without_amd(entries):
    """Which configurations have no area on AMD's families, as a sentence."""
    names = [f"`{name}`" for name, entry in entries.items() if not entry.get("amd", True)]
    return f" Not synthesised for them: {', '.join(names)}." if names else ""


def render(target, entries):
    made = {name: reports.read(name) for name in entries}
    first = next(iter(made.values()))
    grades = [str(grade) for grade in target["speed_grades"]]
    fastest = max(grades)
    out = [
        "<!-- Written by bitstreams/flow/build.py from bitstreams/flow/reports. Run `make bitstream`. -->",
        "# Area and timing",
        "",
        "What the open flow makes of the gateware. **Not run on hardware.** For ECP5 that is synthesis and, where the table below gives a clock, place and "
        f"route with pins unconstrained and a packed bitstream for {target['device']} ({target['package']}, seed {target['seed']}{own_seeds(target, entries)}); "
        f"{unplaced(entries)}for AMD's families it is yosys's area alone, for which there is no open place and route: no clock is given for them.",
        "",
        "Tools: " + ", ".join(f"{name} {version}" for name, version in first["tools"].items()) + ". `make bitstream` builds all of it anew and "
        "fails where a clock floor or an area ceiling of `bitstreams/flow/configurations.toml` is missed; `make rtl-check`, a part of `make test`, "
        "fails where a report is of another state of the RTL, of its configuration or of the tools.",
        "",
        "A core has more ports than a package has pins. `bitstreams/flow/faam_pins.sv` feeds its inputs from one shift register and folds its outputs into "
        "another, so every path runs from register to register and nothing is optimised away. Area is the core's, without it.",
        "",
        "## ECP5",
        "",
        "LUT4 counts the places in which a LUT4 fits: a carry cell takes two of them, a RAM of 16 x 4 bits four.",
        "",
    ]
    out += table(
        ["configuration", "LUT4", "of them RAM", "FF", "DP16KD", "MULT18", *(f"Fmax -{grade}, MHz" for grade in grades), f"floor at -{fastest}"],
        [[f"`{name}`", core["lut4"], core["of_them_ram"], core["ff"], core["dp16kd"], core["mult18"],
          *([report["ecp5"]["speed_grades"].get(grade, {}).get("fmax_mhz", "-") for grade in grades] if "speed_grades" in report["ecp5"] else ["not placed"] * len(grades)),
          entries[name].get("mhz_min", "none") if "speed_grades" in report["ecp5"] else "-"]
         for name, report in made.items() for core in [report["ecp5"]["core"]]])
    others = ", ".join(f"-{grade}" for grade in grades if grade != fastest)
    out += [f"Placed and routed for -{fastest}; the clock at {others} is that of the same places and routes in a slower device, and has no floor: what is placed for that grade may come to more. `-`: not timed at that grade."
            + (" `none`: placed and routed to see whether it can be, without a floor." if any("mhz_min" not in entry and entry.get("place", True) for entry in entries.values()) else ""), "",
            f"Slowest paths at -{fastest}; `words` are block RAMs, whose access is what such a path has out of the register:", ""]
    out += [f"- `{name}`: {report['ecp5']['speed_grades'][fastest]['critical_path']}" for name, report in made.items() if "speed_grades" in report["ecp5"]]
    chosen = [name for name, entry in entries.items() if "seed" in entry]
    if chosen:
        out += ["", f"{', '.join(f'`{name}`' for name in chosen)}: the seed was chosen among those that were tried, and the clock is that seed's; configurations.toml says how many, "
                "and what the others came to. A clock near the floor depends on the seed as much as on the RTL."]
    out += ["", "Bitstreams (in `target/bitstream`, not committed):", ""]
    out += table(["configuration", "bytes, compressed", "idcode", "SHA-256"],
                 [[f"`{name}`", bit["bytes"], bit["idcode"], f"`{bit['sha256'][:16]}...`"]
                  for name, report in made.items() if "bitstream" in report["ecp5"] for bit in [report["ecp5"]["bitstream"]]])
    out += ["## AMD's families: area by yosys, not placed", "",
            "The core alone, flattened, without pads, as `synth_xilinx` maps it. The vendor's tools map otherwise and would count otherwise. "
            "No URAM is among them: yosys infers none unless it is asked to, and is not. A RAMB18 and a DP16KD hold 18 Kbit each, a RAMB36 two of them; "
            "ECP5's area stands beside, where a LUT holds less. A ceiling of `configurations.toml` holds on either family." + without_amd(entries), ""]
    out += table(
        ["configuration", *(f"ECP5: {what}" for what in ("LUT4", "FF", "DP16KD")), *(f"{title}: {what}" for title in ("7-series", "UltraScale+") for what in ("LUT", "FF", "RAMB36", "RAMB18", "DSP"))],
        [[f"`{name}`", *(report["ecp5"]["core"][key] for key in ("lut4", "ff", "dp16kd")), *(report[family][key] for family in ("xc7", "xcup") for key in ("lut", "ff", "ramb36", "ramb18", "dsp48"))]
         for name, report in made.items() if "xc7" in report])
    out += engines(entries, made, fastest)
    out += cycles(entries, made, fastest)
    out += published()
    out += farms(target, entries, made)
    out += how_long(entries)
    return "\n".join(out).rstrip() + "\n"


def engines(entries, made, fastest):
    """Throughput of the engines at equal terms."""
    out = [
        "## Throughput at equal terms",
        "",
        "An engine takes one byte of input a cycle (section 10 of [algorithm.md](algorithm.md)), so MB/s of one pass over the input are the Fmax in MHz. A level with tables of its "
        "own first counts symbols: balanced over 16 KiB, dense over the whole input; what is counted is read twice, and the speed below is that of both passes. "
        "What ends up stored is read twice as well, and is not in it. All of it is **modelled**: cycles come from the simulated RTL, the clock from place and route; no memory and no "
        "link is in it, nor the constant cycles of a job, which the table after it has. Ratios are those of section 13 of algorithm.md, measured on the functional model.",
        "",
        "A LUT4 holds less than the LUT6 or the ALM of the designs further down: compare them by the last two columns. Both take the area that yosys gives for UltraScale+, the first with the "
        "clock of the ECP5, which is the slower device, the second without any clock. The three columns of area are for 1 MiB.",
        "",
    ]
    rows = []
    for name, entry in entries.items():
        if entry["top"] != "faam_engine" or "speed_grades" not in made[name]["ecp5"]:
            continue
        report = made[name]
        mhz = report["ecp5"]["speed_grades"][fastest]["fmax_mhz"]
        for use in entry.get("uses", [{}]):
            passes = [passes_of(use, size) for size in RATIO_BYTES]
            rate = mhz / passes[-1]
            rows.append([f"`{name}`", use.get("row", "one pass"), ratio_of(use["row"]) if use else "-", " / ".join(f"{count:.2f}" for count in passes),
                         " / ".join(f"{mhz / count:.1f}" for count in passes), round(1000 * rate / report["ecp5"]["core"]["lut4"], 1),
                         round(1000 * rate / report["xcup"]["lut"], 1) if "xcup" in report else "-",
                         round(1000 / passes[-1] / report["xcup"]["lut"], 3) if "xcup" in report else "-"])
    return out + table(["engine", "as", "ratio, 64 KiB / 1 MiB", "passes, 64 KiB / 1 MiB", f"MB/s (ECP5 -{fastest}), 64 KiB / 1 MiB", "MB/s a kLUT4", "MB/s a kLUT6",
                        "bytes a cycle a kLUT6"], rows)


def passes_of(use, size):
    """How often a job of `size` bytes reads its input: once, and once more what is counted first."""
    return 1 + min(use.get("counted_bytes", 0), size) / size


def cycles(entries, made, fastest):
    """Modelled throughput: cycles of the simulated RTL times the clock of place and route, next to the functional model's cycles."""
    measured = json.loads(CYCLES.read_text())
    out = ["Modelled throughput of single jobs: bytes over the cycles that the Verilated engine took with memory that never makes it wait (`bitstreams/dv/cycles.json`, checked by "
           f"`make test-rtl`), times the Fmax of that configuration at -{fastest}; next to it the cycles that the functional model reports. Bytes are source and history. "
           "`fixed` is a compress job with the fixed codes, `history` the second half of the same bytes with up to 32 KiB of the first as history, `count` a job that counts symbols, `table` a compress "
           "job with a table that was made of such a count. Level dense is a `count` and then a `table`: both their cycles. Of `random`, what is compressed ends up stored, and is read twice.", ""]
    rows, worst = [], 0.0
    for name, entry in entries.items():
        parameters = entry["parameters"]
        for line in measured:
            if entry["top"] != "faam_engine" or "speed_grades" not in made[name]["ecp5"] or (line["hash_bits"], line["ways"], bool(line["tables"]), bool(line["lazy"])) != (
                    13, parameters["WAYS"], bool(parameters["TABLES"]), True):
                continue
            off = 100 * (line["rtl_cycles"] / line["model_cycles"] - 1)
            worst = max(worst, abs(off))
            rate = line["bytes"] * made[name]["ecp5"]["speed_grades"][fastest]["fmax_mhz"] / line["rtl_cycles"]
            rows.append([f"`{name}`", line["class"], line["job"], line["bytes"], line["rtl_cycles"], line["model_cycles"], f"{off:+.2f}",
                         f"{line['rtl_cycles'] / line['bytes']:.4f}", f"{rate:.1f}"])
    out += table(["engine", "data", "job", "bytes", "cycles, RTL", "cycles, model", "%", "cycles a byte", "MB/s, modelled"], rows)
    return out + [f"The largest difference is {worst:.2f} %.", ""]


def beside_engines(entries, made):
    """What each farm has beside its engines: name, engines, area."""
    found = []
    for name, entry in entries.items():
        if entry["top"] != "faam_farm":
            continue
        engine = next(other for other, candidate in entries.items() if candidate["top"] == "faam_engine"
                      and all(candidate["parameters"][key] == entry["parameters"][key] for key in candidate["parameters"]))
        farm, one, count = made[name]["ecp5"]["core"], made[engine]["ecp5"]["core"], entry["parameters"]["ENGINES"]
        found.append((name, count, {area: farm[area] - count * one[area] for area in ("lut4", "ff", "dp16kd")}))
    return found


def a_lane(entries, rests):
    """What one more lane takes beside its engine, in words and by area: the difference of two farms of different K, of one engine where there are such."""
    def engine_of(farm):
        return {key: value for key, value in entries[farm[0]]["parameters"].items() if key != "ENGINES"}

    pairs = [(few, many) for few in rests for many in rests if few[1] < many[1]]
    if not pairs:
        return ("Only one K is built, so what a further lane's movers take is not known and not counted below: the K by LUT4 is an upper bound.",
                dict.fromkeys(rests[0][2], 0))
    few, many = max(pairs, key=lambda pair: (engine_of(pair[0]) == engine_of(pair[1]), pair[1][1] - pair[0][1]))
    more = {area: (many[2][area] - few[2][area]) / (many[1] - few[1]) for area in few[2]}
    other = "" if engine_of(few) == engine_of(many) else ", though their engines are of different kinds"
    return f"From `{few[0]}` to `{many[0]}` each lane adds about {more['lut4']:.0f} LUT4 and {more['dp16kd']:.0f} DP16KD to its engine{other}.", more


def farms(target, entries, made):
    """What a farm needs beside its engines, and how many of them a device has room for."""
    fastest = str(max(target["speed_grades"]))
    rests = beside_engines(entries, made)
    out = ["## The farm", "", "What a whole farm has beside its engines, the lanes' movers included: its area less K times that of the engine, synthesised alone.", ""]
    out += table(["configuration", "engines", "LUT4 beside them", "FF", "DP16KD"],
                 [[f"`{name}`", count, rest["lut4"], rest["ff"], rest["dp16kd"]] for name, count, rest in rests])
    few = min(rests, key=lambda farm: farm[1])
    of_lanes, more = a_lane(entries, rests)
    clocks = {name: made[name]["ecp5"]["speed_grades"][fastest]["fmax_mhz"] for name, _, _ in rests if "speed_grades" in made[name]["ecp5"]}
    slowest = min(clocks.values())
    placed = ", ".join(f"`{name}` {clock} MHz" for name, clock in clocks.items())
    out += [f"{of_lanes} {target['device']} has {target['dp16kd']} DP16KD "
            f"and {target['lut4']} LUT4. The K that these allow is **arithmetic** on the figures above; farms that were placed: {placed} at -{fastest}. MB/s a device are "
            "K times the clock of that very farm where it was placed, else K times the slower of two clocks, the engine's and that of the slowest placed farm: one pass, with memory that never makes an engine wait: **modelled**, and no farm of that K was "
            "placed unless the first table has it. A device that is nearly full reaches less. A farm serves the levels that its engines have the ways for: with fewer than four "
            "ways, fast alone, so that a second way buys nothing there.", ""]
    rows = []
    for name, entry in entries.items():
        if entry["top"] != "faam_engine":
            continue
        one = made[name]["ecp5"]
        most = {}
        for area in ("dp16kd", "lut4"):
            k = 0
            while few[2][area] + k * more[area] + (k + 1) * one["core"][area] <= target[area]:
                k += 1
            most[area] = k
        k = min(most.values())
        lut4 = few[2]["lut4"] + (k - 1) * more["lut4"] + k * one["core"]["lut4"]
        itself = [clocks[farm] for farm in clocks if entries[farm]["parameters"] == {**entry["parameters"], "ENGINES": k}]
        clock = itself[0] if itself else min(one["speed_grades"][fastest]["fmax_mhz"], slowest) if "speed_grades" in one else None
        rows.append([f"`{name}`", one["core"]["dp16kd"], most["dp16kd"], most["lut4"], k, f"{100 * lut4 / target['lut4']:.0f} %",
                     f"{k * clock:.0f}" if clock else "-"])
    return out + table(["engine", "DP16KD each", "K by block RAM", "K by LUT4", "K", "LUT4 in use", f"MB/s a device (-{fastest}), modelled"], rows)


def published():
    designs = tomllib.loads((sources.FLOW / "published.toml").read_text())["design"]
    out = ["Published designs; figures are their authors', on their own corpora, with what their boards add. A thousand places is of their device's: a LUT6 or an ALM holds more "
           "than a LUT4, so an engine of ours is next to them by the LUT6 columns of the table of engines. Wide designs (16 to 64 bytes a cycle) give ratio for their speed; ratios are of other corpora "
           "and are not comparable to the second decimal.", ""]
    rows = []
    for design in designs:
        kilo = design.get("kilo_places")
        source = re.sub(r"^(https?://\S+)$", r"[source](\1)", design["source"])
        rows.append([design["name"], design["device"], design["mb_per_s"], design["ratio"],
                     f"{kilo} k{design['places']}" if kilo else "not in the source",
                     round(design["mb_per_s"] / kilo, 1) if kilo else "-",
                     round(design["mb_per_s"] / design["mhz"] / kilo, 3) if kilo and "mhz" in design else "-", design["apart"], source])
    return out + table(["design", "device", "MB/s", "ratio", "area", "MB/s a thousand", "bytes a cycle a thousand", "what sets it apart", "source"], rows)


def how_long(entries):
    """What takes how long."""
    known = durations.read()
    if not known:
        return []
    rows = [[f"`{name}`", *(known[name].get(step, "-") for step in durations.STEPS), sum(known[name].values())] for name in entries if name in known]
    missing = [f"`{name}`" for name in entries if name not in known]
    out = ["## How long it takes", "",
           "CPU seconds of the run that made each figure (`bitstreams/flow/durations.json`): for orientation, no gate. One configuration is built after the other, each by two processes at most: "
           "AMD's areas beside synthesis, place and route for ECP5."
           + (f" Not timed: {', '.join(missing)}." if missing else ""), ""]
    return out + table(["configuration", *durations.STEPS.values(), "together"], rows)
