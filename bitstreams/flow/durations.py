"""How long the steps of the flow took: bitstreams/flow/durations.json.

Owns that file, kept apart from the reports: a report is the same on every machine, a duration is not.
Invariant: a duration is of a step that ended well in a whole build of its configuration. It gates nothing.
It does not know what the steps do.
"""

import contextlib
import json
import os
import time

import sources

PATH = sources.FLOW / "durations.json"
# Steps that are timed, and what they are called. AMD's run beside the others.
STEPS = {"ecp5": "synthesis for ECP5", "place": "place, route, pack", "xc7": "area on 7-series", "xcup": "area on UltraScale+", "whole": "the whole"}


class Watch:
    """Durations of one build, in seconds of wall clock."""

    def __init__(self, now=time.monotonic):
        self.now = now
        self.seconds = {}

    @contextlib.contextmanager
    def time(self, step):
        """Times a step; one that fails leaves nothing."""
        began = self.now()
        yield
        self.seconds[step] = round(self.now() - began)


def read():
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def write(name, watch, entries):
    """Note the durations of a configuration; those of configurations that are no more go."""
    found = {**read(), name: {"cpus": os.cpu_count(), "seconds": watch.seconds}}
    PATH.write_text(json.dumps({name: found[name] for name in entries if name in found}, indent=1) + "\n")
