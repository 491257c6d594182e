"""The 14 questions as RPCs, and their answers as the rows that the peers give (peers/olap_sql.py)."""

import datetime
import importlib

from .olap_peers import olap_sql

DAYS = 60
PACKAGE = "footfall.query.v1"
DAY, HOUR, ALL = 1, 6, 4


class Questions:
    """Requests, and what their answers say in codes."""

    def __init__(self, app, messages, names):
        self.app, self.common = app, messages.common
        self.first = datetime.date.fromtimestamp(0) + datetime.timedelta(
            days=(int(names["begin"][0]) + 8 * 3_600_000) // 86_400_000)
        self.names = names
        self.codes = {kind: {name: code for code, name in table.items()} for kind, table in names.items()}
        self.modules = {name: importlib.import_module(f"{PACKAGE}.{name}_pb2")
                        for name in ("query", "visits", "pages", "events", "paths", "retention", "users")}

    def date(self, day):
        return (self.first + datetime.timedelta(days=day)).isoformat()

    def day(self, ref_date):
        return (datetime.datetime.strptime(ref_date[:8], "%Y%m%d").date() - self.first).days

    def days(self, first=olap_sql.FIRST_DAY, last=olap_sql.LAST_DAY):
        return self.common.DateRange(begin_date=self.date(first), end_date=self.date(last))

    def events(self, codes):
        return [self.names["event"][code] for code in codes]

    # MARK: Requests

    def request(self, question):
        """Path of the method, request, type of the answer."""
        service, method, module, request = getattr(self, "ask_" + question)()
        return f"/{PACKAGE}.{service}/{method}", request, getattr(self.modules[module], method + "Response")

    def trend(self, granularity):
        message = self.modules["query"].GetTrendRequest(
            app_id=self.app, range=self.days(), granularity=granularity, metrics=["visit_uv"])
        return "Query", "GetTrend", "query", message

    def ask_dau(self):
        return self.trend(DAY)

    def ask_uniques(self):
        return self.trend(ALL)

    def ask_retention(self):
        message = self.modules["retention"].GetRetentionRequest(
            app_id=self.app, range=self.days(), granularity=DAY, cohort=1, keys=range(DAYS - olap_sql.FIRST_DAY))
        return "Retention", "GetRetention", "retention", message

    def ask_pages(self):
        message = self.modules["pages"].GetPagesRequest(app_id=self.app, range=self.days(), limit=1000)
        return "Pages", "GetPages", "pages", message

    def analysis(self, series, granularity=DAY, days=None, group_by=(), models=()):
        m = self.modules["events"]
        series = [m.EventSeries(events=self.events(codes), metric=getattr(m, "EVENT_METRIC_" + metric), field=field)
                  for codes, metric, field in series]
        message = m.AnalyzeEventsRequest(
            app_id=self.app, range=days or self.days(), granularity=granularity, series=series, group_by=group_by,
            group_limit=1000)
        if models:
            condition = message.filter.condition
            condition.field, condition.operator = "device_model", 3
            for model in models:
                condition.values.add(string_value=self.names["model"][model])
        return "EventAnalysis", "AnalyzeEvents", "events", message

    def ask_event_rare(self):
        return self.analysis([([4], "TOTAL", ""), ([4], "USERS", "")], group_by=["scene"], models=olap_sql.MODELS)

    def ask_event_common(self):
        return self.analysis([([0], "TOTAL", ""), ([0], "USERS", "")], group_by=["scene"], models=olap_sql.MODELS)

    def ask_sum(self):
        return self.analysis([([6, 10], "SUM", "amount")], group_by=["scene"])

    def ask_hourly(self):
        return self.analysis([([], "USERS", "")], HOUR, self.days(olap_sql.HOUR_DAY, olap_sql.HOUR_DAY))

    def funnel(self, name, breakdown=""):
        m = self.modules["query"]
        steps, window = olap_sql.FUNNELS[name]
        message = m.GetFunnelRequest(
            app_id=self.app, range=self.days(), steps=[m.FunnelStep(events=self.events([step])) for step in steps],
            window_ms=window, breakdown=breakdown)
        return "Query", "GetFunnel", "query", message

    def ask_funnel4(self):
        return self.funnel("funnel4")

    def ask_funnel4_by_source(self):
        return self.funnel("funnel4", "scene")

    def ask_funnel10(self):
        return self.funnel("funnel10")

    def ask_paths(self):
        message = self.modules["paths"].GetPathsRequest(app_id=self.app, range=self.days(), steps=5, limit=50)
        return "Paths", "GetPaths", "paths", message

    def ask_sessions(self):
        message = self.modules["visits"].GetVisitDistributionRequest(app_id=self.app, range=self.days())
        return "Visits", "GetVisitDistribution", "visits", message

    def ask_tiers(self):
        message = self.modules["users"].GetUserTiersRequest(
            app_id=self.app, range=self.days(olap_sql.LAST_DAY, olap_sql.LAST_DAY))
        return "Users", "GetUserTiers", "users", message

    # MARK: Answers

    def rows(self, question, answer):
        """Whole numbers; rows that say nothing but 0 are left out, as a query that groups does."""
        return sorted(getattr(self, "read_" + question)(answer))

    def read_dau(self, answer):
        return [[self.day(point.ref_date), point.metrics.visit_uv] for point in answer.points if point.metrics.visit_uv]

    def read_uniques(self, answer):
        return [[point.metrics.visit_uv] for point in answer.points]

    def read_retention(self, answer):
        return [[self.day(row.ref_date), self.day(row.ref_date) + cell.key, cell.users]
                for row in answer.table.rows for cell in row.cells if cell.users]

    def read_pages(self, answer):
        page = self.codes["page"]
        return [[page[row.page_path], m.page_visit_pv, m.page_visit_uv, round(m.heat * 1000), m.entrypage_pv, m.exitpage_pv,
                 round(m.bounce_rate * m.entrypage_pv)] for row in answer.rows for m in [row.metrics]]

    def grouped(self, answer, most):
        """Day, scene, and the value of each series."""
        rows = {}
        for group in answer.groups:
            scene = self.codes["scene"][str(group.key[0].value.integer_value)]
            for number, result in enumerate(group.results):
                for point in result.points:
                    values = rows.setdefault((self.day(point.ref_date), scene), [0] * most)
                    values[number] = round(point.value)
        return [[*key, *values] for key, values in rows.items() if any(values)]

    def read_event_rare(self, answer):
        return self.grouped(answer, 2)

    def read_event_common(self, answer):
        return self.grouped(answer, 2)

    def read_sum(self, answer):
        return self.grouped(answer, 1)

    def read_hourly(self, answer):
        return [[int(point.ref_date[9:11]), round(point.value)] for point in answer.results[0].points if point.value]

    @staticmethod
    def levels(steps):
        """How many users came to a step and no further."""
        counts = [step.users for step in steps] + [0]
        return [[k, counts[k - 1] - counts[k]] for k in range(1, len(counts)) if counts[k - 1] > counts[k]]

    def read_funnel4(self, answer):
        return self.levels(answer.steps)

    def read_funnel10(self, answer):
        return self.levels(answer.steps)

    def read_funnel4_by_source(self, answer):
        return [[self.codes["scene"][str(group.value.integer_value)], *row]
                for group in answer.breakdown for row in self.levels(group.steps)]

    def read_paths(self, answer):
        page = self.codes["page"]
        return [[[page[node] for node in path.nodes], path.opens, path.users] for path in answer.graph.paths]

    def read_sessions(self, answer):
        indices = {"access_source_session_cnt": 1, "access_staytime_info": 2, "access_depth_info": 3}
        return [[indices[one.index], item.key, item.session_cnt, item.visit_uv]
                for one in answer.distributions for item in one.items if item.session_cnt]

    def read_tiers(self, answer):
        point = answer.points[0]
        return [[tier, users] for tier, users in enumerate([point.new, point.active, point.dormant, point.churned]) if users]


def comparable(question, rows):
    """Paths as many as the last one may be chosen among equals: of those only the number is compared."""
    if question != "paths" or not rows:
        return sorted(rows)
    least = min(row[1] for row in rows)
    return sorted(row for row in rows if row[1] > least) + [[len(rows), least]]
