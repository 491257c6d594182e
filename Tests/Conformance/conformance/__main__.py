"""See Tests/Conformance/run."""

import argparse
import shutil
import sys

from . import protos

PARTS = ("interop", "negative", "requests", "drain")


def main():
    parser = argparse.ArgumentParser(prog="Tests/Conformance/run")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases whose line holds TEXT")
    parser.add_argument("--short", action="store_true", help="short soaks, for CI")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    arguments = parser.parse_args()
    folder = protos.generate()
    # They import what has just been generated.
    from . import drain, matrix, requests
    from .report import Report

    report = Report(arguments.filter)
    parts = {
        "interop": lambda: matrix.run(report, arguments.short),
        "negative": lambda: matrix.run_negative(report),
        "requests": lambda: requests.run(report),
        "drain": lambda: drain.run(report, arguments.short),
    }
    try:
        for part in arguments.part or PARTS:
            parts[part]()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not arguments.filter:
        matrix.explain()
    sys.exit(0 if report.finish() else 1)


main()
