"""SIGKILL to ingest alone, over and over, under load."""

import random
import time

from .killer import Killer
from .lone_storm import Load, lone_ingest, say


class LoneKiller(Killer):
    """One process, killed at random moments, often while it gets up."""

    def __init__(self, lone, load, seed):
        super().__init__(None, load.journal, random.Random(seed))
        self.process, self.load = lone.process, load
        self.kills = 0

    def cycle(self, number, delay_max=0.25):
        self.wait(number, delay_max)
        self.kills_in_flight += self.journal.in_flight > 0
        self.process.kill()
        self.check_killed(self.process)
        self.kills += 1
        if self.random.random() < 0.1:
            self.process.start()
            time.sleep(self.random.uniform(0, 0.15))
            self.process.kill()
            self.check_killed(self.process)
            self.early_kills += 1
        since = self.journal.batches
        begin = time.monotonic()
        self.process.start()
        self.wait_serving_process(self.process, begin)
        self.restart_seconds.append(time.monotonic() - begin)
        self.load.wait_for_batch(since=since)


def run(messages, options, seed, percentile):
    cycles = 40 if options.short else options.cycles or 2_000
    print(f"seed {seed}, {cycles} cycles", flush=True)
    begin = time.monotonic()
    with lone_ingest(messages, keep=options.keep) as lone:
        load = Load(lone, seed)
        killer = LoneKiller(lone, load, seed)
        load.wait_for_batch()
        for number in range(cycles):
            killer.cycle(number)
            if (number + 1) % 100 == 0:
                load.audit.read()
                print(f"{number + 1} cycles, {load.journal.events} events acknowledged, "
                      f"{load.journal.retries} batches sent again", flush=True)
        found = load.finish()
        journal = load.journal
        print(f"kills {killer.kills}, with batches in flight {killer.kills_in_flight}, while starting {killer.early_kills}")
        print(f"batches: {journal.batches} acknowledged, {journal.retries} sent again {journal.errors}, "
              f"{journal.duplicates} events had been stored before their acknowledgement was lost")
        print(f"figure ingest_kill_cycles {cycles} cycles")
        print(f"figure ingest_kill_events {len(journal.acked)} events")
        print(f"figure ingest_restart_p50_milliseconds {percentile(killer.restart_seconds, 0.5) * 1000:.1f} ms")
        print(f"figure ingest_restart_p99_milliseconds {percentile(killer.restart_seconds, 0.99) * 1000:.1f} ms")
        print(f"{time.monotonic() - begin:.0f} s", flush=True)
        if killer.kills_in_flight * 2 < killer.kills:
            found.append("most kills hit nothing: the load was too small to show anything")
        return say(found)
