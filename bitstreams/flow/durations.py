"""How much work the steps of the flow are: bitstreams/flow/durations.json.

Owns that file, kept apart from the reports: a report is the same on every machine, a duration is not. CPU time, not the clock on
the wall, for a machine may have other work beside.
Invariant: a duration is of a step that ended well, by the tools that ran in it. It gates nothing.
It does not know what the steps do.
"""

import contextlib
import json
import os
import subprocess
import threading
import time

import sources

PATH = sources.FLOW / "durations.json"
# Steps that are timed, and what they are called.
STEPS = {"ecp5": "synthesis for ECP5", "place": "place, route, pack", "xc7": "area on 7-series", "xcup": "area on UltraScale+"}
# How often a process is asked whether it has ended, seconds.
ASK_SECONDS = 0.2

_spent = threading.local()


def wait(process, seconds_max):
    """Wait for a process that this thread started, as `process.wait` does, and count its CPU time as this thread's."""
    until = time.monotonic() + seconds_max
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            _spent.seconds = spent() + usage.ru_utime + usage.ru_stime
            return process.returncode
        if time.monotonic() > until:
            raise subprocess.TimeoutExpired(process.args, seconds_max)
        time.sleep(ASK_SECONDS)


def spent():
    """CPU seconds of the processes that this thread has waited for."""
    return getattr(_spent, "seconds", 0.0)


class Watch:
    """CPU seconds of one configuration's steps."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def time(self, step):
        """Times what this thread waits for; a step that fails leaves nothing."""
        before = spent()
        yield
        self.seconds[step] = round(spent() - before)


def read():
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def write(name, watch, entries):
    """Note the durations of a configuration's steps; those of configurations that are no more go."""
    found = read()
    found[name] = {**found.get(name, {}), **watch.seconds}
    PATH.write_text(json.dumps({name: found[name] for name in entries if name in found}, indent=1) + "\n")
