"""What can be done with any report: its users, CSV, its plan. On the app of test_analysis, and one whose names try to be formulas."""

import csv
import io

import grpc

from . import shop
from .harness import equal, fails, test, true
from .test_analysis import APP, loaded

EVIL = "reports"


def stub(world, token):
    return world.messages.reports_rpc.ReportsStub(world.suite.channel("query", token))


def every(world, app):
    """Each report of the oneof, asked of the same days."""
    m = world.messages
    order = m.common.EventMatch(events=["buy"])
    steps = [m.query.FunnelStep(events=[name]) for name in ("$launch", "buy")]
    return {
        "trend": app.asked(m.query.GetTrendRequest), "funnel": app.asked(m.query.GetFunnelRequest, steps=steps),
        "events": app.asked(m.analysis.AnalyzeEventsRequest, series=[m.analysis.EventSeries(events=["buy"])]),
        "retention": app.asked(m.retention.GetRetentionRequest),
        "overview": m.visits.GetOverviewRequest(app_id=APP),
        "visit_distribution": app.asked(m.visits.GetVisitDistributionRequest), "pages": app.asked(m.pages.GetPagesRequest),
        "sources": app.asked(m.traffic.GetSourcesRequest), "performance": app.asked(m.performance.GetPerformanceRequest),
        "user_tiers": app.asked(m.users.GetUserTiersRequest), "lifecycle": app.asked(m.users.GetLifecycleRequest),
        "stickiness": app.asked(m.users.GetStickinessRequest),
        "repurchase": app.asked(m.users.GetRepurchaseRequest, order=order), "paths": app.asked(m.paths.GetPathsRequest),
    }


def rows(chunks):
    text = b"".join(chunk.data for chunk in chunks).decode()
    true(text.endswith("\r\n"), "lines end with CRLF")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@test("reports: each of them comes as CSV, and says how it was made")
def csv_and_plan(world):
    app, m = loaded(world), world.messages.reports
    reports = stub(world, app.token)
    kinds = {field.name for field in m.Report.DESCRIPTOR.fields}
    requests = every(world, app)
    equal(set(requests), kinds, "reports of the oneof")
    for kind, request in requests.items():
        found = rows(reports.ExportCSV(m.Report(**{kind: request}), timeout=10))
        true(len(found) > 0 and None not in found[0], f"{kind}: {found[:2]}")
        plan = reports.Explain(m.Report(**{kind: request}), timeout=10)
        true(plan.plan and plan.total_milliseconds > 0 and plan.info.as_of_offset > 0, f"{kind}: {plan}")
        true(len(plan.operators) >= 1 and plan.operators[0].name == "report", f"{kind}: {plan.operators}")
    trend = rows(reports.ExportCSV(m.Report(trend=requests["trend"]), timeout=10))
    equal([row["visit_uv"] for row in trend], ["2", "1", "1"], "visit_uv")
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: list(reports.ExportCSV(m.Report(), timeout=10)), "report")


@test("reports: a trend of some metrics has these and no others, the same as in the whole one")
def some_metrics(world):
    app, m = loaded(world), world.messages.reports
    reports, query = stub(world, app.token), world.suite.query(app.token)
    request = every(world, app)["trend"]
    whole = query.GetTrend(request, timeout=10)
    request.metrics.extend(["visit_uv_new", "visit_uv"])
    some = query.GetTrend(request, timeout=10)
    equal(list(some.metrics), ["visit_uv", "visit_uv_new"], "named in the order of the report")
    equal([(p.metrics.visit_uv, p.metrics.visit_uv_new, p.metrics.session_cnt) for p in some.points],
          [(p.metrics.visit_uv, p.metrics.visit_uv_new, 0) for p in whole.points], "points")
    true(any(p.metrics.session_cnt for p in whole.points), f"{whole}")
    equal(list(rows(reports.ExportCSV(m.Report(trend=request), timeout=10))[0])[6:], ["visit_uv", "visit_uv_new"], "columns")
    for metrics in (["visit_vu"], ["visit_uv", "visit_uv"]):
        del request.metrics[:]
        request.metrics.extend(metrics)
        fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: query.GetTrend(request, timeout=10), "metrics")


@test("reports: the users behind a number are as many as it says, page by page, for those who may see them")
def users(world):
    app, m = loaded(world), world.messages.reports
    token = world.suite.create_token(["query:read", "query:users"], APP)
    world.suite.wait_caught_up_one("query", token)
    reports = stub(world, token)
    report = m.Report(trend=every(world, app)["trend"])
    first, second, third = (shop.open_id(user) for user in (900, 901, 902))
    day = shop.day(3).strftime("%Y%m%d")
    request = m.ListUsersRequest(report=report, cell=m.UserCell(metric="visit_uv", ref_date=day))
    answer = reports.ListUsers(request, timeout=10)
    equal((sorted(answer.open_ids), answer.total, answer.next_page_token), (sorted([first, second]), 2, ""), "users")
    request.page_size = 1
    found = []
    while True:
        page = reports.ListUsers(request, timeout=10)
        equal((len(page.open_ids), page.total), (1, 2), "a page")
        found += page.open_ids
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    equal(sorted(found), sorted([first, second]), "all pages")
    tiers = m.Report(user_tiers=every(world, app)["user_tiers"])
    last = m.UserCell(metric="new", ref_date=shop.day(1).strftime("%Y%m%d"))
    equal(list(reports.ListUsers(m.ListUsersRequest(report=tiers, cell=last), timeout=10).open_ids), [third], "new users")
    request.cell.metric = "colour"
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: reports.ListUsers(request, timeout=10), "metric", "colour")
    request.page_size = 10_001
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: reports.ListUsers(request, timeout=10), "page_size", "10000")
    token = world.suite.create_token(["query:read"], APP)
    world.suite.wait_caught_up_one("query", token)
    reader = stub(world, token)
    fails(grpc.StatusCode.PERMISSION_DENIED,
          lambda: reader.ListUsers(m.ListUsersRequest(report=report, cell=last), timeout=10), "query:users")


@test("reports: a name that a spreadsheet would run comes with an apostrophe before it")
def formulas(world):
    suite, m = world.suite, world.messages
    suite.create_app(EVIL)
    token = suite.create_token(["ingest:write", "query:read", "live:read", "profile:read"], EVIL)
    steps = [shop.Step(shop.at(shop.day(1), 9, number), "$page_view", page=page)
             for number, page in enumerate(['=HYPERLINK("http://x","y")', "pages/a,b", "-2"])]
    suite.ingest(token).Collect(shop.batch(m, 7, steps, app=EVIL), timeout=10)
    suite.wait_caught_up(token)
    days = m.common.DateRange(begin_date=shop.day(1).isoformat(), end_date=shop.day(1).isoformat())
    request = m.reports.Report(pages=m.pages.GetPagesRequest(app_id=EVIL, range=days))
    found = {row["page_path"] for row in rows(stub(world, token).ExportCSV(request, timeout=10))}
    for name in ("'=HYPERLINK(\"http://x\",\"y\")", "pages/a,b", "-2"):
        true(name in found, f"{name} in {found}")
