"""The main job, from python: app, token, collect, trend, funnel, live, profile, portrait."""

import time

import grpc

from . import shop
from .harness import equal, fails, test, true, until
from .suite import MESSAGE_BYTES_MAX

SCOPES = ["ingest:write", "query:read", "live:read", "profile:read"]
METRICS = (
    "visit_total", "session_cnt", "visit_pv", "visit_uv", "visit_uv_new", "share_pv", "share_uv", "event_cnt",
    "stay_time_uv", "stay_time_session", "visit_depth",
)


class Shop:
    """The shop's app, loaded once and known to all four services."""

    def __init__(self, world):
        suite, messages = world.suite, world.messages
        suite.create_app(shop.APP)
        self.token = suite.create_token(SCOPES, shop.APP)
        collect = suite.ingest(self.token)
        self.events = 0
        for user in range(0, shop.USERS, 2):
            steps = shop.story(user)
            answer = collect.Collect(shop.batch(messages, user, steps, numbered=user % 4 == 0), timeout=10)
            equal((answer.accepted, answer.duplicates), (len(steps), 0), "accepted and duplicates")
            equal((list(answer.rejected), list(answer.quarantined)), ([], []), "rejected and quarantined")
            self.events += len(steps)
        requests = []
        for user in range(1, shop.USERS, 2):
            requests.append(shop.batch(messages, user, shop.story(user)))
            requests[-1].batch = user
        answers = list(collect.CollectStream(iter(requests), timeout=30))
        equal([answer.batch for answer in answers], [request.batch for request in requests], "batches of the answers")
        for request, answer in zip(requests, answers):
            equal((answer.accepted, answer.duplicates), (len(request.events), 0), "accepted and duplicates")
            self.events += len(request.events)
        suite.wait_caught_up(self.token)


def loaded(world):
    world.once("shop", lambda: Shop(world))


def range_of(world, first, last):
    return world.messages.common.DateRange(begin_date=first.isoformat(), end_date=last.isoformat())


def trend_request(world, first, last, **fields):
    return world.messages.query.GetTrendRequest(app_id=shop.APP, range=range_of(world, first, last), **fields)


def same_metrics(metrics, expected, what):
    for name in METRICS:
        got, wanted = getattr(metrics, name), getattr(expected, name)
        true(abs(got - wanted) < 1e-9, f"{what}: {name}: expected {wanted}, got {got}")


@test("services: all events of the shop are taken, by unary calls and by a stream, and reach every service")
def load_shop(world):
    loaded(world)


@test("services: the same app again answers OK, with other settings ALREADY_EXISTS")
def same_app(world):
    loaded(world)
    equal(world.suite.create_app(shop.APP).app_id, shop.APP, "app_id")
    fails(
        grpc.StatusCode.ALREADY_EXISTS,
        lambda: world.suite.create_app(shop.APP, time_zone="America/New_York"), shop.APP)


@test("services: batches sent again are duplicates and change no figure")
def sent_again(world):
    loaded(world)
    collect = world.suite.ingest(world.shop.token)
    for user in (0, 1, 2):
        steps = shop.story(user)
        answer = collect.Collect(shop.batch(world.messages, user, steps, numbered=user % 4 != 2), timeout=10)
        equal((answer.accepted, answer.duplicates), (len(steps), len(steps)), "accepted and duplicates")
    world.suite.wait_caught_up(world.shop.token)
    point = world.suite.query(world.shop.token).GetTrend(
        trend_request(world, shop.day(2), shop.day(1), granularity=4), timeout=10).points[0]
    equal(point.metrics.event_cnt, world.shop.events, "event_cnt")


@test("services: an event sent again with other content is a conflict and is not counted")
def conflict(world):
    loaded(world)
    collect = world.suite.ingest(world.shop.token)
    for numbered, user in ((True, 0), (False, 2)):
        request = shop.batch(world.messages, user, shop.story(user)[:1], numbered=numbered)
        request.events[0].name = "$foreground"
        answer = collect.Collect(request, timeout=10)
        equal([(one.index, one.reason) for one in answer.quarantined], [(0, "conflict")], "quarantined")
        equal(answer.accepted, 0, "accepted")


