"""Quarantine, from python: what is kept aside is listed, shown, sent again once, and given up."""

import time
import urllib.request

import grpc

from . import shop
from .harness import equal, fails, test, true

CODE = grpc.StatusCode
APP = "aside"
DAY = 86_400_000


class Desk:
    """An app of its own and two tokens: one that sends for it, one of the administrator."""

    def __init__(self, world, app=APP):
        self.world, self.suite, self.m, self.app = world, world.suite, world.messages.quarantine, app
        self.suite.create_app(app)
        self.token = self.suite.create_token(["ingest:write", "query:read", "live:read", "profile:read"], app)
        self.collect = self.suite.ingest(self.token).Collect
        self.calls = self.suite.quarantine()
        self.now = int(time.time() * 1000)

    def event(self, event_id, days=0, name="view", **fields):
        event = self.world.messages.ingest.Event(name=name, time_ms=self.now - days * DAY - 1000, event_id=event_id)
        event.fields.extend(shop.field(self.world.messages, key, value) for key, value in fields.items())
        return event

    def send(self, *events, **fields):
        m = self.world.messages.ingest
        context = m.Context(open_id="u", city="Suzhou", sdk_version="2.0")
        return self.collect(m.CollectRequest(context=context, events=events, **fields), timeout=10)

    def list(self, filter=None, size=0, cursor="", app=None):
        request = self.m.ListQuarantinedRequest(
            app_id=self.app if app is None else app, filter=filter, page_size=size, cursor=cursor)
        return self.calls.ListQuarantined(request, timeout=10)

    def count(self):
        answer = self.calls.CountQuarantined(self.m.CountQuarantinedRequest(app_id=self.app), timeout=10)
        return {one.reason: (one.kept, one.replayed, one.discarded, one.dropped) for one in answer.reasons}

    def get(self, id):
        return self.calls.GetQuarantined(self.m.GetQuarantinedRequest(app_id=self.app, id=id), timeout=10)

    def replay(self, *ids, **fields):
        request = self.m.ReplayQuarantinedRequest(app_id=self.app, ids=ids, **fields)
        return self.calls.ReplayQuarantined(request, timeout=30)

    def discard(self, *ids, note="test", **fields):
        request = self.m.DiscardQuarantinedRequest(app_id=self.app, ids=ids, note=note, **fields)
        return self.calls.DiscardQuarantined(request, timeout=30)

    def events_in_reports(self):
        self.suite.wait_caught_up(self.token)
        q, c = self.world.messages.query, self.world.messages.common
        period = c.DateRange(begin_date=shop.day(12).isoformat(), end_date=shop.day(0).isoformat())
        request = q.GetTrendRequest(app_id=self.app, range=period, granularity=4)
        return self.suite.query(self.token).GetTrend(request, timeout=10).points[0].metrics.event_cnt


def desk_of(world):
    return world.once("quarantine desk", lambda: Desk(world))


@test("quarantine: what is kept aside is listed by reason, counted, and shown as it came")
def kept(world):
    desk = desk_of(world)
    equal(desk.send(desk.event("good", price=1)).accepted, 1, "accepted")
    answer = desk.send(desk.event("late", days=9), desk.event("type", price="1"), desk.event("good", name="other"))
    equal(answer.accepted, 0, "accepted")
    equal([(one.index, one.field, one.reason) for one in answer.quarantined], [
        (0, "time_ms", "late"), (1, "fields.price", "wrong_type"), (2, "event_id", "conflict")], "kept aside")
    ids = [one.quarantine_id for one in answer.quarantined]
    again = desk.send(desk.event("late", days=9), desk.event("type", price="1"), desk.event("good", name="other"))
    equal(again, answer, "the answer to the same events")
    equal([one.id for one in desk.list().events], ids[::-1], "ids, the newest first")
    equal(desk.count(), {reason: (1, 0, 0, 0) for reason in ("late", "wrong_type", "conflict")}, "counts")
    for id, reason in zip(ids, ("late", "wrong_type", "conflict")):
        found = desk.list(desk.m.QuarantineFilter(reasons=[reason]))
        equal([one.id for one in found.events], [id], f"ids by reason {reason}")
    one = desk.get(ids[1])
    equal((one.reason, one.field, one.event_name, one.sdk_version), ("wrong_type", "fields.price", "view", "2.0"), "shown")
    equal((one.request.context.city, one.request.events[0].event_id), ("Suzhou", "type"), "the event and its context")
    true(abs(one.received_ms - time.time() * 1000) < 60_000, "received_ms is the time of receipt")


