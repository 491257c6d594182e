"""Bad input: the right status, a message that names field, limit and value, and a service that is still up."""

import os

import grpc

from . import shop
from .harness import equal, fails, test, true
from .test_services import SCOPES, funnel_request, loaded, range_of, trend_request

CODE = grpc.StatusCode


def all_up(world):
    """Every service must still be there and right."""
    for process in world.suite.processes.values():
        true(process.running, f"{process.name} died:\n{process.log_tail()}")
    answer = world.suite.query(world.shop.token).GetTrend(trend_request(world, shop.day(2), shop.day(1), granularity=4),
                                                          timeout=10)
    equal(answer.points[0].metrics.event_cnt, world.shop.events, "event_cnt")
    world.suite.statuses(world.shop.token)


def calls(world, token, app):
    """One call of each service for an app, by name."""
    m, suite = world.messages, world.suite
    return {
        "Collect": lambda: suite.ingest(token).Collect(shop.batch(m, 1, shop.story(1)[:1], app=app), timeout=10),
        "GetTrend": lambda: suite.query(token).GetTrend(
            m.query.GetTrendRequest(app_id=app, range=range_of(world, shop.day(2), shop.day(1))), timeout=10),
        "GetFunnel": lambda: suite.query(token).GetFunnel(
            m.query.GetFunnelRequest(
                app_id=app, range=range_of(world, shop.day(2), shop.day(1)), steps=funnel_request(world).steps),
            timeout=10),
        "GetSeries": lambda: suite.live(token).GetSeries(m.live.GetSeriesRequest(app_id=app), timeout=10),
        "ListPages": lambda: suite.live(token).ListPages(m.live.ListPagesRequest(app_id=app), timeout=10),
        "Watch": lambda: next(suite.live(token).Watch(m.live.WatchRequest(app_id=app), timeout=10)),
        "GetProfile": lambda: suite.profile(token).GetProfile(
            m.profile.GetProfileRequest(app_id=app, open_id="u"), timeout=10),
        "GetPortrait": lambda: suite.profile(token).GetPortrait(
            m.profile.GetPortraitRequest(app_id=app, end_date=shop.day(1).isoformat(), days=1), timeout=10),
    }


@test("bad input: an unknown app is NOT_FOUND and is named, by every service")
def unknown_app(world):
    loaded(world)
    token = world.suite.create_token(SCOPES)
    world.suite.wait_caught_up(world.shop.token)
    for name, call in calls(world, token, "no-such-app").items():
        try:
            fails(CODE.NOT_FOUND, call, "no-such-app")
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    all_up(world)


@test("bad input: another app than the token's is PERMISSION_DENIED")
def foreign_app(world):
    loaded(world)
    world.suite.create_app("other-shop")
    world.suite.wait_caught_up(world.shop.token)
    for name, call in calls(world, world.shop.token, "other-shop").items():
        try:
            fails(CODE.PERMISSION_DENIED, call)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    all_up(world)


@test("bad input: a wrong token, or none, is UNAUTHENTICATED, by every service")
def wrong_token(world):
    loaded(world)
    right = world.shop.token
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    for token in (wrong, "nonsense", "ff_x_" + "A" * 43, right + "A"):
        for name, call in calls(world, token, shop.APP).items():
            try:
                fails(CODE.UNAUTHENTICATED, call)
            except AssertionError as error:
                raise AssertionError(f"{name}, {token[:12]}...: {error}") from None
    m = world.messages
    for stub in (m.query_rpc.QueryStub(world.suite.channel("query")),):
        fails(CODE.UNAUTHENTICATED, lambda: stub.GetStatus(m.query.GetQueryStatusRequest(), timeout=10))
    all_up(world)


@test("bad input: a token without the scope is PERMISSION_DENIED, and the scope is named")
def missing_scope(world):
    loaded(world)
    scope_of = {
        "Collect": "ingest:write", "GetTrend": "query:read", "GetFunnel": "query:read", "GetSeries": "live:read",
        "ListPages": "live:read", "Watch": "live:read", "GetProfile": "profile:read", "GetPortrait": "profile:read",
    }
    for name, scope in scope_of.items():
        token = world.suite.create_token([one for one in SCOPES if one != scope], shop.APP)
        world.suite.wait_caught_up(world.shop.token)
        try:
            fails(CODE.PERMISSION_DENIED, calls(world, token, shop.APP)[name], scope)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
    fails(CODE.PERMISSION_DENIED,
          lambda: world.suite.ingest(world.shop.token).CreateApp(
              world.messages.ingest.CreateAppRequest(app=world.messages.ingest.App(app_id="x")), timeout=10), "admin")
    all_up(world)


