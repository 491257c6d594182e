"""What the storms over ingest alone have in common: producers, a journal, and the comparison at the end."""

import contextlib
import os
import pathlib
import subprocess
import time

from footfall_tests.lone import LoneIngest
from footfall_tests.suite import ROOT

from .audit import Audit, IdJournal
from .killer import Broken
from .producer import Producer, StreamProducer

APP = "storm"
# Few devices in memory: their windows are written, merged and read all the time, as those of millions would be.
FEW_DEVICES = ("--cached-devices-max", "16")


def build_preload(folder, name="faults"):
    """The library that makes calls fail, or cuts the power, compiled for this run."""
    target = pathlib.Path(folder) / f"{name}.so"
    source = ROOT / "Tests" / "Storm" / "preload" / f"{name}.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(target), str(source), "-ldl"], check=True)
    return target


class Load:
    """Producers against one ingest, from start to the last acknowledgement."""

    def __init__(self, lone, seed, producers=8, journal=None, kinds=(Producer, StreamProducer)):
        self.lone = lone
        token = lone.create_token(["ingest:write"], APP)
        self.journal = journal or IdJournal(lone.folder / "journal.txt")
        self.audit = Audit(lone, self.journal)
        self.producers = [
            kinds[1 if number % 4 == 3 else 0](number, seed, lone.messages, lone.port, token, APP, self.journal)
            for number in range(producers)
        ]
        for producer in self.producers:
            producer.start()

    def check(self):
        for producer in self.producers:
            if producer.failure:
                raise Broken(f"{producer.name}: {producer.failure}")

    def wait_for_batch(self, seconds=30, since=None):
        """Until a batch is acknowledged that was not yet when this began."""
        begin = self.journal.batches if since is None else since
        end = time.monotonic() + seconds
        while self.journal.batches <= begin:
            self.check()
            if time.monotonic() > end:
                raise Broken(f"no batch was acknowledged for {seconds} s:\n{self.lone.process.log_tail()}")
            time.sleep(0.002)

    def restart_cleanly(self):
        """Ends the process, if it still runs, and starts it without a library under it; the seconds until a batch is acknowledged."""
        process = self.lone.process
        process.environment = {}
        process.kill()
        since, begin = self.journal.batches, time.monotonic()
        process.start()
        process.wait_listening()
        self.wait_for_batch(since=since)
        return time.monotonic() - begin

    def finish(self, seconds=60):
        """Every batch is acknowledged; what is wrong with the log, one sentence each."""
        for producer in self.producers:
            producer.stop()
        for producer in self.producers:
            producer.join(timeout=seconds)
            if producer.is_alive() or producer.failure:
                raise Broken(f"{producer.name} did not come to its end: {producer.failure}")
        self.audit.read()
        found = self.audit.compare()
        if not self.journal.acked:
            found.append("nothing was acknowledged: the storm has shown nothing")
        return found


@contextlib.contextmanager
def lone_ingest(messages, *settings, keep=False, **options):
    """An ingest with an app; gone at the end unless it is to be looked at."""
    lone = LoneIngest(messages, *FEW_DEVICES, *settings, **options)
    try:
        lone.start()
        lone.create_app(APP)
        yield lone
    except BaseException:
        keep = True
        raise
    finally:
        lone.stop(keep)
        if keep:
            print(f"kept: {lone.folder}", flush=True)


def wait_exit(process, seconds):
    """The exit status; None where the process still runs."""
    end = time.monotonic() + seconds
    while process.child.poll() is None:
        if time.monotonic() > end:
            return None
        time.sleep(0.002)
    return process.child.returncode


def say(found):
    for sentence in found[:50]:
        print(f"WRONG: {sentence}", flush=True)
    return found
