"""The disk fills up, and has space again, while ingest runs: on a file system in memory of its own."""

import os
import pathlib
import random
import subprocess
import tempfile
import threading
import time

import grpc

from .audit import IdJournal
from .killer import Broken
from .lone_storm import Load, lone_ingest, say
from .producer import Producer, StreamProducer

SIZE_MEBIBYTES = 48
RESUME_SECONDS_MAX = 5


class FullJournal(IdJournal):
    """Notes refusals for want of space, and whether they say how long to wait."""

    def __init__(self, path):
        super().__init__(path)
        self.full = self.without_pushback = 0

    def refused(self, error):
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "disk is full" in error.details():
            with self.lock:
                self.full += 1
                metadata = dict(error.trailing_metadata() or [])
                self.without_pushback += int(metadata.get("grpc-retry-pushback-ms", 0)) <= 0


class FullProducer(Producer):
    def retry(self, request, error, again):
        self.journal.refused(error)
        super().retry(request, error, again)


def fill(path, leave, random):
    """Takes all space but `leave` bytes. What the log had already taken it keeps."""
    with open(path, "wb", buffering=0) as file:
        block = b"\0" * (1 << 16)
        try:
            while True:
                file.write(block)
        except OSError:
            pass
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))


def round_of(lone, load, ballast, number, random):
    journal = load.journal
    time.sleep(random.uniform(0.1, 0.6))
    full = journal.full
    fill(ballast, random.choice([0, 4096, 40_000, 200_000]), random)
    end = time.monotonic() + 60
    while journal.full == full:
        load.check()
        if not lone.process.running:
            raise Broken(f"round {number}: ingest ended on a full disk:\n{lone.process.log_tail()}")
        if time.monotonic() > end:
            raise Broken(f"round {number}: the disk is full and nothing was refused")
        time.sleep(0.005)
    # Reading goes on, and says so. A smaller transaction may find the little space that is left, until the next one is refused.
    end = time.monotonic() + 10
    while not lone.status().disk_full:
        if time.monotonic() > end:
            raise Broken(f"round {number}: the status does not tell of the full disk")
        time.sleep(0.005)
    load.audit.read()
    time.sleep(random.uniform(0.2, 1.5))
    since = journal.batches
    os.unlink(ballast)
    begin = time.monotonic()
    load.wait_for_batch(RESUME_SECONDS_MAX, since)
    return time.monotonic() - begin


def storm(messages, options, seed, folder, percentile):
    rounds = 4 if options.short else options.rounds or 20
    print(f"seed {seed}, {rounds} rounds on {SIZE_MEBIBYTES} MiB", flush=True)
    chance = random.Random(seed)
    with lone_ingest(messages, keep=options.keep, folder=folder) as lone:
        child = lone.process.child.pid
        journal = FullJournal(pathlib.Path(tempfile.mkdtemp(prefix="footfall-storm-")) / "journal.txt")
        load = Load(lone, seed, journal=journal, kinds=(FullProducer, StreamProducer))
        load.wait_for_batch()
        resumes = []
        for number in range(rounds):
            resumes.append(round_of(lone, load, os.path.join(folder, "ballast"), number, chance))
        found = load.finish()
        if lone.process.child.pid != child or not lone.process.running:
            found.append("ingest did not live through it")
        if journal.without_pushback:
            found.append(f"{journal.without_pushback} refusals did not say how long to wait")
        print(f"refused for want of space: {journal.full}; other failures {journal.errors}")
        print(f"figure disk_full_rounds {rounds} rounds")
        print(f"figure disk_full_events {len(journal.acked)} events")
        print(f"figure disk_full_resume_max_milliseconds {max(resumes) * 1000:.0f} ms", flush=True)
        return say(found)


def run(messages, options, seed, percentile):
    folder = tempfile.mkdtemp(prefix="footfall-full-")
    # In a mount name space of our own (Tests/Storm/run): gone when we are.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MEBIBYTES}m", "tmpfs", folder], check=True)
    try:
        return storm(messages, options, seed, folder, percentile)
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        os.rmdir(folder)
