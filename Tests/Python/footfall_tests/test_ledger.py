"""The completeness ledger, from python: what became of events, and what never came."""

import random
import threading
import time

import grpc

from . import shop
from .harness import equal, fails, test, true, until

CODE = grpc.StatusCode
APP = "ledger"
SCOPES = ["ingest:write", "query:read", "profile:read", "profile:write"]


class Desk:
    """An app of its own, with a token that is bound to it."""

    def __init__(self, world, app=APP):
        self.world, self.suite, self.messages, self.app = world, world.suite, world.messages, app
        self.suite.create_app(app)
        self.token = self.suite.create_token(SCOPES, app)
        self.collect = self.suite.ingest(self.token).Collect

    def request(self, numbers, device="d", user="u", version="1.0", **fields):
        """A batch of one event per number."""
        m = self.messages.ingest
        now = int(time.time() * 1000)
        events = [m.Event(name="view", time_ms=now - 1000, sequence=number) for number in numbers]
        context = m.Context(open_id=user, sdk_version=version)
        return m.CollectRequest(context=context, events=events, device_id=device, **fields)

    def send(self, numbers, **fields):
        return self.collect(self.request(numbers, **fields), timeout=10)

    def ledger(self, token=None, days=2, app="", by_sdk_version=False):
        m = self.messages
        period = m.common.DateRange(begin_date=shop.day(days - 1).isoformat(), end_date=shop.day(0).isoformat())
        request = m.ledger.GetCompletenessRequest(app_id=app, range=period, by_sdk_version=by_sdk_version)
        return self.suite.completeness(token or self.token).GetCompleteness(request, timeout=10)


def by_reason(counts):
    return {count.reason: count.events for count in counts}


def balanced(figures, what):
    """Every received event has exactly one outcome."""
    outcomes = figures.accepted + figures.duplicate
    outcomes += sum(count.events for count in list(figures.quarantined) + list(figures.rejected))
    equal(outcomes, figures.received, f"{what}: outcomes of received events")


def records(desk):
    """What the log holds of the desk's app, up to its end now."""
    token = desk.suite.create_token(["events:read"])
    stub = desk.messages.ingest_rpc.EventLogStub(desk.suite.channel("ingest", token))
    head, found = desk.suite.head_offset(), []
    request = desk.messages.ingest.SubscribeRequest(from_offset=0, subscriber="test")
    stream = stub.Subscribe(request, timeout=30)
    for message in stream:
        found += message.records
        if found and found[-1].first_offset + found[-1].count >= head:
            break
    stream.cancel()
    return [record for record in found if record.app_id == desk.app]


@test("ledger: numbers that were never sent are missing, exactly, and those that come late are not")
def known_loss(world):
    desk = world.once("ledger desk", lambda: Desk(world))
    dropped = {5, 6, 7, 40, 77}
    for first in range(1, 101, 20):
        numbers = [number for number in range(first, first + 20) if number not in dropped]
        equal(desk.send(numbers, device="lossy").accepted, len(numbers), "accepted")
    total = desk.ledger().total
    equal((total.received, total.accepted), (95, 95), "received and accepted")
    equal((total.gaps_opened, total.gaps_recovered, total.missing, total.lost), (5, 0, 5, 0), "gaps")
    equal(total.completeness, 95 / 100, "completeness")
    late = desk.request([77, 6], device="lossy")
    for _ in range(2):
        equal(desk.collect(late, timeout=10).accepted, 2, "accepted")
    for first in range(101, 1301, 200):
        desk.send(range(first, first + 200), device="lossy")
    answer = desk.ledger()
    total = answer.total
    equal((total.gaps_opened, total.gaps_recovered, total.missing, total.lost), (5, 2, 3, 3), "gaps")
    equal(total.duplicate, 2, "duplicates")
    balanced(total, "total")
    true(not answer.complete, "today is not over")


@test("ledger: a device that began before this log is no loss")
def before_first(world):
    desk = Desk(world, "ledger-old")
    desk.send([501, 502, 500])
    total = desk.ledger().total
    equal((total.before_first, total.before_first_received), (500, 1), "before the first")
    equal((total.missing, total.lost, total.completeness), (0, 0, 1.0), "missing, lost, completeness")


