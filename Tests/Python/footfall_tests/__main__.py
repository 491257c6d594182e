"""Runs the tests: see Tests/Python/run."""

import argparse
import shutil
import sys
import tempfile

from . import harness
from .suite import Messages, Suite
from . import test_transport, test_services, test_bad_input, test_standard, test_operation, test_ecom  # noqa: F401
from . import test_ledger, test_privacy, test_events, test_log, test_replay, test_keys  # noqa: F401 - they register
from . import test_quarantine, test_sources  # noqa: F401 - they register
from . import test_ways  # noqa: F401 - they register
from . import test_analysis, test_reports  # noqa: F401 - they register
from . import test_visits  # noqa: F401 - they register
from . import test_query_store, test_erasure  # noqa: F401 - they register


class World:
    """What the tests share: a folder, the generated messages, and one running suite, started when first needed."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="footfall-tests-")
        self.values, self.failures = {}, {}

    def once(self, name, make):
        """Makes a shared value when it is first asked for. What failed once fails again at once."""
        if name in self.failures:
            raise AssertionError(f"{name} failed before: {self.failures[name]}")
        if name not in self.values:
            try:
                self.values[name] = make()
            except Exception as error:
                self.failures[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                raise
        return self.values[name]

    @property
    def messages(self):
        return self.once("messages", Messages)

    @property
    def suite(self):
        return self.once("suite", self._started)

    @property
    def shop(self):
        return self.values["shop"]

    def _started(self):
        self.values["processes"] = Suite(self.messages)
        return self.values["processes"].start()

    def end(self, keep):
        suite = self.values.get("processes")
        if suite is not None:
            suite.stop(keep)
            if keep:
                print(f"kept: {suite.folder}")
        if "messages" in self.values:
            self.values["messages"].remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(prog="Tests/Python/run")
    parser.add_argument("--filter", default="", help="only tests whose names hold this text")
    parser.add_argument("--keep", action="store_true", help="keeps the data folder and the logs")
    options = parser.parse_args()
    world = World()
    try:
        good = harness.run_all(world, options.filter)
    finally:
        world.end(options.keep)
    sys.exit(0 if good else 1)


main()
