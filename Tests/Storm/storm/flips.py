"""A flipped bit, 4 KiB of zeros, or a cut in the log's files: ingest refuses to start, finds it, or it does not matter."""

import os
import pathlib
import random
import shutil
import tempfile
import time

import grpc

from footfall_tests.lone import LoneIngest

from .audit import Audit, IdJournal
from .lone_storm import APP, FEW_DEVICES, Load, lone_ingest, say

FILES = ("ingest.sqlite", "ingest.sqlite-wal")


def make_base(messages, folder, seed, seconds):
    """Files as a killed ingest leaves them, and what they must hold; how many batches, to send again."""
    with lone_ingest(messages, "--log-scrub-mib-per-second", "0", folder=folder) as lone:
        load = Load(lone, seed)
        requests = []
        keep_requests(load, requests)
        time.sleep(seconds)
        found = load.finish()
        head = lone.status().head_offset
        lone.process.kill()
    return found, load.audit.seen, requests, head


def keep_requests(load, requests):
    acknowledged = load.journal.acknowledged

    def keeping(request, answer):
        acknowledged(request, answer)
        requests.append(request)

    load.journal.acknowledged = keeping


def damage(path, chance):
    """One random wound; what it is, in words."""
    size = path.stat().st_size
    kind = chance.choice(("bit", "bit", "zeros", "cut"))
    at = chance.randrange(size)
    with open(path, "r+b") as file:
        if kind == "bit":
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
        elif kind == "zeros":
            at = at // 4096 * 4096
            file.seek(at)
            file.write(b"\0" * min(4096, size - at))
        else:
            file.truncate(at)
    return f"{kind} at {at} of {size} in {path.name}"


class Outcome(Exception):
    """The damage was found: where."""


def examine(lone, truth, requests, head, chance):
    """What is wrong and was not found, one sentence each. Raises Outcome where it was found."""
    try:
        lone.start(seconds=10)
    except RuntimeError:
        lone.process.kill()
        raise Outcome("refused to start")
    try:
        journal = IdJournal(os.devnull)
        audit = Audit(lone, journal)
        audit.read(head, seconds=20)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.OUT_OF_RANGE:
            return ["the log's end is not what it was"]
        raise Outcome(f"reading: {error.code().name}")
    wrong = list(audit.wrong)
    if audit.seen != truth:
        wrong.append(f"{len(audit.seen)} events instead of {len(truth)}, or others")
    wrong += send_again(lone, requests, chance)
    return wrong


def send_again(lone, requests, chance):
    """What deduplication knows: all that is sent again is a duplicate."""
    token = lone.create_token(["ingest:write"], APP)
    stub = lone.ingest(token)
    some = chance.sample(requests, min(len(requests), 400))
    for number, request in enumerate(some):
        request.batch = number + 1
    try:
        for answer in stub.CollectStream(iter(some), timeout=20):
            request = some[answer.batch - 1]
            if answer.duplicates != len(request.events):
                return [f"a batch that was known answers: {answer}".replace("\n", " ")]
    except grpc.RpcError as error:
        raise Outcome(f"writing: {error.code().name}")
    return []


def run(messages, options, seed, percentile):
    rounds = 20 if options.short else options.rounds or 500
    print(f"seed {seed}, {rounds} rounds", flush=True)
    begin = time.monotonic()
    chance = random.Random(seed)
    base = tempfile.mkdtemp(prefix="footfall-base-")
    tally = {}
    try:
        found, truth, requests, head = make_base(messages, base, seed, 3 if options.short else 8)
        sizes = {name: (pathlib.Path(base) / "data" / name).stat().st_size for name in FILES}
        print(f"{len(truth)} events, {len(requests)} batches, {sizes}", flush=True)
        for number in range(rounds):
            folder = tempfile.mkdtemp(prefix="footfall-flip-")
            shutil.copytree(pathlib.Path(base) / "data", pathlib.Path(folder) / "data")
            what = damage(pathlib.Path(folder) / "data" / chance.choice(FILES), chance)
            lone = LoneIngest(messages, *FEW_DEVICES, "--log-scrub-mib-per-second", "0", folder=folder)
            try:
                wrong = examine(lone, truth, requests, head, chance)
                outcome = "silently wrong" if wrong else "no harm"
                found += [f"round {number}, {what}: {sentence}" for sentence in wrong]
            except Outcome as seen:
                outcome = str(seen)
            finally:
                lone.stop()
                shutil.rmtree(folder, ignore_errors=True)
            tally[outcome] = tally.get(outcome, 0) + 1
            if (number + 1) % 50 == 0:
                print(f"{number + 1} rounds: {tally}", flush=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if tally.get("no harm", 0) == rounds:
        found.append("no damage was ever found: the storm has shown nothing")
    print(f"outcomes: {tally}")
    print(f"figure flip_rounds {rounds} rounds")
    print(f"figure flips_silently_wrong {tally.get('silently wrong', 0)} rounds")
    print(f"{time.monotonic() - begin:.0f} s", flush=True)
    return say(found)