@test("quarantine: a replay twice counts the event once, and so does another delivery of it")
def replay_once(world):
    desk = desk_of(world)
    event = desk.event("replayed", days=8)
    id = desk.send(event).quarantined[0].quarantine_id
    before = desk.events_in_reports()
    stays = desk.replay(id)
    equal([(one.id, one.reason) for one in stays.problems], [(id, "late")], "why it stays without a waiver")
    equal(desk.replay(id, waive_late=True, dry_run=True).replayed, 1, "a dry run")
    equal(desk.events_in_reports(), before, "events after a dry run")
    equal(desk.replay(id, waive_late=True).replayed, 1, "the replay")
    answer = desk.replay(id, waive_late=True)
    equal((answer.replayed, answer.settled), (0, 1), "the same replay again")
    delivery = desk.send(event)
    equal((delivery.accepted, delivery.duplicates), (1, 1), "a delivery afterwards")
    equal(desk.events_in_reports(), before + 1, "events in reports")
    equal(desk.get(id).state, desk.m.QUARANTINE_STATE_REPLAYED, "state")
    true(not desk.get(id).HasField("request"), "an event that has left is not kept here too")


@test("quarantine: a filter replays page by page, the oldest first")
def replay_filter(world):
    desk = world.once("quarantine pages", lambda: Desk(world, "aside-pages"))
    desk.send(*(desk.event(f"e{number}", days=8) for number in range(25)))
    replayed, cursor, pages = 0, "", 0
    while pages == 0 or cursor:
        answer = desk.replay(filter=desk.m.QuarantineFilter(reasons=["late"]), limit=10, waive_late=True, cursor=cursor)
        replayed, cursor, pages = replayed + answer.replayed, answer.next_cursor, pages + 1
    equal((replayed, pages), (25, 3), "replayed events and pages")
    equal(desk.count(), {"late": (0, 25, 0, 0)}, "counts")
    equal(desk.events_in_reports(), 25, "events in reports")


@test("quarantine: pages of a list hold every event once")
def pages(world):
    desk = world.once("quarantine list", lambda: Desk(world, "aside-list"))
    sent = desk.send(*(desk.event(f"e{number}", days=8) for number in range(25)))
    seen, cursor = [], ""
    while not seen or cursor:
        page = desk.list(size=10, cursor=cursor)
        seen, cursor = seen + [one.id for one in page.events], page.next_cursor
    equal(seen, [one.quarantine_id for one in sent.quarantined][::-1], "ids")


@test("quarantine: a conflict is never replayed; discarded, it is not kept again")
def discard(world):
    desk = world.once("quarantine conflicts", lambda: Desk(world, "aside-conflicts"))
    desk.send(desk.event("e"))
    other = desk.event("e", name="other")
    first = desk.send(other)
    id = first.quarantined[0].quarantine_id
    answer = desk.replay(id, waive_late=True, waive_below_window=True)
    equal([one.reason for one in answer.problems], ["conflict"], "why it stays")
    equal((desk.discard(id).discarded, desk.discard(id).settled), (1, 1), "discarded, and again")
    equal(desk.send(other), first, "the answer to another delivery")
    equal(desk.count(), {"conflict": (0, 0, 1, 0)}, "counts")
    equal(desk.get(id).note, "test", "note")


