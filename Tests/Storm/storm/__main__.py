"""Runs the storm: see Tests/Storm/run."""

import argparse
import random
import sys
import time

import grpc

from footfall_tests.suite import Messages, Suite

from . import clock, disk_full, faults, flips, ingest_kill, power, query_kill
from .count import differences
from .journal import Journal
from .killer import Broken, Killer
from .lone_storm import FEW_DEVICES
from .producer import Producer, StreamProducer

APP = "storm"
PRODUCERS = 8
SCOPES = ["ingest:write", "query:read", "live:read", "profile:read"]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def blow(suite, journal, producers, cycles, seed):
    """All cycles, then calm: every batch acknowledged. The killer, for its figures."""
    killer = Killer(suite, journal, random.Random(seed))
    for producer in producers:
        producer.start()
    try:
        for number in range(cycles):
            killer.cycle(number)
            failures = [producer.failure for producer in producers if producer.failure]
            if failures:
                raise Broken(f"cycle {number}: {failures[0]}")
            if (number + 1) % 20 == 0:
                print(f"{number + 1} cycles, {journal.events} events acknowledged, {journal.retries} batches sent again",
                      flush=True)
    finally:
        for producer in producers:
            producer.stop()
    for producer in producers:
        producer.join(timeout=60)
        if producer.is_alive() or producer.failure:
            raise Broken(f"{producer.name} did not come to its end: {producer.failure}")
    return killer


def report(journal, killer, seconds):
    print(f"kills: {killer.kills}, of all four at once {killer.all_kills}, while starting {killer.early_kills}")
    print(f"kills of ingest with batches in flight: {killer.kills_in_flight} of {killer.ingest_kills}")
    print(f"batches: {journal.batches} acknowledged, {journal.retries} sent again {journal.errors}, "
          f"{journal.duplicates} events had been stored before their acknowledgement was lost")
    print(f"figure storm_events {journal.events} events")
    print(f"figure restart_to_serving_p50_milliseconds {percentile(killer.restart_seconds, 0.5) * 1000:.1f} ms")
    print(f"figure restart_to_serving_p99_milliseconds {percentile(killer.restart_seconds, 0.99) * 1000:.1f} ms")
    print(f"{seconds:.0f} s", flush=True)


def storm(messages, cycles, seed, keep):
    """True if every acknowledged event is counted exactly once."""
    suite = Suite(messages)
    suite.processes["ingest"].arguments += FEW_DEVICES
    good = False
    begin_ms, begin = int(time.time() * 1000), time.monotonic()
    try:
        suite.start()
        suite.create_app(APP)
        token = suite.create_token(SCOPES, APP)
        suite.wait_caught_up(token)
        journal = Journal(suite.folder / "journal.txt")
        producers = [
            (StreamProducer if number % 4 == 3 else Producer)(
                number, seed, messages, suite.ports["ingest"], token, APP, journal)
            for number in range(PRODUCERS)
        ]
        killer = blow(suite, journal, producers, cycles, seed)
        journal.file.close()
        found = journal.wrong + differences(suite, token, APP, journal, begin_ms)
        killer.check_running()
        report(journal, killer, time.monotonic() - begin)
        if killer.kills_in_flight * 2 < killer.ingest_kills:
            found.append("most kills of ingest hit nothing: the load was too small to show anything")
        for sentence in found[:50]:
            print(f"WRONG: {sentence}")
        good = not found
    except (Broken, AssertionError, RuntimeError) as error:
        print(f"BROKEN: {error}")
    finally:
        suite.stop(keep or not good)
        if keep or not good:
            print(f"kept: {suite.folder}")
    return good


ALONE = {
    "ingest-kill": ingest_kill, "query-kill": query_kill, "disk-full": disk_full, "faults": faults, "power": power,
    "clock": clock, "flips": flips,
}


def main():
    parser = argparse.ArgumentParser(prog="Tests/Storm/run")
    parser.add_argument("what", choices=["kill", *ALONE])
    parser.add_argument("--cycles", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--short", action="store_true", help="as much as fits a run of all tests")
    parser.add_argument("--keep", action="store_true", help="keeps the data folder and the logs")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    messages = Messages()
    try:
        if options.what == "kill":
            cycles = options.cycles or (8 if options.short else 200)
            print(f"seed {seed}, {cycles} cycles", flush=True)
            good = storm(messages, cycles, seed, options.keep)
        else:
            found = alone(messages, options, seed)
            good = not found
    finally:
        messages.remove()
    print("1 passed, 0 failed" if good else "0 passed, 1 failed", flush=True)
    sys.exit(0 if good else 1)


def alone(messages, options, seed):
    """A storm over one service: what is wrong."""
    try:
        return ALONE[options.what].run(messages, options, seed, percentile)
    except (Broken, AssertionError, RuntimeError, grpc.RpcError) as error:
        print(f"BROKEN: {error}", flush=True)
        return [error]


main()
