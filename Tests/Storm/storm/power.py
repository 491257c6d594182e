"""Power cuts under load: what ingest has not synced is gone in part, sector by sector, and it starts from what is left."""

import random
import time

from .killer import Broken
from .lone_storm import Load, build_preload, lone_ingest, say

CUT_SECONDS = 5
# Calls on the log's files, counted from the start: the first hundred belong to starting and to what is left from before.
CALLS_MAX = 1_500


def round_of(lone, load, library, number, chance, tally):
    at, mark = chance.randint(1, chance.choice((100, CALLS_MAX))), lone.folder / "mark"
    mark.unlink(missing_ok=True)
    lone.process.environment = {
        "LD_PRELOAD": str(library), "POWER_AT": str(at), "POWER_SEED": str(chance.getrandbits(62)),
        "POWER_PATH": "ingest.sqlite", "POWER_MARK": str(mark),
    }
    lone.process.kill()
    lone.process.start()
    end = time.monotonic() + CUT_SECONDS
    while lone.process.running and time.monotonic() < end:
        time.sleep(0.002)
    if lone.process.running:
        tally["not reached"] += 1
        return
    if not mark.exists():
        raise Broken(f"round {number}, call {at}: ingest ended without a cut:\n{lone.process.log_tail()}")
    files, writes, size = (int(word) for word in mark.read_text().split())
    tally["cuts"] += 1
    tally["with writes not synced"] += writes > 0
    tally["in more than one file"] += files > 1
    tally["bytes not synced"] += size


def run(messages, options, seed, percentile):
    rounds = 20 if options.short else options.rounds or 500
    print(f"seed {seed}, {rounds} rounds", flush=True)
    begin = time.monotonic()
    chance = random.Random(seed)
    tally = {name: 0 for name in ("cuts", "with writes not synced", "in more than one file", "bytes not synced", "not reached")}
    restarts = []
    with lone_ingest(messages, keep=options.keep) as lone:
        library = build_preload(lone.folder, "power")
        load = Load(lone, seed)
        load.wait_for_batch()
        for number in range(rounds):
            round_of(lone, load, library, number, chance, tally)
            # From what the cut has left: everything acknowledged is there.
            restarts.append(load.restart_cleanly())
            if (number + 1) % 25 == 0:
                load.audit.read()
                print(f"{number + 1} rounds, {len(load.journal.acked)} events acknowledged, {tally}", flush=True)
        found = load.finish()
    if tally["with writes not synced"] * 3 < rounds:
        found.append(f"too few cuts took anything: {tally}")
    print(f"power: {tally}")
    print(f"figure power_rounds {rounds} rounds")
    print(f"figure power_cuts {tally['cuts']} cuts")
    print(f"figure power_restart_p99_milliseconds {percentile(restarts, 0.99) * 1000:.0f} ms")
    print(f"{time.monotonic() - begin:.0f} s", flush=True)
    return say(found)
