"""Event analysis, retention, users over time, performance: an app of three users, its figures worked out by hand."""

import grpc

from . import shop
from .harness import equal, fails, test, true

APP = "analysis"
MALE, FEMALE, LATER = 900, 901, 902
MINUTE = 60 * shop.SECOND


def stories():
    """What each user does, day by day."""
    three, two, one = (shop.at(shop.day(back), 10, 0) for back in (3, 2, 1))
    return {
        MALE: [
            shop.Step(three, "$launch"), shop.Step(three + MINUTE, "buy", price=10),
            shop.Step(three + 2 * MINUTE, "$performance", metric="launch", duration_ms=100),
            shop.Step(two, "$launch"), shop.Step(two + MINUTE, "buy", price=30)],
        FEMALE: [
            shop.Step(three, "$launch"), shop.Step(three, "$performance", metric="launch", duration_ms=300),
            shop.Step(three + MINUTE, "$error", kind="crash")],
        LATER: [shop.Step(one, "$launch"), shop.Step(one + MINUTE, "buy", price=5)],
    }


class Analysis:
    def __init__(self, world):
        suite, messages = world.suite, world.messages
        suite.create_app(APP)
        self.token = suite.create_token(["ingest:write", "query:read", "live:read", "profile:read"], APP)
        for user, steps in stories().items():
            answer = suite.ingest(self.token).Collect(shop.batch(messages, user, steps, app=APP), timeout=10)
            equal(answer.accepted, len(steps), "accepted")
        suite.wait_caught_up(self.token)
        self.channel = suite.channel("query", self.token)
        self.range = messages.common.DateRange(
            begin_date=shop.day(3).isoformat(), end_date=shop.day(1).isoformat())

    def asked(self, request, **fields):
        return request(app_id=APP, range=self.range, **fields)


def loaded(world):
    return world.once("analysis", lambda: Analysis(world))


@test("analysis: AnalyzeEvents answers totals, users, sums and formulas, in groups too")
def events(world):
    app, m = loaded(world), world.messages.analysis
    series = [m.EventSeries(events=["buy"]),
              m.EventSeries(events=["buy"], metric=m.EVENT_METRIC_SUM, field="price"),
              m.EventSeries(events=["buy"], metric=m.EVENT_METRIC_USERS),
              m.EventSeries(events=["buy"], metric=m.EVENT_METRIC_P75, field="price")]
    request = app.asked(
        m.AnalyzeEventsRequest, series=series, formulas=[m.EventFormula(name="price", expression="B / A")])
    stub = world.messages.analysis_rpc.EventAnalysisStub(app.channel)
    answer = stub.AnalyzeEvents(request, timeout=10)
    equal([result.name for result in answer.results], ["A", "B", "C", "D", "price"], "names")
    equal([[point.value for point in result.points] for result in answer.results],
          [[1, 1, 1], [10, 30, 5], [1, 1, 1], [10, 30, 5], [10, 30, 5]], "points")
    equal([result.total.value for result in answer.results], [3, 45, 2, 20, 15], "totals")
    equal(answer.info.events_read, 3, "events read")
    request.group_by.extend(["gender"])
    request.series[0].events[0] = "$launch"
    groups = stub.AnalyzeEvents(request, timeout=10).groups
    equal([group.key[0].value.string_value for group in groups], ["male", "female"], "groups")
    equal([group.results[0].total.value for group in groups], [3, 1], "launches")
    true(not groups[1].results[4].points[1].HasField("value"), "B / A is not defined without launches")
    request.group_by[0] = "colour"
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stub.AnalyzeEvents(request, timeout=10), "group_by[0]", "colour")
    request.group_by[0] = "gender"
    request.formulas[0].expression = "A +"
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stub.AnalyzeEvents(request, timeout=10), "formulas[0]", "at 4")