@test("bad input: a revoked token is refused by ingest at once and by every service within 5 s")
def revoked(world):
    import time

    loaded(world)
    m = world.messages.ingest
    answer = world.suite.ingest().CreateToken(m.CreateTokenRequest(app_id=shop.APP, scopes=SCOPES), timeout=10)
    world.suite.wait_caught_up(world.shop.token)
    world.suite.statuses(answer.secret)
    world.suite.ingest().RevokeToken(m.RevokeTokenRequest(token_id=answer.token.token_id), timeout=10)
    begin = time.monotonic()
    for name, call in calls(world, answer.secret, shop.APP).items():
        while True:
            try:
                fails(CODE.UNAUTHENTICATED, call)
                break
            except AssertionError as error:
                if name == "Collect" or time.monotonic() - begin > 5:
                    raise AssertionError(f"{name}: {error}") from None
            time.sleep(0.05)


@test("bad input: bytes that are no CollectRequest are INVALID_ARGUMENT, and nothing of them is kept")
def garbage_bytes(world):
    loaded(world)
    head = world.suite.head_offset()
    channel = world.suite.channel("ingest", world.shop.token)
    collect = channel.unary_unary("/footfall.ingest.v1.Ingest/Collect")
    whole = shop.batch(world.messages, 1, shop.story(1)).SerializeToString()
    samples = [b"\xff" * 100, b"\x0a\x05ab", whole[:-3], b"\x1a\xff\xff\xff\xff\x0f", b"\x07", b"\x12\x02\x0a\x7f"]
    samples += [b"\x12\x03\x0a\x01\xff\x1a\x08\x0a\x01a\x10\x01\x1a\x01a"]
    for sample in samples:
        try:
            fails(CODE.INVALID_ARGUMENT, lambda: collect(sample, timeout=10))
        except AssertionError as error:
            raise AssertionError(f"{sample[:20]!r}: {error}") from None
    for _ in range(200):
        # Random bytes may by chance decode to a batch without events, which is as wrong.
        fails(CODE.INVALID_ARGUMENT, lambda: collect(os.urandom(64), timeout=10))
    for service, method in (("query.v1.Query", "GetTrend"), ("live.v1.LiveStats", "GetSeries"),
                            ("profile.v1.UserProfile", "GetProfile")):
        name = {"query.v1.Query": "query", "live.v1.LiveStats": "live-stats"}.get(service, "user-profile")
        call = world.suite.channel(name, world.shop.token).unary_unary(f"/footfall.{service}/{method}")
        # As every gRPC library answers where the bytes are no message at all.
        fails(CODE.INTERNAL, lambda: call(b"\xff" * 20, timeout=10), "20 bytes", f"{method}Request")
    equal(world.suite.head_offset(), head, "end of the log")
    all_up(world)


def one_event(world, **fields):
    request = shop.batch(world.messages, 700, [shop.Step(shop.at(shop.day(1), 12, 0), "custom_event")])
    for name, value in fields.items():
        setattr(request.events[0], name, value)
    return request


@test("bad input: an event that breaks a rule is rejected with index, field, reason and value; the others are kept")
def bad_events(world):
    loaded(world)
    collect = world.suite.ingest(world.shop.token)
    m = world.messages
    with_field = one_event(world)
    with_field.events[0].fields.append(shop.field(m, "note", "a" * 1025))
    not_finite = one_event(world)
    not_finite.events[0].fields.append(shop.field(m, "price", float("nan")))
    bad_field_name = one_event(world)
    bad_field_name.events[0].fields.append(shop.field(m, "Bad Name", 1))
    many = one_event(world)
    many.events[0].fields.extend(shop.field(m, f"f{i}", i) for i in range(65))
    wrong_type = one_event(world)
    wrong_type.events[0].fields.append(shop.field(m, "product_id", 5))
    cases = [
        (one_event(world, name=""), "name", None, ""),
        (one_event(world, name="Bad Name"), "name", "bad_name", "Bad Name"),
        (one_event(world, name="a" * 33), "name", None, "32"),
        (one_event(world, name="$made_up"), "name", "bad_name", "$made_up"),
        (one_event(world, time_ms=0), "time_ms", None, ""),
        (one_event(world, time_ms=-5), "time_ms", None, "-5"),
        (one_event(world, page_path="p" * 513), "page_path", "too_long", "512"),
        (one_event(world, event_id="e" * 129, sequence=0), "event_id", "too_long", "128"),
        (with_field, "fields.note", "too_long", "1024"),
        (not_finite, "fields.price", "not_finite", ""),
        (bad_field_name, "fields[0].name", "bad_name", "Bad Name"),
        (many, "fields", "too_many", "64"),
        (wrong_type, "fields.product_id", "wrong_type", ""),
    ]
    for number, (request, field, reason, mention) in enumerate(cases):
        good = request.events.add(name="fine", time_ms=shop.at(shop.day(1), 12, 1))
        request.device_id = "device-bad"
        for index, event in enumerate(request.events):
            event.sequence = 1 + 2 * number + index
        good.sequence = 2 + 2 * number
        if field == "event_id":
            request.events[0].sequence = 0
        answer = collect.Collect(request, timeout=10)
        world.shop.events += answer.accepted
        what = f"case {number} ({field})"
        # A field of another type than the app's may be a mistake of the plan: the event is kept aside.
        refused, others = answer.rejected, answer.quarantined
        if reason == "wrong_type":
            refused, others = others, refused
        equal((len(refused), len(others)), (1, 0), f"{what}: refused events in {answer}")
        rejected = refused[0]
        equal((rejected.index, rejected.field), (0, field), f"{what}: index and field")
        if reason:
            equal(rejected.reason, reason, f"{what}: reason")
        true(mention in rejected.message.replace(",", ""), f"{what}: the message must name {mention!r}: {rejected.message!r}")
        equal(answer.accepted, 1, f"{what}: accepted")
    world.suite.wait_caught_up(world.shop.token)
    all_up(world)


