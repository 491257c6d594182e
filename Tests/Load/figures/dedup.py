"""State of deduplication at scale: what 10 million devices and 10 million event ids take, and how fast they are looked up."""

import os
import shutil
import subprocess
import tempfile

from footfall_tests.suite import BINARIES

from .client import SERVER_CPU, check, figure, print_checksum

UNITS = {"_per_second": "1/s", "_seconds": "s", "_bytes": "B", "reads_per_new_id": "reads", "per_new_device": "rows", "_runs": "runs"}


def run(world, short):
    count = 100_000 if short else 10_000_000
    folder = tempfile.mkdtemp(prefix="dedup-", dir=world.folder)
    try:
        result = subprocess.run(
            ["taskset", "-c", SERVER_CPU, str(BINARIES / "DedupLoad"), folder, str(count), str(count)],
            capture_output=True, text=True, timeout=900)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    check(result.returncode == 0, f"DedupLoad: {result.stderr.strip()}")
    values = dict(line.split() for line in result.stdout.splitlines())
    for name, value in values.items():
        unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
        figure(f"dedup_{name}", float(value), unit)
    print_checksum("dedup", f"{float(values['devices']):.0f}-devices-{float(values['ids']):.0f}-ids")