@test("services: an event older than seven days is set aside as late")
def late(world):
    loaded(world)
    request = shop.batch(world.messages, 500, [shop.Step(shop.at(shop.day(9), 10, 0), "$launch")])
    answer = world.suite.ingest(world.shop.token).Collect(request, timeout=10)
    equal([(one.index, one.reason) for one in answer.quarantined], [(0, "late")], "quarantined")


@test("services: GetTrend answers the ten metrics of each day as counted by hand")
def trend_days(world):
    loaded(world)
    answer = world.suite.query(world.shop.token).GetTrend(trend_request(world, shop.day(2), shop.day(1)), timeout=10)
    equal([point.ref_date for point in answer.points], [f"{shop.day(back):%Y%m%d}" for back in (2, 1)], "ref_date")
    for back, point in zip((2, 1), answer.points):
        begin, end = shop.at(shop.day(back), 0, 0), shop.at(shop.day(back - 1), 0, 0)
        equal((point.begin_ms, point.end_ms), (begin, end), "begin and end")
        same_metrics(point.metrics, shop.Counted(begin, end), point.ref_date)
        equal(point.complete, True, "complete")
    equal(answer.info.time_zone, "Asia/Shanghai", "time zone")
    equal(answer.info.events_read, world.shop.events, "events read")


@test("services: GetTrend over the whole range counts each user once, and compares with a second range")
def trend_all(world):
    loaded(world)
    request = trend_request(
        world, shop.day(2), shop.day(1), granularity=4, compare_range=range_of(world, shop.day(4), shop.day(3)))
    answer = world.suite.query(world.shop.token).GetTrend(request, timeout=10)
    expected = shop.Counted(shop.at(shop.day(2), 0, 0), shop.at(shop.day(0), 0, 0))
    same_metrics(answer.points[0].metrics, expected, "whole range")
    equal(answer.compare_points[0].metrics.event_cnt, 0, "event_cnt of the days before")


@test("services: GetTrend by gender and with a filter agrees with the count over those users")
def trend_breakdown(world):
    loaded(world)
    m = world.messages.common
    begin, end = shop.at(shop.day(2), 0, 0), shop.at(shop.day(0), 0, 0)
    stub = world.suite.query(world.shop.token)
    answer = stub.GetTrend(trend_request(world, shop.day(2), shop.day(1), granularity=4, breakdown="gender"), timeout=10)
    equal(sorted(series.value.string_value for series in answer.breakdown), ["female", "male"], "series")
    for series in answer.breakdown:
        users = [user for user in range(shop.USERS) if shop.gender(user) == series.value.string_value]
        same_metrics(series.points[0].metrics, shop.Counted(begin, end, users), series.value.string_value)
    condition = m.Condition(field="province", operator=m.OPERATOR_EQ, values=[m.FieldValue(string_value="Beijing")])
    answer = stub.GetTrend(
        trend_request(world, shop.day(2), shop.day(1), granularity=4, filter=m.Filter(condition=condition)), timeout=10)
    users = [user for user in range(shop.USERS) if shop.province(user) == "Beijing"]
    same_metrics(answer.points[0].metrics, shop.Counted(begin, end, users), "Beijing")


def funnel_request(world, **fields):
    m, common = world.messages.query, world.messages.common
    product = common.Filter(
        condition=common.Condition(
            field="page_path", operator=common.OPERATOR_EQ, values=[common.FieldValue(string_value="pages/product")]))
    return m.GetFunnelRequest(
        app_id=shop.APP, range=range_of(world, shop.day(2), shop.day(1)),
        steps=[
            m.FunnelStep(events=["$launch"]), m.FunnelStep(events=["$page_view"], filter=product, label="product"),
            m.FunnelStep(events=["add_to_cart"]), m.FunnelStep(events=["purchase"]),
        ], **fields)