@test("analysis: GetRetention answers who of each day's new users comes back")
def retention(world):
    app, m = loaded(world), world.messages.retention
    stub = world.messages.retention_rpc.RetentionStub(app.channel)
    answer = stub.GetRetention(app.asked(m.GetRetentionRequest), timeout=10)
    equal([row.size for row in answer.table.rows], [2, 0, 1], "sizes")
    cells = answer.table.rows[0].cells
    equal([(cell.key, cell.users, cell.complete) for cell in cells],
          [(0, 2, True), (1, 1, True), (2, 0, True), (3, 0, False)], "cells")
    equal([(cell.key, cell.users, cell.share) for cell in answer.table.curve], [(0, 3, 1), (1, 1, .5), (2, 0, 0)], "curve")
    request = app.asked(m.GetRetentionRequest, keys=[1], brackets=[m.RetentionBracket(begin=1, end=2)])
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stub.GetRetention(request, timeout=10), "brackets")


@test("analysis: tiers, lifecycle, stickiness and repurchase answer as counted by hand")
def users(world):
    app, m = loaded(world), world.messages.users
    stub = world.messages.users_rpc.UsersStub(app.channel)
    tiers = stub.GetUserTiers(app.asked(m.GetUserTiersRequest, active_days=1, dormant_days=2), timeout=10)
    equal([(p.new, p.active, p.dormant, p.churned) for p in tiers.points],
          [(2, 0, 0, 0), (0, 1, 1, 0), (1, 0, 1, 1)], "tiers")
    lifecycle = stub.GetLifecycle(app.asked(m.GetLifecycleRequest), timeout=10)
    equal([(p.new, p.returning, p.resurrecting, p.dormant) for p in lifecycle.points],
          [(2, 0, 0, 0), (0, 1, 0, -1), (1, 0, 0, -1)], "lifecycle")
    stickiness = stub.GetStickiness(app.asked(m.GetStickinessRequest), timeout=10)
    equal([(bar.days, bar.users) for bar in stickiness.bars], [(1, 2), (2, 1)], "bars")
    equal([(p.dau, p.wau, p.mau) for p in stickiness.points], [(2, 2, 2), (1, 2, 2), (1, 3, 3)], "active users")
    order = world.messages.common.EventMatch(events=["buy"])
    repurchase = stub.GetRepurchase(app.asked(m.GetRepurchaseRequest, order=order), timeout=10).metrics
    equal((repurchase.orders, repurchase.buyers, repurchase.repeat_buyers, repurchase.repurchase_rate), (3, 2, 1, .5), "orders")
    equal((repurchase.mean_gap_ms, repurchase.median_gap_ms), (86_400_000, 86_400_000), "gaps")
    equal([(bar.days, bar.gaps) for bar in repurchase.gaps][:2], [(1, 1), (3, 0)], "classes")
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stub.GetRepurchase(app.asked(m.GetRepurchaseRequest), timeout=10), "order")
    fails(grpc.StatusCode.INVALID_ARGUMENT,
          lambda: stub.GetUserTiers(app.asked(m.GetUserTiersRequest, active_days=400), timeout=10), "active_days", "365")


@test("analysis: GetPerformance answers durations and rates of errors")
def performance(world):
    app, m = loaded(world), world.messages.performance
    stub = world.messages.performance_rpc.PerformanceStub(app.channel)
    answer = stub.GetPerformance(app.asked(m.GetPerformanceRequest, breakdown="gender"), timeout=10)
    equal([series.metric for series in answer.series], ["launch"], "metrics")
    total = answer.series[0].total
    equal((total.count, total.users, total.mean, total.p50, total.max), (2, 2, 200, 200, 300), "durations")
    stability = answer.stability
    equal((stability.errors, stability.crashes, stability.crash_users, stability.visit_uv, stability.session_cnt),
          (1, 1, 1, 3, 4), "stability")
    true(abs(stability.crash_user_rate - 1 / 3) < 1e-12, "crash_user_rate")
    equal([(group.value.string_value, group.series[0].total.max, group.stability.visit_uv) for group in answer.breakdown],
          [("female", 300, 1), ("male", 100, 2)], "by gender")
