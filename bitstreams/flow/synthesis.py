"""Synthesis by yosys: a core behind its pins for ECP5, and the core alone, for area, on AMD's families.

Owns the wrapper's text, the scripts that yosys runs and the reading of its statistics.
Invariant: the core keeps its boundary until it is counted, so that area is the core's alone.
It does not know timing: yosys estimates none.
"""

import json
import subprocess
import sys

import durations
import sources

# A run of yosys that takes longer than this has hung, seconds.
YOSYS_SECONDS_MAX = 1800
# AMD families that area is given for: yosys's name and what it is called.
AMD_FAMILIES = {"xc7": "7-series", "xcup": "UltraScale+"}
PINS_TOP = "faam_pins_top"


class FlowError(Exception):
    """A step failed: what was expected, what came, what to do."""


def yosys(script, place, name):
    """Run a yosys script; its log goes to `place`/NAME.log."""
    path, log = place / f"{name}.ys", place / f"{name}.log"
    path.write_text(script)
    call = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1], libyosys.Design())"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", call, str(path)], stdout=out, stderr=subprocess.STDOUT)
        try:
            code = durations.wait(process, YOSYS_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise FlowError(f"yosys: expected {name} to end within {YOSYS_SECONDS_MAX} s; see {log}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = log.read_text()
    if code:
        errors = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-1:]
        raise FlowError(f"yosys: expected {name} to pass, it ended with status {code}: {' '.join(errors)}; see {log}")
    return text


def read(top, parameters, files):
    """Elaborate `top` with these parameters, by the slang frontend."""
    values = "".join(f" -G {name}={value}" for name, value in parameters.items())
    return f"read_slang --relax-enum-conversions --keep-hierarchy --top {top}{values} {' '.join(str(path) for path in files)}"


def ports_of(top, parameters, files, place):
    """Ports of `top` with these parameters: name, direction, bits."""
    out = place / "ports.json"
    yosys(f"{read(top, parameters, files)}\nproc\nwrite_json {out}\n", place, "ports")
    modules = json.loads(out.read_text())["modules"]
    [module] = [m for m in modules.values() if int(m["attributes"].get("top", "0"), 2)]
    return [(name, port["direction"], len(port["bits"])) for name, port in module["ports"].items()]


def wrapper(top, parameters, ports):
    """A top with three pins around a core, all of its ports but `clk` behind faam_pins."""
    lines, inputs, outputs = [], 0, 0
    for name, direction, bits in ports:
        if name == "clk":
            lines.append("      .clk(clk)")
        elif direction == "input":
            lines.append(f"      .{name}(to_core[{inputs + bits - 1}:{inputs}])")
            inputs += bits
        elif direction == "output":
            lines.append(f"      .{name}(from_core[{outputs + bits - 1}:{outputs}])")
            outputs += bits
        else:
            raise FlowError(f"{top}.{name}: expected an input or an output, found {direction}")
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    return "\n".join([
        f"module {PINS_TOP} (input logic clk, input logic pin_in, output logic pin_out);",
        f"  logic [{inputs - 1}:0] to_core;",
        f"  logic [{outputs - 1}:0] from_core;",
        f"  faam_pins #(.INPUTS({inputs}), .OUTPUTS({outputs})) pins (.*);",
        f"  {top} {f'#({values}) ' if values else ''}core (",
        ",\n".join(lines),
        "  );",
        "endmodule",
    ]) + "\n"


def cells_by_type(path, belongs):
    """Cells by type, summed over the modules of a `stat -json` that `belongs` says yes to."""
    total = {}
    for name, module in json.loads(path.read_text())["modules"].items():
        if belongs(name.lstrip("\\")):
            for kind, count in module["num_cells_by_type"].items():
                total[kind] = total.get(kind, 0) + count
    return total


def for_ecp5(top, parameters, files, place):
    """Netlist for nextpnr, and the core's own area."""
    text = wrapper(top, parameters, ports_of(top, parameters, files, place))
    wrapped, stat, netlist = place / "wrapper.sv", place / "ecp5-stat.json", place / "ecp5.json"
    wrapped.write_text(text)
    log = yosys("\n".join([
        read(PINS_TOP, {}, [*files, sources.PINS, wrapped]),
        f"setattr -set keep_hierarchy 1 {PINS_TOP}/core",
        f"synth_ecp5 -top {PINS_TOP}",
        f"tee -q -o {stat} stat -json",
        "setattr -unset keep_hierarchy */t:*", "setattr -mod -unset keep_hierarchy *",
        "flatten", "opt_clean", "autoname",
        f"write_json {netlist}", "",
    ]), place, "ecp5")
    cells = cells_by_type(stat, lambda name: top in name and name != PINS_TOP)
    ram = cells.get("TRELLIS_DPR16X4", 0)
    area = {
        # Places for a LUT4: a carry cell takes two, a 16 x 4 RAM four.
        "lut4": cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0) + 4 * ram,
        "of_them_carry": 2 * cells.get("CCU2C", 0),
        "of_them_ram": 4 * ram,
        "ff": cells.get("TRELLIS_FF", 0),
        "dp16kd": cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0),
        "mult18": cells.get("MULT18X18D", 0),
    }
    return netlist, area, warnings(log)


def for_amd(family, top, parameters, files, place):
    """Area of the core alone on a family of AMD's, by yosys: neither placed nor timed."""
    stat = place / f"{family}-stat.json"
    yosys("\n".join([
        read(top, parameters, files),
        f"synth_xilinx -family {family} -top {top} -flatten -noiopad -noclkbuf",
        f"tee -q -o {stat} stat -json", "",
    ]), place, family)
    cells = cells_by_type(stat, lambda name: True)
    count = lambda *starts: sum(n for kind, n in cells.items() if kind.startswith(starts))
    ram = sum(n * LUTS_OF_A_RAM[kind] for kind, n in cells.items() if kind in LUTS_OF_A_RAM)
    unknown = [kind for kind in cells if kind.startswith(("RAM", "SRL")) and kind not in LUTS_OF_A_RAM
               and not kind.startswith(("RAMB", "SRL"))]
    if unknown:
        raise FlowError(f"{family}: expected the LUT RAMs {', '.join(LUTS_OF_A_RAM)}; found {', '.join(unknown)}: add them there")
    if count("URAM"):
        raise FlowError(f"{family}: expected no URAM, which synth_xilinx infers with -uram alone; found {count('URAM')}: count them in the report")
    shift = count("SRL")
    return {
        "lut": sum(n for kind, n in cells.items() if kind in LUTS) + ram + shift,
        "of_them_ram": ram + shift,
        "ff": count("FD"),
        "ramb36": count("RAMB36"),
        "ramb18": count("RAMB18"),
        "dsp48": count("DSP48"),
    }


LUTS = {f"LUT{n}" for n in range(1, 7)}
# LUT6 places that a RAM of LUTs takes.
LUTS_OF_A_RAM = {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8,
                 "RAM64M8": 8, "RAM32X16DR8": 8, "RAM64X8SW": 8, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4}


def warnings(log):
    """Warnings of yosys that speak of the design, each once."""
    lines = [line.strip() for line in log.splitlines() if line.startswith("Warning:")]
    return list(dict.fromkeys(lines))
