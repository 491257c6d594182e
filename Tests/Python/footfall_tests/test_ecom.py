"""The e-commerce data set, whose figures others published, through python's grpcio alone."""

import csv
import datetime
import gzip
import os

from .harness import Skipped, equal, test
from .shop import ZONE
from .suite import ROOT

APP = "ecom"
DESKTOP_MOBILE_TABLET = [392, 297, 107]


def rows(path):
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as stream:
        yield from csv.DictReader(stream)


def batches(world, path):
    """One CollectRequest per up to 500 rows of a user: the platform and the source stand on each event."""
    m = world.messages
    request = None
    for number, row in enumerate(rows(path)):
        if request is None or request.context.open_id != row["user_id"] or len(request.events) == 500:
            if request is not None:
                yield request
            request = m.ingest.CollectRequest(app_id=APP, context=m.ingest.Context(open_id=row["user_id"]))
            setattr(request, "import", True)
        when = datetime.datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZONE)
        request.events.add(
            name=row["event"], time_ms=int(when.timestamp() * 1000), event_id=str(number),
            context=m.ingest.Context(platform=row["platform"], campaign_source=row["acquisition_channel"]))
    yield request


@test("ecom: the published figures: 31,106 events, 600 users, 3,605 opens, funnel 600 511 431 225, platforms 392 297 107")
def ecom(world):
    path = str(os.environ.get("FOOTFALL_ECOM") or ROOT.parent / "shared" / "data" / "ecom_sessions" / "ecom.csv.gz")
    if not os.path.exists(path):
        raise Skipped(f"{path} is not there; FOOTFALL_ECOM names another place")
    suite, m = world.suite, world.messages
    suite.create_app(APP)
    token = suite.create_token(["ingest:write", "ingest:import", "query:read", "live:read", "profile:read"], APP)
    requests = list(batches(world, path))
    for times in (1, 2):
        answers = list(suite.ingest(token).CollectStream(iter(requests), timeout=120))
        equal(sum(answer.accepted for answer in answers), 31_106, f"accepted, time {times}")
        equal(sum(answer.duplicates for answer in answers), 31_106 * (times - 1), f"duplicates, time {times}")
        suite.wait_caught_up(token)
        stub = suite.query(token)
        whole = m.common.DateRange(begin_date="2020-01-01", end_date="2026-12-31")
        answer = stub.GetTrend(m.query.GetTrendRequest(app_id=APP, range=whole, granularity=4, breakdown="platform"), timeout=30)
        metrics = answer.points[0].metrics
        equal((metrics.event_cnt, metrics.visit_uv, metrics.session_cnt), (31_106, 600, 3_605), "events, users, opens")
        platforms = sorted((series.points[0].metrics.visit_uv for series in answer.breakdown), reverse=True)
        equal(platforms, DESKTOP_MOBILE_TABLET, "users by platform")
        steps = [m.query.FunnelStep(events=[name]) for name in ("catalog", "add_to_cart", "cart", "purchase")]
        funnel = stub.GetFunnel(
            m.query.GetFunnelRequest(app_id=APP, range=whole, steps=steps, whole_range=True), timeout=30)
        equal([step.users for step in funnel.steps], [600, 511, 431, 225], "funnel")
