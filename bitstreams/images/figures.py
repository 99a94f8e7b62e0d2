#!/usr/bin/env python3
"""What a report of the flow says of a bitstream, as flags of `faam image build`: figures.py REPORT.json

Clock and area are those of the fastest speed grade that was placed and routed; sources are the RTL that the report is of.
"""

import json
import pathlib
import sys

RTL = pathlib.Path(__file__).parent.parent / "rtl"


def flags(report):
    grades = report["ecp5"]["speed_grades"]
    fastest = grades[max(grades, key=int)]
    yield f"--achieved-khz={round(fastest['fmax_mhz'] * 1000)}"
    for name, used in report["ecp5"]["core"].items():
        yield f"--area={name}={used}"
    for name, version in report["tools"].items():
        yield f"--tool={name}={version}"
    for name in report["files"]:
        yield f"--source={RTL / name}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("\n".join(flags(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
