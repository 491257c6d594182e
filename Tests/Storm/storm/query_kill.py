"""SIGKILL to query at named points of applying, sealing, merging, checkpointing and migrating, under load: afterwards its
store holds the bytes of one that is built from the log."""

import random
import time

from footfall_tests.stores import query_store, wait_sealed
from footfall_tests.suite import Suite

from .journal import Journal
from .killer import Broken
from .lone_storm import say
from .producer import Producer

APP = "storm"
DAY_MS = 86_400_000
PRODUCERS = 4
CYCLES_PER_ROUND = 25
# So few that merges go on all the time.
SEAL_ROWS = "40"
DIE_SECONDS_MAX = 8
SCOPES = ["ingest:write", "query:read"]
# Where the service says that it is (CrashPoint.reached), and the most times that it passes there before it is killed.
POINTS = {
    "apply.written": 40, "apply.committed": 40, "store.written": 60, "store.committed": 60,
    "merge.segmentWritten": 12, "merge.beforeEnforce": 4, "merge.inEnforce": 4, "merge.rowBlocksDeleted": 4,
    "merge.enforced": 4, "merge.retiredDeleted": 3, "checkpoint.begun": 2, "checkpoint.done": 2,
}
# Reached where a file is new or of an earlier release.
MIGRATION_POINTS = ("migrate.written", "migrate.committed")
# At a random moment.
ANYWHERE = "anywhere"


class HistoryProducer(Producer):
    """Events of today and the days before, so that merges rewrite several days."""

    def batch(self):
        request = super().batch()
        for event in request.events:
            event.time_ms -= self.random.choice((0, 0, 0, 1, 2, 5)) * DAY_MS
            price = event.fields.add(name="price")
            price.value.integer_value = self.random.randrange(1000)
            tag = event.fields.add(name="tag")
            tag.value.string_value = f"tag {self.random.randrange(200)}"
        return request


class QueryKiller:
    """Starts query again and again, to die at one point or another."""

    def __init__(self, suite, token, seed):
        self.suite, self.token = suite, token
        self.random = random.Random(seed)
        self.process = suite.processes["query"]
        self.arguments = list(self.process.arguments)
        self.hits, self.missed, self.restarts = {}, 0, []

    def start(self, point=None, count=1, seal_rows=SEAL_ROWS):
        self.process.arguments = self.arguments + ["--seal-rows", seal_rows, "--compress-after-seconds", "31536000"]
        self.process.environment = {"CRASH_AT": f"{point}:{count}"} if point else {}
        self.process.start()

    def cycle(self, point):
        if point in MIGRATION_POINTS:
            self.empty()
        self.start(None if point == ANYWHERE else point, self.random.randint(1, POINTS.get(point, 4)))
        seconds = self.random.uniform(0, 1) if point == ANYWHERE else DIE_SECONDS_MAX
        end = time.monotonic() + seconds
        while self.process.child.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        status = self.process.child.poll()
        if status is None:
            self.process.kill()
            self.missed += point != ANYWHERE
        elif status != -9:
            raise Broken(f"{point}: query ended by itself, status {status}:\n{self.process.log_tail()}")
        if status == -9 or point == ANYWHERE:
            self.hits[point] = self.hits.get(point, 0) + 1

    def empty(self):
        for path in self.suite.data.glob("query.sqlite*"):
            path.unlink()

    def sealed(self):
        """What the store holds once it has caught up and sealed all."""
        begin = time.monotonic()
        self.start(seal_rows="1")
        self.process.wait_listening()
        self.restarts.append(time.monotonic() - begin)
        self.suite.wait_caught_up_one("query", self.token)
        wait_sealed(self.suite.metrics_ports["query"])
        if self.process.terminate() != 0:
            raise Broken(f"query did not end well:\n{self.process.log_tail()}")
        return query_store(self.suite.data / "query.sqlite")

    def compare(self):
        """What differs between the store and one that is built anew, one sentence each."""
        grown = self.sealed()
        self.empty()
        rebuilt = self.sealed()
        if rebuilt["segment_column"][0] < 20:
            return ["a rebuilt store that holds next to nothing shows nothing"]
        names = sorted(set(grown) | set(rebuilt))
        return [f"table {name}: {grown.get(name)} grown, {rebuilt.get(name)} rebuilt"
                for name in names if grown.get(name) != rebuilt.get(name)]


def points_of(cycles, chance):
    """As many points as there are cycles, every one as often as the others, in a random order; new files first."""
    names = list(POINTS) + [ANYWHERE]
    migrations = [MIGRATION_POINTS[number % 2] for number in range(max(2, cycles // 10))]
    others = [names[number % len(names)] for number in range(cycles - len(migrations))]
    chance.shuffle(others)
    return migrations + others


def run(messages, options, seed, percentile):
    cycles = 26 if options.short else options.cycles or 200
    print(f"seed {seed}, {cycles} cycles", flush=True)
    begin = time.monotonic()
    suite = Suite(messages)
    keep, found = True, []
    try:
        suite.start(["ingest"])
        suite.create_app(APP)
        token = suite.create_token(SCOPES, APP)
        journal = Journal(suite.folder / "journal.txt")
        killer = QueryKiller(suite, token, seed)
        points = points_of(cycles, killer.random)
        for first in range(0, cycles, CYCLES_PER_ROUND):
            round_of(suite, messages, token, journal, killer, points[first:first + CYCLES_PER_ROUND], seed + first)
            found += killer.compare()
            print(f"{min(first + CYCLES_PER_ROUND, cycles)} cycles, {journal.events} events, {len(found)} differences", flush=True)
        found += journal.wrong
        never = [name for name in (*POINTS, *MIGRATION_POINTS) if not killer.hits.get(name)]
        if never:
            found.append(f"never killed at: {' '.join(never)}")
        print(f"killed at: {killer.hits}; not reached in {DIE_SECONDS_MAX} s: {killer.missed}")
        print(f"figure query_kill_cycles {cycles} cycles")
        print(f"figure query_kill_events {journal.events} events")
        print(f"figure query_restart_p50_milliseconds {percentile(killer.restarts, 0.5) * 1000:.1f} ms")
        print(f"{time.monotonic() - begin:.0f} s", flush=True)
        keep = options.keep or bool(found)
        return say(found)
    finally:
        suite.stop(keep)
        if keep:
            print(f"kept: {suite.folder}", flush=True)


def round_of(suite, messages, token, journal, killer, points, seed):
    """Kills under load, then calm: every batch acknowledged, query down."""
    producers = [HistoryProducer(number, seed, messages, suite.ports["ingest"], token, APP, journal) for number in range(PRODUCERS)]
    for producer in producers:
        # Numbers and ids of their own, or what they send would be known.
        producer.number = f"{seed}-{producer.number}"
        producer.start()
    try:
        for point in points:
            killer.cycle(point)
    finally:
        for producer in producers:
            producer.stop()
        for producer in producers:
            producer.join(timeout=60)
    for producer in producers:
        if producer.failure:
            raise Broken(f"{producer.name}: {producer.failure}")
