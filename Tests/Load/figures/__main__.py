"""Runs the named load tests: see Tests/Load/run."""

import argparse
import shutil
import sys
import tempfile
import time

import grpc

from footfall_tests.suite import Messages

from . import connections, counted, dedup, ingest, olap, overload, rpc, services, soak
from .client import Wrong

RUNS = {
    "rpc": rpc.run, "ingest": ingest.ingest, "query": services.query, "live": services.live,
    "profile": services.profile, "memory": services.memory, "connections": connections.run,
}
# Not a part of `all`: they have their own length or their own tools. Those of BRIEF are when it is short.
ALONE = {"overload": overload.run, "dedup": dedup.run, "counted": counted.run, "olap": olap.olap, "catchup": olap.catchup, "soak": soak.run}

BRIEF = ["overload", "dedup"]


class World:
    """A folder for the runs, and the generated messages."""

    def __init__(self, keep, seconds):
        self.keep, self.seconds = keep, seconds
        self.folder = tempfile.mkdtemp(prefix="footfall-load-")
        self.messages = Messages()

    def end(self):
        self.messages.remove()
        if self.keep:
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(prog="Tests/Load/run")
    parser.add_argument("name", choices=list(RUNS) + list(ALONE) + ["all"])
    parser.add_argument("--short", action="store_true", help="a few seconds, for correctness")
    parser.add_argument("--keep", action="store_true", help="keeps data folders and logs")
    parser.add_argument("--seconds", type=int, default=0, help="how long to soak")
    options = parser.parse_args()
    world = World(options.keep, options.seconds)
    passed = failed = 0
    try:
        every = list(RUNS) + (BRIEF if options.short else [])
        for name in every if options.name == "all" else [options.name]:
            begin = time.monotonic()
            try:
                (RUNS | ALONE)[name](world, options.short)
                passed += 1
            except (Wrong, AssertionError, RuntimeError, grpc.RpcError) as error:
                failed += 1
                print(f"WRONG {name}: {error}", file=sys.stderr, flush=True)
            print(f"{name}: {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
    finally:
        world.end()
    print(f"{passed} passed, {failed} failed", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


main()
