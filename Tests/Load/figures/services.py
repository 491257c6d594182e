"""Load on the services that read the log: their calls over what ingest took. Ingest itself: ingest.py."""

import datetime
import os
import pathlib
import subprocess
import time

from footfall_tests.suite import Suite

from .client import PROGRAMS, SERVER_CPU, check, figure, goal, load, print_checksum

APP = "load"
SCOPES = ["ingest:write", "ingest:import", "query:read", "live:read", "profile:read"]
COLLECT = "/footfall.ingest.v1.Ingest/Collect"
BATCH_EVENTS = 20
CONNECTIONS, LANES_PER_CONNECTION, USERS = 32, 8, 20_000
LANES = CONNECTIONS * LANES_PER_CONNECTION


class Running:
    """A suite with an app and a token, gone at the end."""

    def __init__(self, world, services, pinned=False):
        self.world = world
        self.suite = Suite(world.messages, cpus=SERVER_CPU if pinned else None)
        self.services = services

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.suite.stop(self.world.keep)
            raise
        return self

    def begin(self):
        self.suite.start(self.services)
        self.suite.create_app(APP)
        self.token = self.suite.create_token(SCOPES, APP)

    def __exit__(self, *_):
        self.suite.stop(self.world.keep)

    def collect(self, batches, *arguments, connections=CONNECTIONS, lanes=LANES_PER_CONNECTION, run="load"):
        return load(
            "collect", self.suite.ports["ingest"], COLLECT, "--connections", connections, "--lanes", lanes, "--calls",
            batches, "--batch-events", BATCH_EVENTS, "--app", APP, "--run", run, "--users", USERS, *arguments,
            token=self.token)

    def whole_range(self):
        """Whole days that hold every event of the run, in any time zone."""
        today = datetime.date.today()
        return self.world.messages.common.DateRange(
            begin_date=(today - datetime.timedelta(days=40)).isoformat(),
            end_date=(today + datetime.timedelta(days=1)).isoformat())

    def whole_trend(self, granularity=4, **fields):
        return self.world.messages.query.GetTrendRequest(
            app_id=APP, range=self.whole_range(), granularity=granularity, **fields)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def disk_bytes(folder, name):
    return sum(path.stat().st_size for path in pathlib.Path(folder).glob(f"{name}*"))


def counted_users(running, events):
    """The users that query counts, once it has counted all events."""
    running.suite.wait_caught_up_one("query", running.token, seconds=300)
    metrics = running.suite.query(running.token).GetTrend(running.whole_trend(), timeout=60).points[0].metrics
    check(metrics.event_cnt == events, f"{events} events were acknowledged, query has {metrics.event_cnt}")
    return metrics.visit_uv


def replay(running, service, method, requests, seconds, name, semantic=lambda answer: None):
    """Puts load on one read call. Each answer must be, byte for byte, the one given before the load, which `semantic` judges."""
    package, stub_name = {"query": ("query", "Query"), "live-stats": ("live", "LiveStats"),
                          "user-profile": ("profile", "UserProfile")}[service]
    path = f"/footfall.{package}.v1.{stub_name}/{method}"
    call = running.suite.channel(service, running.token).unary_unary(path)
    arguments = []
    answers = []
    for number, request in enumerate(requests):
        encoded = request.SerializeToString()
        answer = call(encoded, timeout=60)
        check(answer == call(encoded, timeout=60), f"{method}: the same question was answered in two ways")
        answers.append(answer)
        files = [os.path.join(running.world.folder, f"{name}-{number}.{kind}") for kind in ("request", "answer")]
        pathlib.Path(files[0]).write_bytes(encoded)
        pathlib.Path(files[1]).write_bytes(answer)
        arguments += ["--request", files[0], "--answer", files[1]]
    semantic(answers)
    result = load("replay", running.suite.ports[service], path, "--connections", 4, "--lanes", 4, "--seconds", seconds,
                  *arguments, token=running.token)
    figure(f"{name}_calls_per_second", round(result["calls_per_second"], 1), "1/s")
    figure(f"{name}_p50_milliseconds", result["p50_microseconds"] / 1000, "ms")
    figure(f"{name}_p99_milliseconds", result["p99_microseconds"] / 1000, "ms")
    folded = 0
    for answer in answers:
        for byte in answer:
            folded = (folded * 31 + byte) & 0xFFFFFFFF
    print_checksum(name, f"{folded:08x}-{len(answers)}-answers")


