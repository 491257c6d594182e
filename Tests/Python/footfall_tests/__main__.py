"""Runs the tests: see Tests/Python/run."""

import argparse
import shutil
import sys
import tempfile

from . import harness
from .suite import Messages, Suite
from . import test_transport  # noqa: F401 - registers its tests


class World:
    """What the tests share: a folder, the generated messages, and one running suite, started when first needed."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="footfall-tests-")
        self._messages = self._suite = None

    @property
    def messages(self):
        if self._messages is None:
            self._messages = Messages()
        return self._messages

    @property
    def suite(self):
        if self._suite is None:
            self._suite = Suite(self.messages)
            self._suite.start()
        return self._suite

    def end(self, keep):
        if self._suite is not None:
            self._suite.stop(keep)
            if keep:
                print(f"kept: {self._suite.folder}")
        if self._messages is not None:
            self._messages.remove()
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
