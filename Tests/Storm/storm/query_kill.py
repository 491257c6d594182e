"""SIGKILL to query at named points of applying, sealing, merging, checkpointing, migrating and erasing, under load: afterwards
its store holds the bytes of one that is built from the log; where users were erased, it answers alike and holds nothing of them."""

import datetime
import random
import re
import threading
import time

import grpc

from footfall_tests.stores import metric, query_store, wait_sealed
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
SCOPES = ["ingest:write", "query:read", "query:users", "profile:erase"]
# Where the service says that it is (CrashPoint.reached), and the most times that it passes there before it is killed.
POINTS = {
    "apply.written": 40, "apply.committed": 40, "store.written": 60, "store.committed": 60,
    "merge.segmentWritten": 12, "merge.beforeEnforce": 4, "merge.inEnforce": 4, "merge.rowBlocksDeleted": 4,
    "merge.enforced": 4, "merge.retiredDeleted": 3, "checkpoint.begun": 2, "checkpoint.done": 2,
}
# Reached where a file is new or of an earlier release.
MIGRATION_POINTS = ("migrate.written", "migrate.committed")
# Reached where users are erased.
ERASURE_POINTS = {
    "erase.written": 3, "merge.begun": 3, "merge.segmentWritten": 9, "merge.beforeEnforce": 2, "merge.rowBlocksDeleted": 2,
    "merge.enforced": 2, "erase.beforeRewrite": 2, "erase.rewritten": 2, "erase.truncated": 2,
}
BREAKDOWNS = ("", "open_id", "page_path", "province", "event", "tag")
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
        self.process.arguments = self.arguments + ["--compress-after-seconds", "0", "--seal-rows", seal_rows]
        self.process.environment = {"CRASH_AT": f"{point}:{count}"} if point else {}
        self.process.start()

    def cycle(self, point):
        if point in MIGRATION_POINTS:
            self.empty()
        most = ERASURE_POINTS.get(point) or POINTS.get(point, 4)
        self.start(None if point == ANYWHERE else point, self.random.randint(1, most))
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

    def sealed(self, ask=None):
        """What the store holds, or answers, once it has caught up and sealed all."""
        begin = time.monotonic()
        self.start(seal_rows="1")
        self.process.wait_listening()
        self.restarts.append(time.monotonic() - begin)
        self.suite.wait_caught_up_one("query", self.token)
        wait_sealed(self.suite.metrics_ports["query"])
        found = ask() if ask else None
        if self.process.terminate() != 0:
            raise Broken(f"query did not end well:\n{self.process.log_tail()}")
        return found if ask else query_store(self.suite.data / "query.sqlite")

    def compare(self):
        """What differs between the store and one that is built anew, one sentence each."""
        grown = self.sealed()
        self.empty()
        rebuilt = self.sealed()
        if rebuilt["segment_column"][0] < 2:
            return ["a rebuilt store that holds next to nothing shows nothing"]
        names = sorted(set(grown) | set(rebuilt))
        return [f"table {name}: {grown.get(name)} grown, {rebuilt.get(name)} rebuilt"
                for name in names if grown.get(name) != rebuilt.get(name)]


class Eraser(threading.Thread):
    """Erases users, one after another, whatever happens to query."""

    def __init__(self, suite, token, users):
        super().__init__(daemon=True)
        m = suite.messages
        self.stub = m.log_rpc.LogControlStub(suite.channel("ingest", token))
        self.requests = [m.log.EraseUserRequest(app_id=APP, open_id=user) for user in users]
        self.stopping = threading.Event()
        self.erased, self.failure = [], None

    def run(self):
        for request in self.requests:
            if self.stopping.wait(0.25):
                return
            try:
                self.stub.EraseUser(request, timeout=60)
            except grpc.RpcError as error:
                self.failure = error
                return
            self.erased.append(request.open_id)


def answers(suite, token):
    """Reports that stand on all rows."""
    m = suite.messages
    today = datetime.datetime.now(datetime.timezone.utc).date()
    days = m.common.DateRange(begin_date=(today - datetime.timedelta(days=7)).isoformat(),
                              end_date=(today + datetime.timedelta(days=1)).isoformat())
    found = []
    for breakdown in BREAKDOWNS:
        request = m.query.GetTrendRequest(app_id=APP, range=days, granularity=1, breakdown=breakdown, breakdown_limit=400)
        found.append(suite.query(token).GetTrend(request, timeout=60).SerializeToString(deterministic=True))
    return found


def wait_erased(suite, seconds=60):
    end = time.monotonic() + seconds
    while metric(suite.metrics_ports["query"], "footfall_query_erasures_waiting") > 0:
        if time.monotonic() > end:
            raise Broken(f"users are not erased within {seconds} s")
        time.sleep(0.05)


def erasing_round(suite, messages, token, journal, killer, seed, cycles):
    """Kills while users are erased and others go on. What is wrong, one sentence each."""
    victims = [HistoryProducer(number, seed, messages, suite.ports["ingest"], token, APP, journal) for number in range(2)]
    for number, producer in enumerate(victims):
        producer.number = f"victim-{seed}-{number}"
    killer.start()
    killer.process.wait_listening()
    calm(victims, lambda: time.sleep(3))
    killer.process.kill()
    users = sorted(user for user in journal.events_of_user if f"victim-{seed}-" in user)
    eraser = Eraser(suite, token, users)
    eraser.start()
    names = [list(ERASURE_POINTS)[number % len(ERASURE_POINTS)] for number in range(cycles)]
    killer.random.shuffle(names)
    round_of(suite, messages, token, journal, killer, names, seed + 1)
    eraser.stopping.set()
    eraser.join(timeout=60)
    if eraser.failure or not eraser.erased:
        raise Broken(f"users were not erased: {eraser.failure}")

    def ask():
        wait_erased(suite)
        return answers(suite, token)

    grown = killer.sealed(ask)
    bytes_left = b"".join(path.read_bytes() for path in suite.data.glob("query.sqlite*"))
    found = [f"{user} is still in query's files" for user in eraser.erased
             if re.search(re.escape(user.encode()) + rb"(?![0-9])", bytes_left)]
    killer.empty()
    rebuilt = killer.sealed(ask)
    found += [f"the answer by {name or 'nothing'} differs" for name, a, b in zip(BREAKDOWNS, grown, rebuilt) if a != b]
    print(f"{cycles} cycles with {len(eraser.erased)} erasures, {len(found)} differences", flush=True)
    return found


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
        found += erasing_round(suite, messages, token, journal, killer, seed, 9 if options.short else cycles // 4)
        found += journal.wrong
        never = [name for name in (*POINTS, *MIGRATION_POINTS, *ERASURE_POINTS) if not killer.hits.get(name)]
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

    def kill_all():
        for point in points:
            killer.cycle(point)

    calm(producers, kill_all)


def calm(producers, while_they_run):
    """Producers send until something is done, and all that they sent is acknowledged."""
    for producer in producers:
        producer.start()
    try:
        while_they_run()
    finally:
        for producer in producers:
            producer.stop()
        for producer in producers:
            producer.join(timeout=60)
    for producer in producers:
        if producer.failure:
            raise Broken(f"{producer.name}: {producer.failure}")