def query(world, short):
    """GetTrend and GetFunnel over a month of history, and how soon a new event is counted."""
    batches, seconds = (1_500, 1) if short else (50_000, 5)
    with Running(world, ["ingest", "query"]) as running:
        sent = running.collect(batches, "--days", 30)
        events = batches * BATCH_EVENTS
        users = counted_users(running, events)
        check(users == sent["users"], f"{sent['users']:.0f} users sent, query counts {users}")
        m = world.messages.query
        response = m.GetTrendResponse

        def daily(answers):
            trend = response.FromString(answers[0])
            check(sum(point.metrics.event_cnt for point in trend.points) == events, "the days do not add up")
            split = response.FromString(answers[1])
            check(sum(s.points[0].metrics.event_cnt for s in split.breakdown) == events, "the provinces do not add up")

        replay(running, "query", "GetTrend",
               [running.whole_trend(granularity=1), running.whole_trend(breakdown="province", breakdown_limit=100)],
               seconds, "query_trend", daily)
        steps = [m.FunnelStep(events=[name]) for name in ("$page_view", "add_to_cart", "purchase")]
        funnels = [m.GetFunnelRequest(app_id=APP, range=running.whole_range(), steps=steps, window_ms=window)
                   for window in (3_600_000, 86_400_000)]

        def decreasing(answers):
            for answer in answers:
                counts = [step.users for step in m.GetFunnelResponse.FromString(answer).steps]
                check(counts == sorted(counts, reverse=True) and 0 < counts[0] <= users, f"a funnel of {counts}")

        replay(running, "query", "GetFunnel", funnels, seconds, "query_funnel", decreasing)
        figure("query_disk_bytes_per_event", disk_bytes(running.suite.data, "query.sqlite") / events, "B")
    visible(world, short, "query")


def live(world, short):
    """Series and page list over a million events of now, and how soon a new event is shown."""
    batches, seconds = (1_500, 1) if short else (50_000, 5)
    with Running(world, ["ingest", "live-stats"]) as running:
        begin_ms = int(time.time() * 1000) // 60_000 * 60_000 - 5 * 60_000
        running.collect(batches)
        running.suite.wait_caught_up_one("live-stats", running.token, seconds=300)
        end_ms = int(time.time() * 1000) // 60_000 * 60_000 + 5 * 60_000
        events = batches * BATCH_EVENTS
        m = world.messages.live
        requests = [
            m.GetSeriesRequest(app_id=APP, begin_ms=begin_ms, end_ms=end_ms, bucket_minutes=1),
            m.GetSeriesRequest(app_id=APP, begin_ms=begin_ms, end_ms=end_ms, bucket_minutes=1,
                               page_path="pages/product/detail1"),
        ]

        def whole(answers):
            counted = sum(point.event_cnt for point in m.GetSeriesResponse.FromString(answers[0]).points)
            check(counted == events, f"{events} events were acknowledged, live-stats has {counted}")

        replay(running, "live-stats", "GetSeries", requests, seconds, "live_series", whole)

        def forty(answers):
            check(m.ListPagesResponse.FromString(answers[0]).page_cnt == 40, "not the 40 pages")

        replay(running, "live-stats", "ListPages", [m.ListPagesRequest(app_id=APP, begin_ms=begin_ms, end_ms=end_ms)],
               seconds, "live_pages", forty)
    visible(world, short, "live")


def profile(world, short):
    """GetProfile of many users and the portrait of a month."""
    batches, seconds = (1_500, 1) if short else (50_000, 5)
    with Running(world, ["ingest", "user-profile"]) as running:
        sent = running.collect(batches, "--days", 20)
        running.suite.wait_caught_up_one("user-profile", running.token, seconds=300)
        m = world.messages.profile
        # The first user of each of the client's lanes: those have certainly sent a batch.
        requests = [m.GetProfileRequest(app_id=APP, open_id=f"load-u{lane * (USERS // LANES):07}") for lane in range(200)]

        def whole(answers):
            for request, answer in zip(requests, answers):
                one = m.Profile.FromString(answer)
                check(one.open_id == request.open_id and one.event_cnt % BATCH_EVENTS == 0 and one.event_cnt > 0,
                      f"the profile of {request.open_id} has {one.event_cnt} events")

        replay(running, "user-profile", "GetProfile", requests, seconds, "profile_get", whole)
        yesterday = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=1)
        request = m.GetPortraitRequest(app_id=APP, end_date=yesterday.isoformat(), days=30, min_group_users=1)

        def users(answers):
            counted = m.GetPortraitResponse.FromString(answers[0]).visit_uv.users
            check(counted == sent["users"], f"{sent['users']:.0f} users sent, the portrait has {counted}")

        replay(running, "user-profile", "GetPortrait", [request], seconds, "profile_portrait", users)