@test("ledger: outcomes by reason and by SDK version add up to what was received, after kill -9 too")
def outcomes(world):
    desk = Desk(world, "ledger-outcomes")
    request = desk.request(range(1, 6), version="2.0")
    request.events[1].name = "Bad Name"
    request.events[2].time_ms -= 8 * 86_400_000
    request.events[4].context.sdk_version = "2.1"
    for _ in range(3):
        desk.collect(request, timeout=10)
    ingest = world.suite.processes["ingest"]
    ingest.kill()
    ingest.start().wait_listening()
    desk.collect(request, timeout=10, wait_for_ready=True)
    answer = desk.ledger(by_sdk_version=True)
    equal([row.sdk_version for row in answer.rows], ["2.0", "2.1"], "versions")
    for row in answer.rows:
        balanced(row.figures, row.sdk_version)
    first, second = (row.figures for row in answer.rows)
    equal((first.received, first.accepted, first.duplicate, first.late), (16, 2, 6, 4), "of 2.0")
    equal(by_reason(first.rejected), {"bad_name": 4}, "rejected of 2.0")
    equal((second.received, second.accepted, second.duplicate), (4, 1, 3), "of 2.1")
    equal(answer.total.missing, 0, "a number whose event was refused is not missing")


class Senders:
    """Devices that number their events and send each batch until it is answered."""

    def __init__(self, desk, count):
        self.desk, self.answered, self.sent, self.ended = desk, 0, 0, threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(f"d{number}",)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, device):
        first = 1
        while not self.ended.is_set():
            request = self.desk.request(range(first, first + 10), device=device)
            while True:
                try:
                    answer = self.desk.collect(request, timeout=10, wait_for_ready=True)
                    break
                except grpc.RpcError as error:
                    true(error.code() in (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED), f"{error}")
            equal(answer.accepted, 10, "accepted")
            first += 10
            with self.lock:
                self.answered, self.sent = self.answered + 1, self.sent + 10

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@test("ledger: killed again and again while it writes, it agrees with the log to the event")
def killed(world):
    desk = Desk(world, "ledger-killed")
    ingest, senders, chance = world.suite.processes["ingest"], Senders(desk, 4), random.Random(4)
    try:
        for _ in range(10):
            wanted = senders.answered + chance.randrange(20, 60)
            until(lambda wanted=wanted: senders.answered >= wanted, what="batches are answered")
            ingest.kill()
            ingest.start().wait_listening()
    finally:
        senders.stop()
    total = desk.ledger().total
    balanced(total, "total")
    equal((total.accepted, total.missing, total.lost), (senders.sent, 0, 0), "accepted, missing, lost")
    stored = sum(record.count for record in records(desk) if record.batch)
    equal(total.accepted, stored, "events in the log")


@test("ledger: refusals name the field, and a token sees its own app only")
def refusals(world):
    desk = world.once("ledger desk", lambda: Desk(world))
    suite, m = world.suite, world.messages
    get = suite.completeness(desk.token).GetCompleteness

    def asked(begin, end, by_sdk_version=False):
        period = m.common.DateRange(begin_date=begin, end_date=end)
        request = m.ledger.GetCompletenessRequest(range=period, by_sdk_version=by_sdk_version)
        return lambda: get(request, timeout=10)

    fails(CODE.INVALID_ARGUMENT, asked("", "2025-01-01"), "range.begin_date")
    fails(CODE.INVALID_ARGUMENT, asked("2025-01-02", "2025-01-01"), "range.end_date", "2025-01-01")
    fails(CODE.INVALID_ARGUMENT, asked("2024-01-01", "2025-02-04"), "range", "400", "401")
    fails(CODE.INVALID_ARGUMENT, asked("2025-01-01", "2025-04-03", True), "by_sdk_version", "92", "93")
    suite.create_app("ledger-foreign")
    fails(CODE.PERMISSION_DENIED, lambda: desk.ledger(app="ledger-foreign"), "ledger-foreign")
    fails(CODE.INVALID_ARGUMENT, lambda: desk.ledger(token=suite.admin_token), "app_id")
    fails(CODE.NOT_FOUND, lambda: desk.ledger(token=suite.admin_token, app="no-such-app"), "no-such-app")
    writer = suite.create_token(["ingest:write"], APP)
    fails(CODE.PERMISSION_DENIED, lambda: desk.ledger(token=writer), "query:read")
    equal(desk.ledger(token=suite.admin_token, app=APP).total, desk.ledger().total, "the administrator's view")