@test("bad input: a batch that breaks a rule as a whole is INVALID_ARGUMENT; in a stream it is answered and skipped")
def bad_batches(world):
    loaded(world)
    collect = world.suite.ingest(world.shop.token)
    empty = one_event(world)
    del empty.events[:]
    crowd = one_event(world)
    crowd.events.extend(crowd.events[0] for _ in range(1000))
    nobody = one_event(world)
    nobody.context.open_id = ""
    long_user = one_event(world)
    long_user.context.open_id = "u" * 129
    long_city = one_event(world)
    long_city.context.city = "c" * 257
    cases = [(empty, "events"), (crowd, "1000"), (nobody, "open_id"), (long_user, "128"), (long_city, "city")]
    for request, mention in cases:
        error = fails(CODE.INVALID_ARGUMENT, lambda: collect.Collect(request, timeout=10))
        true(mention in error.details().replace(",", ""), f"the message must name {mention!r}: {error.details()!r}")
    good = shop.batch(world.messages, 701, [shop.Step(shop.at(shop.day(1), 12, 30), "custom_event")])
    requests = []
    for number, request in enumerate([request for request, _ in cases] + [good]):
        requests.append(world.messages.ingest.CollectRequest())
        requests[-1].CopyFrom(request)
        requests[-1].batch = number + 1
    answers = list(collect.CollectStream(iter(requests), timeout=10))
    equal([answer.batch for answer in answers], [1, 2, 3, 4, 5, 6], "batches")
    equal([answer.error.code for answer in answers], [3, 3, 3, 3, 3, 0], "error codes")
    equal(answers[-1].accepted, 1, "accepted of the good batch")
    world.shop.events += 1
    world.suite.wait_caught_up(world.shop.token)
    all_up(world)


@test("bad input: an unknown field in a filter or breakdown is INVALID_ARGUMENT and is named")
def unknown_field(world):
    loaded(world)
    m = world.messages.common
    stub = world.suite.query(world.shop.token)
    condition = m.Condition(field="no_such_field", operator=m.OPERATOR_EQ, values=[m.FieldValue(string_value="a")])
    inner = m.Filter(condition=condition)
    for one in (inner, m.Filter(**{"not": inner}), m.Filter(**{"and": m.FilterGroup(filters=[inner])})):
        fails(CODE.INVALID_ARGUMENT,
              lambda: stub.GetTrend(trend_request(world, shop.day(2), shop.day(1), filter=one), timeout=10),
              "no_such_field")
    request = funnel_request(world)
    request.steps[1].filter.CopyFrom(inner)
    fails(CODE.INVALID_ARGUMENT, lambda: stub.GetFunnel(request, timeout=10), "no_such_field")
    fails(CODE.INVALID_ARGUMENT,
          lambda: stub.GetTrend(trend_request(world, shop.day(2), shop.day(1), breakdown="no_such_field"), timeout=10),
          "no_such_field")
    fails(CODE.INVALID_ARGUMENT,
          lambda: stub.GetFunnel(funnel_request(world, breakdown="no_such_field"), timeout=10), "no_such_field")
    all_up(world)