def visible(world, short, which):
    """From an event's acknowledgement to the first answer that counts it, while other events come in all the time."""
    count = 20 if short else 300
    service = {"query": "query", "live": "live-stats"}[which]
    with Running(world, ["ingest", service]) as running:
        suite, m = running.suite, world.messages
        app = "seen"
        suite.create_app(app)
        token = suite.create_token(SCOPES, app)
        suite.wait_caught_up_one(service, running.token)
        background = subprocess.Popen(
            [PROGRAMS / "client", "collect", "--port", str(suite.ports["ingest"]), "--path", COLLECT, "--connections", "1",
             "--lanes", "1", "--seconds", "600", "--app", APP, "--token", running.token, "--run", "background"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            taken = [seen_after(running, token, app, number, which) for number in range(1, count + 1)]
        finally:
            background.kill()
            background.wait()
        figure(f"{which}_visible_p50_milliseconds", percentile(taken, 0.5) * 1000, "ms")
        figure(f"{which}_visible_p99_milliseconds", percentile(taken, 0.99) * 1000, "ms")
        if not short:
            goal(f"{which}_visible_p99_milliseconds", percentile(taken, 0.99) * 1000, most=1000)


def seen_after(running, token, app, number, which):
    """Sends event `number` of the app and asks until it is counted; the time since its acknowledgement in seconds."""
    suite, m = running.suite, running.world.messages
    now = int(time.time() * 1000)
    event = m.ingest.Event(name="$page_view", time_ms=now, page_path="pages/index", event_id=f"seen-{number}")
    request = m.ingest.CollectRequest(
        app_id=app, context=m.ingest.Context(open_id=f"seen-{number}"), events=[event], sent_ms=now)
    answer = suite.ingest(token).Collect(request, timeout=10)
    acknowledged = time.perf_counter()
    check(answer.accepted == 1, f"the event was not taken: {answer}")
    if which == "query":
        stub = suite.query(token)
        ask = m.query.GetTrendRequest(app_id=app, range=running.whole_range(), granularity=4)
        counted = lambda: stub.GetTrend(ask, timeout=10).points[0].metrics.event_cnt
    else:
        stub = suite.live(token)
        ask = m.live.GetSeriesRequest(app_id=app, begin_ms=now - 30 * 60_000, end_ms=now + 2 * 60_000)
        counted = lambda: sum(point.event_cnt for point in stub.GetSeries(ask, timeout=10).points)
    while True:
        value = counted()
        if value >= number:
            check(value == number, f"{number} events were sent, {which} has {value}")
            return time.perf_counter() - acknowledged
        check(time.perf_counter() - acknowledged < 30, f"event {number} is not visible in {which} after 30 s")
        time.sleep(0.002)


def memory(world, short):
    """Memory of the four services at rest, with an app and nothing to do. Resident memory counts the pages of libraries
    that the four share in each of them; proportional memory counts them once."""
    suite = Suite(world.messages, event_loops=0)
    try:
        suite.start()
        suite.create_app(APP)
        token = suite.create_token(SCOPES, APP)
        suite.wait_caught_up(token)
        # A service that has had no call for 5 s gives back code that it does not use, and looks every 5 s.
        time.sleep(1 if short else 15)
        resident = proportional = 0
        for name, process in suite.processes.items():
            one_resident, one_proportional = process.memory()
            figure(f"idle_memory_{name.replace('-', '_')}_megabytes", one_resident / 1e6, "MB")
            resident += one_resident
            proportional += one_proportional
        figure("idle_memory_megabytes", resident / 1e6, "MB")
        figure("idle_memory_proportional_megabytes", proportional / 1e6, "MB")
        if not short:
            goal("idle_memory_megabytes", resident / 1e6, most=120)
    finally:
        suite.stop(world.keep)