@test("quarantine: bad cursors, ids, filters and limits are refused by name")
def refused(world):
    desk = world.once("quarantine refusals", lambda: Desk(world, "aside-refusals"))
    ids = [one.quarantine_id for one in desk.send(*(desk.event(f"e{n}", days=8) for n in range(3))).quarantined]
    cursor = desk.list(size=1).next_cursor
    f = desk.m.QuarantineFilter
    bad, gone = CODE.INVALID_ARGUMENT, CODE.NOT_FOUND
    for code, call, mention in [
        (bad, lambda: desk.list(cursor="nonsense"), "cursor"),
        (bad, lambda: desk.list(cursor=cursor[::-1]), "cursor"),
        (bad, lambda: desk.list(f(reasons=["late"]), cursor=cursor), "cursor"),
        (bad, lambda: desk.list(cursor=cursor, app=desk_of(world).app), "cursor"),
        (bad, lambda: desk.list(size=1001), "1000"),
        (bad, lambda: desk.list(f(reasons=["bad luck"])), "bad luck"),
        (bad, lambda: desk.list(f(event_name="Bad Name")), "event_name"),
        (bad, lambda: desk.list(f(received_from_ms=-5)), "-5"),
        (bad, lambda: desk.list(f(received_from_ms=9, received_to_ms=9)), "received_to_ms"),
        (bad, lambda: desk.list(app=""), "app_id"),
        (gone, lambda: desk.list(app="nowhere"), "nowhere"),
        (gone, lambda: desk.get(0), "0"),
        (gone, lambda: desk.get(2**63 + 5), "9223372036854775813"),
        (bad, lambda: desk.replay(), "ids"),
        (bad, lambda: desk.replay(ids[0], filter=f()), "ids"),
        (bad, lambda: desk.replay(*range(1, 1002)), "1001"),
        (bad, lambda: desk.replay(0), "ids"),
        (bad, lambda: desk.replay(filter=f(), limit=10_001), "10001"),
        (gone, lambda: desk.replay(ids[0], 999_999, waive_late=True), "999999"),
        (bad, lambda: desk.discard(ids[0], note=""), "note"),
        (bad, lambda: desk.discard(ids[0], note="n" * 257), "257"),
    ]:
        fails(code, call, mention)
    equal(desk.count(), {"late": (3, 0, 0, 0)}, "nothing has changed")


@test("quarantine: no token of an app reaches it, and an event of another app is not there")
def isolated(world):
    desk = desk_of(world)
    other = world.once("quarantine other", lambda: Desk(world, "aside-other"))
    id = other.send(other.event("mine", days=8)).quarantined[0].quarantine_id
    fails(CODE.NOT_FOUND, lambda: desk.get(id), str(id))
    fails(CODE.NOT_FOUND, lambda: desk.replay(id, waive_late=True), str(id))
    fails(CODE.NOT_FOUND, lambda: desk.discard(id), str(id))
    for token in (desk.token, other.token):
        calls, m = world.suite.quarantine(token), desk.m
        for call in (
            lambda: calls.ListQuarantined(m.ListQuarantinedRequest(), timeout=5),
            lambda: calls.CountQuarantined(m.CountQuarantinedRequest(), timeout=5),
            lambda: calls.GetQuarantined(m.GetQuarantinedRequest(id=id), timeout=5),
            lambda: calls.ReplayQuarantined(m.ReplayQuarantinedRequest(ids=[id]), timeout=5),
            lambda: calls.DiscardQuarantined(m.DiscardQuarantinedRequest(ids=[id], note="n"), timeout=5),
        ):
            fails(CODE.PERMISSION_DENIED, call, "admin")
    equal(other.count(), {"late": (1, 0, 0, 0)}, "the other app's event is untouched")


@test("quarantine: the metrics port counts events by step, outcome and reason, and times the steps")
def metrics(world):
    desk = world.once("quarantine metrics", lambda: Desk(world, "aside-metrics"))
    url = f"http://127.0.0.1:{world.suite.metrics_ports['ingest']}/metrics"

    def read():
        lines = urllib.request.urlopen(url, timeout=5).read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line and line[0] != "#")

    def events(figures, *labels):
        step, outcome, reason = labels
        return int(figures[f'footfall_ingest_events_total{{step="{step}",outcome="{outcome}",reason="{reason}"}}'])

    before = read()
    desk.send(desk.event("a"), desk.event("a"), desk.event("b", days=8), desk.event("c", name="Bad"))
    after = read()
    for labels in (
        ("append", "accepted", ""), ("deduplicate", "duplicate", ""), ("lateness", "quarantined", "late"),
        ("names", "rejected", "bad_name"),
    ):
        equal(events(after, *labels) - events(before, *labels), 1, f"events of {labels}")
    for step in ("decode", "deduplicate", "append", "sync", "answer"):
        true(float(after[f'footfall_ingest_step_seconds_sum{{step="{step}"}}']) > 0, f"time of {step}")