@test("bad input: a filter that is too deep, too wide or does not fit the field's type is INVALID_ARGUMENT")
def bad_filter(world):
    loaded(world)
    m = world.messages.common
    stub = world.suite.query(world.shop.token)
    equals = m.Filter(
        condition=m.Condition(field="province", operator=m.OPERATOR_EQ, values=[m.FieldValue(string_value="a")]))
    deep = equals
    for _ in range(9):
        deep = m.Filter(**{"not": deep})
    wide = m.Filter(**{"or": m.FilterGroup(filters=[equals] * 65)})
    number = m.Filter(condition=m.Condition(field="scene", operator=m.OPERATOR_CONTAINS,
                                            values=[m.FieldValue(string_value="1")]))
    between = m.Filter(condition=m.Condition(field="scene", operator=m.OPERATOR_BETWEEN,
                                             values=[m.FieldValue(integer_value=1)]))
    for one, mention in ((deep, "8"), (wide, "64"), (number, "scene"), (between, "2 values"), (m.Filter(), "filter")):
        fails(CODE.INVALID_ARGUMENT,
              lambda: stub.GetTrend(trend_request(world, shop.day(2), shop.day(1), filter=one), timeout=10), mention)
    all_up(world)


@test("bad input: an inverted, oversize or unreadable date range is INVALID_ARGUMENT and is named")
def inverted_range(world):
    loaded(world)
    m = world.messages
    stub = world.suite.query(world.shop.token)
    cases = [("2024-03-02", "2024-03-01", ["2024-03-02", "2024-03-01"]), ("2010-01-01", "2024-03-01", ["3660"]),
             ("yesterday", "2024-03-01", ["yesterday"]), ("2024-02-30", "2024-03-01", ["2024-02-30"]), ("", "", ["range"])]
    for begin, end, mentions in cases:
        one = m.common.DateRange(begin_date=begin, end_date=end)
        for call in (lambda: stub.GetTrend(m.query.GetTrendRequest(app_id=shop.APP, range=one), timeout=10),
                     lambda: stub.GetFunnel(
                         m.query.GetFunnelRequest(app_id=shop.APP, range=one, steps=funnel_request(world).steps),
                         timeout=10)):
            error = fails(CODE.INVALID_ARGUMENT, call)
            for mention in mentions:
                true(mention in error.details().replace(",", ""),
                     f"{begin!r} to {end!r}: the message must name {mention!r}: {error.details()!r}")
    live = world.suite.live(world.shop.token)
    fails(CODE.INVALID_ARGUMENT,
          lambda: live.GetSeries(m.live.GetSeriesRequest(app_id=shop.APP, begin_ms=2_000_000, end_ms=1_000_000), timeout=10),
          "begin_ms")
    fails(CODE.INVALID_ARGUMENT,
          lambda: live.GetSeries(m.live.GetSeriesRequest(app_id=shop.APP, bucket_minutes=7), timeout=10), "7")
    profile = world.suite.profile(world.shop.token)
    for days in (0, 2, 31):
        fails(CODE.INVALID_ARGUMENT,
              lambda: profile.GetPortrait(
                  m.profile.GetPortraitRequest(app_id=shop.APP, end_date="2024-03-01", days=days), timeout=10), "days")
    all_up(world)


@test("bad input: a funnel of one step, 21 steps or an unnamed event is INVALID_ARGUMENT")
def bad_funnel(world):
    loaded(world)
    m = world.messages.query
    stub = world.suite.query(world.shop.token)
    step = m.FunnelStep(events=["$launch"])
    for steps, mention in (([step], "2"), ([step] * 21, "20"), ([step, m.FunnelStep()], "events"),
                           ([step, m.FunnelStep(events=["Bad Name"])], "Bad Name")):
        request = funnel_request(world)
        del request.steps[:]
        request.steps.extend(steps)
        fails(CODE.INVALID_ARGUMENT, lambda: stub.GetFunnel(request, timeout=10), mention)
    all_up(world)


@test("bad input: an app with a bad id, time zone or session rule is INVALID_ARGUMENT")
def bad_app(world):
    loaded(world)
    m = world.messages.ingest
    for app, mention in ((m.App(app_id=""), "app_id"), (m.App(app_id="Bad App"), "Bad App"),
                         (m.App(app_id="a" * 65), "{0,63}"), (m.App(app_id="fine", time_zone="Mars/Base"), "Mars/Base"),
                         (m.App(app_id="fine", session_rules=m.SessionRules(timeout_ms=1)), "timeout_ms"),
                         (m.App(app_id="fine", name="n" * 129), "128")):
        fails(CODE.INVALID_ARGUMENT,
              lambda: world.suite.ingest().CreateApp(m.CreateAppRequest(app=app), timeout=10), mention)
    fails(CODE.NOT_FOUND, lambda: world.suite.ingest().GetApp(m.GetAppRequest(app_id="fine"), timeout=10), "fine")
    fails(CODE.INVALID_ARGUMENT,
          lambda: world.suite.ingest().CreateToken(m.CreateTokenRequest(scopes=["fly"]), timeout=10), "fly")
    all_up(world)
