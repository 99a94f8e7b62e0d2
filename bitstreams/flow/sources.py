"""The RTL files that a top needs, and their hash.

A file holds one module or package of its own name, so a top's files are found by the names they
mention. Comments and blanks are left out of the hash: it changes when what is built changes. So is the register map's package, which has
offsets and the interface uuid and nothing else: another constant there moves a few LUTs at most, and is no reason for an hour of place and route.
It does not elaborate anything: a name in a branch that parameters rule out counts too.
"""

import hashlib
import pathlib
import re

FLOW = pathlib.Path(__file__).resolve().parent
RTL = FLOW.parent / "rtl"
PINS = FLOW / "faam_pins.sv"
# Packages of constants that are not hashed.
CONSTANTS = {"faam_regs_pkg"}


def code_of(path):
    """A file's text without comments, blanks run together."""
    text = path.read_text()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return " ".join(text.split())


def needed_by(top, rtl=RTL):
    """Files below `rtl` that module `top` needs: packages first, then by name."""
    wanted, found = [top], {}
    while wanted:
        name = wanted.pop()
        path = rtl / f"{name}.sv"
        if name in found or not path.exists():
            continue
        found[name] = path
        wanted += set(re.findall(r"\bfaam_\w+", code_of(path))) - found.keys()
    if top not in found:
        raise FileNotFoundError(f"{rtl / top}.sv: expected the module {top} there")
    return sorted(found.values(), key=lambda path: (not path.stem.endswith("_pkg"), path.stem))


def sha256_of(paths):
    """SHA-256 over names and code of these files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted((path for path in paths if path.stem not in CONSTANTS), key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + code_of(path).encode() + b"\0")
    return digest.hexdigest()
