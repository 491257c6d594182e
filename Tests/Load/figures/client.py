"""Runs the C load client and prints figures."""

import os
import statistics
import subprocess
import sys

from footfall_tests.suite import ROOT

PROGRAMS = ROOT / ".build" / "load"
SERVER_CPU, CLIENT_CPU = "0", str(min(1, (os.cpu_count() or 1) - 1))


class Wrong(Exception):
    """An answer, or a count, was not what it had to be."""


def figure(name, value, unit):
    print(f"figure {name} {value:.6g} {unit}" if isinstance(value, float) else f"figure {name} {value} {unit}", flush=True)


def goal(name, value, least=None, most=None):
    """Says on standard error how a figure stands to its goal; the exit status tells of answers only."""
    met = (least is None or value >= least) and (most is None or value <= most)
    bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"goal: {name}: {value:.6g}, {bound}: {'met' if met else 'NOT met'}", file=sys.stderr, flush=True)


def check(condition, what):
    if not condition:
        raise Wrong(what)


def median(values):
    return statistics.median(values)


def load(mode, port, path, *arguments, token=None, pinned=True, timeout=900):
    """One run of the load client; what it prints, by name. Raises Wrong where an answer was not right."""
    command = [str(PROGRAMS / "client"), mode, "--port", str(port), "--path", path] + [str(one) for one in arguments]
    if token:
        command += ["--token", token]
    if pinned:
        command = ["taskset", "-c", CLIENT_CPU] + command
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if result.returncode != 0:
        raise Wrong(f"{' '.join(command[:6])}: status {result.returncode}: {result.stderr.strip()} {result.stdout.strip()}")
    values = {}
    for line in result.stdout.splitlines():
        name, value = line.split()
        values[name] = value if name == "checksum" else float(value)
    return values


def print_checksum(name, value):
    print(f"checksum {name} {value}", flush=True)
