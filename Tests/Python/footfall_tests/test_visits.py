"""Overview, distributions, pages and sources of the shop, counted by hand."""

import grpc

from . import shop
from .harness import equal, fails, test, true

APP = "visits"


class Visits:
    """The shop's stories in an app of its own: other tests add to the shop."""

    def __init__(self, world):
        world.suite.create_app(APP)
        self.token = world.suite.create_token(["ingest:write", "query:read", "query:users", "live:read", "profile:read"], APP)
        for user in range(60):
            world.suite.ingest(self.token).Collect(
                shop.batch(world.messages, user, shop.story(user), app=APP), timeout=10)
        world.suite.wait_caught_up(self.token)


def loaded(world):
    return world.once("visits", lambda: Visits(world))


def dates(messages, first=2, last=1):
    return messages.common.DateRange(begin_date=shop.day(first).isoformat(), end_date=shop.day(last).isoformat())


@test("visits: an hour of a trend holds the opens that begin in it")
def by_hour(world):
    m = world.messages
    answer = world.suite.query(loaded(world).token).GetTrend(
        m.query.GetTrendRequest(app_id=APP, range=dates(m, 1), granularity=m.common.GRANULARITY_HOUR), timeout=10)
    equal(len(answer.points), 24, "hours")
    full = [point for point in answer.points if point.metrics.session_cnt]
    equal([point.ref_date for point in full], [shop.day(1).strftime("%Y%m%dT15")], "hours with opens")
    equal((full[0].metrics.session_cnt, full[0].metrics.visit_uv, full[0].metrics.visit_total), (20, 20, 60), "15 h")
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: world.suite.query(loaded(world).token).GetTrend(
        m.query.GetTrendRequest(app_id=APP, range=dates(m, 3), granularity=m.common.GRANULARITY_MINUTE), timeout=10),
        "range", "3", "2")


@test("visits: the overview compares yesterday with the day before")
def overview(world):
    m = world.messages
    stub = m.visits_rpc.VisitsStub(world.suite.channel("query", loaded(world).token))
    for date in ("", shop.day(1).isoformat()):
        answer = stub.GetOverview(m.visits.GetOverviewRequest(app_id=APP, date=date), timeout=10)
        equal(answer.ref_date, shop.day(1).strftime("%Y%m%d"), "ref_date")
        cards = {card.metric: card for card in answer.cards}
        equal(len(cards), 10, "cards")
        equal((cards["session_cnt"].value, cards["session_cnt"].day_before), (20, 60), "session_cnt")
        true(abs(cards["session_cnt"].day_change + 2 / 3) < 1e-12, "day_change")
        true(not cards["session_cnt"].HasField("week_change"), "nothing a week before, no change")
        equal((cards["visit_total"].value, cards["visit_uv_new"].value), (60, 0), "users")
        equal(cards["stay_time_session"].value, 5.0, "stay")


@test("visits: opens by source, stay and depth, with the users of each")
def distribution(world):
    m = world.messages
    stub = m.visits_rpc.VisitsStub(world.suite.channel("query", loaded(world).token))
    answer = stub.GetVisitDistribution(
        m.visits.GetVisitDistributionRequest(app_id=APP, range=dates(m)), timeout=10)
    found = {one.index: [(item.key, item.session_cnt, item.visit_uv) for item in one.items if item.session_cnt]
             for one in answer.distributions}
    equal(found, {
        # Scene 1001 is of the source 1.
        "access_source_session_cnt": [(1, 80, 60)],
        # Nothing, 5 s, 10 s.
        "access_staytime_info": [(1, 30, 30), (2, 20, 20), (3, 30, 30)],
        # One page: the 30 odd users, and the first 20 of all yesterday.
        "access_depth_info": [(1, 50, 40), (2, 30, 30)],
    }, "distributions")
    equal(answer.distributions[0].items[0].name, "recent list", "name of the source")
    equal([len(one.items) for one in answer.distributions], [1, 8, 7], "keys shown")


@test("visits: pages with visits, stay, entries, exits, shares and bounces")
def pages(world):
    m = world.messages
    stub = m.pages_rpc.PagesStub(world.suite.channel("query", loaded(world).token))
    answer = stub.GetPages(m.pages.GetPagesRequest(app_id=APP, range=dates(m)), timeout=10)
    # Beside the two pages, the events without one: none of them is a visit, entry or share.
    equal([row.page_path for row in answer.rows], ["pages/index", "pages/product"], "pages")
    equal(answer.page_count, 2, "page_count")
    index, product = (row.metrics for row in answer.rows)
    equal((index.page_visit_pv, index.page_visit_uv, index.entrypage_pv, index.exitpage_pv), (80, 60, 80, 50), "index")
    equal((product.page_visit_pv, product.page_visit_uv, product.entrypage_pv, product.exitpage_pv), (30, 30, 0, 30),
          "product")
    # 30 x 10 s until the next page, 20 x 5 s by the leave.
    equal((index.heat, index.page_staytime_pv, product.heat), (400.0, 5.0, 0.0), "stay")
    equal((index.page_share_pv, index.page_share_uv, index.exit_rate, index.bounce_rate), (6, 6, 0.625, 0.625), "rates")
    equal((answer.total.page_visit_pv, answer.total.page_visit_uv, answer.total.bounce_rate), (110, 60, 0.625), "total")
    answer = stub.GetPages(
        m.pages.GetPagesRequest(app_id=APP, range=dates(m, 1), compare_range=dates(m, 2, 2), limit=1,
                                order_by=m.pages.PAGE_ORDER_USERS), timeout=10)
    equal([(row.page_path, row.metrics.page_visit_uv, row.compare.page_visit_uv) for row in answer.rows],
          [("pages/index", 20, 60)], "compared")
    fails(grpc.StatusCode.INVALID_ARGUMENT,
          lambda: stub.GetPages(m.pages.GetPagesRequest(app_id=APP, range=dates(m), limit=10_001), timeout=10),
          "limit", "10001", "10000")


@test("visits: sources with opens, conversion and who came back")
def sources(world):
    m = world.messages
    stub = m.traffic_rpc.TrafficStub(world.suite.channel("query", loaded(world).token))
    answer = stub.GetSources(m.traffic.GetSourcesRequest(
        app_id=APP, range=dates(m), retention_days=[1],
        conversion=m.common.EventMatch(events=["purchase"])), timeout=10)
    equal([(row.value.integer_value, row.name) for row in answer.rows], [(1, "recent list")], "sources")
    row = answer.rows[0]
    for metrics in (row.metrics, answer.total):
        equal((metrics.session_cnt, metrics.visit_pv, metrics.visit_uv, metrics.visit_uv_new), (80, 110, 60, 60), "opens")
        equal((metrics.conversion_uv, metrics.stay_time_session, metrics.bounce_rate), (10, 5.0, 0.625), "conversion")
    equal([(point.ref_date, point.metrics.session_cnt) for point in row.points],
          [(shop.day(2).strftime("%Y%m%d"), 60), (shop.day(1).strftime("%Y%m%d"), 20)], "points")
    equal([(one.day, one.new_users, one.users) for one in row.retention], [(1, 60, 20)], "retention")
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stub.GetSources(
        m.traffic.GetSourcesRequest(app_id=APP, range=dates(m), dimension="colour"), timeout=10), "dimension", "colour")