@test("services: GetFunnel answers users, conversion and times of each step as counted by hand")
def funnel(world):
    loaded(world)
    answer = world.suite.query(world.shop.token).GetFunnel(funnel_request(world), timeout=10)
    equal([step.users for step in answer.steps], [60, 30, 10, 10], "users")
    equal([step.label for step in answer.steps], ["$launch", "product", "add_to_cart", "purchase"], "labels")
    equal([step.drop_off_users for step in answer.steps], [0, 30, 20, 0], "drop-off")
    equal([round(step.conversion_from_first, 9) for step in answer.steps], [1, 0.5, round(1 / 6, 9), round(1 / 6, 9)],
          "conversion")
    equal([step.mean_from_previous_ms for step in answer.steps][1:], [11_000, 9_000, 10_000], "mean from previous")
    equal([step.median_from_first_ms for step in answer.steps][1:], [11_000, 20_000, 30_000], "median from first")


@test("services: GetFunnel keeps its window, the boundary included, and splits by gender")
def funnel_window(world):
    loaded(world)
    stub = world.suite.query(world.shop.token)
    equal([s.users for s in stub.GetFunnel(funnel_request(world, window_ms=20_000), timeout=10).steps], [60, 30, 10, 0],
          "users within 20 s")
    equal([s.users for s in stub.GetFunnel(funnel_request(world, window_ms=19_999), timeout=10).steps], [60, 30, 0, 0],
          "users within 19.999 s")
    answer = stub.GetFunnel(funnel_request(world, whole_range=True, breakdown="gender"), timeout=10)
    counts = {series.value.string_value: [step.users for step in series.steps] for series in answer.breakdown}
    equal(counts, {"male": [30, 30, 10, 10], "female": [30, 0, 0, 0]}, "users by gender")


@test("services: GetProfile tells a user's attributes, times, opens and days")
def profile(world):
    loaded(world)
    m = world.messages.profile
    stub = world.suite.profile(world.shop.token)
    answer = stub.GetProfile(m.GetProfileRequest(app_id=shop.APP, open_id=shop.open_id(0)), timeout=10)
    steps = shop.story(0)
    equal((answer.first_active_ms, answer.last_active_ms), (steps[0].time_ms, steps[-1].time_ms), "first and last active")
    equal((answer.session_cnt, answer.visit_pv, answer.event_cnt, answer.active_days), (2, 3, len(steps), 2),
          "opens, visits, events, days")
    attributes = {one.name: one.value.string_value for one in answer.attributes}
    equal((attributes.get("gender"), attributes.get("province"), attributes.get("device_model")),
          ("male", "Zhejiang", "Mate 60"), "attributes")
    fails(grpc.StatusCode.NOT_FOUND,
          lambda: stub.GetProfile(m.GetProfileRequest(app_id=shop.APP, open_id="stranger"), timeout=10), "stranger")


def table(portrait, attribute):
    for one in portrait.tables:
        if one.attribute == attribute:
            return {("suppressed" if item.suppressed else item.name): item.users for item in one.items if item.users}
    raise AssertionError(f"no table of {attribute}")


@test("services: GetPortrait counts users by gender and province, and hides small groups")
def portrait(world):
    loaded(world)
    stub = world.suite.profile(world.shop.token)

    def ask(days, group):
        return stub.GetPortrait(world.messages.profile.GetPortraitRequest(
            app_id=shop.APP, end_date=shop.day(1).isoformat(), days=days, min_group_users=group), timeout=10)

    week = ask(7, 1)
    equal(week.ref_date, f"{shop.day(7):%Y%m%d}-{shop.day(1):%Y%m%d}", "ref_date")
    equal((week.visit_uv.users, week.visit_uv_new.users), (60, 60), "users of the week")
    equal(table(week.visit_uv, "gender"), {"male": 30, "female": 30}, "gender")
    equal(table(week.visit_uv, "province"), {name: 20 for name in shop.PROVINCES}, "province")
    yesterday = ask(1, 1)
    equal((yesterday.visit_uv.users, yesterday.visit_uv_new.users), (20, 0), "users of yesterday")
    equal(table(yesterday.visit_uv, "province"), {"Zhejiang": 7, "Guangdong": 7, "Beijing": 6}, "province")
    hidden = ask(1, 8)
    equal(table(hidden.visit_uv, "province"), {"suppressed": 20}, "province, groups of 8")


@test("services: live figures show what happens now: series, one page, page list, Watch")
def live(world):
    loaded(world)
    app = "live-shop"
    world.suite.create_app(app)
    token = world.suite.create_token(SCOPES, app)
    m = world.messages.live
    minute = int(time.time()) // 60 * 60_000 - 60_000
    for user in range(5):
        steps = [shop.Step(minute + user, "$launch"), shop.Step(minute + 1000 + user, "$page_view", "pages/index")]
        if user < 2:
            steps.append(shop.Step(minute + 2000 + user, "$page_view", "pages/product"))
        world.suite.ingest(token).Collect(shop.batch(world.messages, user, steps, app=app), timeout=10)
    world.suite.wait_caught_up(token)
    stub = world.suite.live(token)
    request = m.GetSeriesRequest(app_id=app, begin_ms=minute, end_ms=minute + 60_000, compare_begin_ms=minute - 60_000)
    answer = stub.GetSeries(request, timeout=10)
    equal([(p.begin_ms, p.visit_pv, p.session_cnt, p.visit_uv, p.event_cnt) for p in answer.points],
          [(minute, 7, 5, 5, 12)], "the minute")
    equal([(p.begin_ms, p.event_cnt) for p in answer.compare_points], [(minute - 60_000, 0)], "the minute before")
    request = m.GetSeriesRequest(app_id=app, begin_ms=minute, end_ms=minute + 60_000, page_path="pages/product")
    equal([(p.visit_pv, p.visit_uv) for p in stub.GetSeries(request, timeout=10).points], [(2, 2)], "one page")
    pages = stub.ListPages(m.ListPagesRequest(app_id=app), timeout=10)
    equal([(p.page_path, p.visit_pv, p.visit_uv, round(p.visit_share, 9)) for p in pages.pages],
          [("pages/index", 5, 5, round(5 / 7, 9)), ("pages/product", 2, 2, round(2 / 7, 9))], "pages")
    watch = stub.Watch(m.WatchRequest(app_id=app), timeout=20)
    first = next(watch)
    equal(sum(point.visit_pv for point in first.points), 7, "visits of the first state")
    equal((first.active_users_5min, first.active_users_30min), (5, 5), "active users")
    now = int(time.time() * 1000)
    world.suite.ingest(token).Collect(
        shop.batch(world.messages, 7, [shop.Step(now, "$page_view", "pages/index")], app=app), timeout=10)
    minute = now // 60_000 * 60_000
    true(any(point.begin_ms == minute and point.visit_pv for state in watch for point in state.points),
         "a later state shows the new visit")
    watch.cancel()


@test("services: a consumer answers while ingest is down, and catches up when it is back")
def ingest_down(world):
    loaded(world)
    suite = world.suite
    suite.processes["ingest"].kill()
    request = trend_request(world, shop.day(2), shop.day(1), granularity=4)
    equal(suite.query(world.shop.token).GetTrend(request, timeout=10).points[0].metrics.event_cnt, world.shop.events,
          "event_cnt")
    suite.processes["ingest"].start().wait_listening()
    steps = [shop.Step(shop.at(shop.day(1), 20, 0), "custom_event")]

    def sent():
        try:
            return suite.ingest(world.shop.token).Collect(shop.batch(world.messages, 900, steps), timeout=5).accepted
        except grpc.RpcError:
            return 0

    until(sent, 10, "a batch is taken again")
    world.shop.events += 1
    suite.wait_caught_up(world.shop.token)
    equal(suite.query(world.shop.token).GetTrend(request, timeout=10).points[0].metrics.event_cnt, world.shop.events,
          "event_cnt")


@test("services: the answer's limit of a message holds for Collect: over 4 MiB is refused by size")
def oversize_collect(world):
    loaded(world)
    collect = world.suite.channel("ingest", world.shop.token).unary_unary("/footfall.ingest.v1.Ingest/Collect")
    fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: collect(bytes(MESSAGE_BYTES_MAX + 1), timeout=20),
          str(MESSAGE_BYTES_MAX), str(MESSAGE_BYTES_MAX + 1))
