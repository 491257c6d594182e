"""Funnels of every kind, and paths, of four users whose ways can be followed by hand."""

import grpc

from . import shop
from .harness import equal, fails, test, true

APP = "ways"
# User -> share by which the user came, and events: seconds, name, page, fields.
STORIES = {
    "anna": ("", [(0, "$launch"), (1, "$page_view", "pages/a"), (2, "$page_view", "pages/a"), (3, "$page_view", "pages/b"),
                  (4, "add_to_cart", "", {"product_id": "x"}), (10, "purchase", "", {"product_id": "x"})]),
    "bo": ("", [(0, "$launch"), (1, "$page_view", "pages/b"), (2, "add_to_cart", "", {"product_id": "x"}), (3, "cancel"),
                (5, "purchase", "", {"product_id": "y"})]),
    "cara": ("", [(0, "$launch"), (1, "$page_view", "pages/a"), (2, "$share", "", {"share_id": "s1"})]),
    "dan": ("s1", [(60, "$launch"), (65, "purchase", "", {"product_id": "z"})]),
}


class Asked:
    """The questions of one app."""

    def __init__(self, world):
        self.suite, m = world.suite, world.messages
        self.m, self.paths_m = m.query, m.paths
        self.token = world.suite.create_token(["ingest:write", "query:read", "live:read", "profile:read"], APP)
        date = shop.day(2)
        self.range = m.common.DateRange(begin_date=date.isoformat(), end_date=date.isoformat())
        self.filter = m.common.Filter
        begin = shop.at(date, 10, 0)
        for user, (share, events) in STORIES.items():
            request = m.ingest.CollectRequest(
                app_id=APP, context=m.ingest.Context(open_id=user, share_id=share), device_id=user)
            for number, (seconds, name, *rest) in enumerate(events, 1):
                event = request.events.add(
                    name=name, time_ms=begin + seconds * shop.SECOND, page_path=rest[0] if rest else "", sequence=number)
                event.fields.extend(shop.field(m, key, value) for key, value in (rest[1] if rest[1:] else {}).items())
            equal(self.suite.ingest(self.token).Collect(request, timeout=10).accepted, len(events), user)
        self.suite.wait_caught_up(self.token)

    def step(self, name, **fields):
        return self.m.FunnelStep(events=[name], **fields)

    def funnel(self, steps, **fields):
        steps = [self.step(step) if isinstance(step, str) else step for step in steps]
        return self.suite.query(self.token).GetFunnel(
            self.m.GetFunnelRequest(app_id=APP, range=self.range, steps=steps, **fields), timeout=10)

    def users(self, steps, **fields):
        return [step.users for step in self.funnel(steps, **fields).steps]

    def paths(self, **fields):
        stub = self.suite.messages.paths_rpc.PathsStub(self.suite.channel("query", self.token))
        return stub.GetPaths(self.paths_m.GetPathsRequest(app_id=APP, range=self.range, **fields), timeout=10)


def asked(world):
    def make():
        world.suite.create_app(APP)
        return Asked(world)

    return world.once("ways", make)


@test("funnels: ordered, strict and any order, optional steps, exclusions, values held constant, entries, opens, invited users")
def funnels(world):
    ask = asked(world)
    m, buying = ask.m, ["add_to_cart", "purchase"]
    answer = ask.funnel(["$launch", *buying], compare_range=ask.range)
    equal([step.users for step in answer.steps], [4, 2, 2], "ordered")
    equal(answer.steps[2].mean_from_first_ms, 7_500, "mean of 10 s and 5 s")
    equal(list(answer.compare_steps), list(answer.steps), "the same range compared")
    equal(ask.users(buying, order=m.FUNNEL_ORDER_STRICT), [2, 1], "strict: bo's cancel lies between")
    equal(ask.users(buying[::-1], order=m.FUNNEL_ORDER_ANY), [3, 2], "any order: dan did one of two")
    optional = ["$launch", ask.step("add_to_cart", optional=True), "purchase"]
    answer = ask.funnel(optional)
    equal([step.users for step in answer.steps], [4, 2, 3], "optional: dan left the cart out")
    equal(answer.steps[2].drop_off_users, 1, "counted from the launch")
    cancel = m.FunnelExclusion(events=["cancel"], after_step=2, before_step=3)
    equal(ask.users(["$launch", *buying], exclusions=[cancel]), [4, 2, 1], "bo's chain is cut")
    equal(ask.users(buying, hold_constant=["product_id"]), [2, 1], "bo bought another product")
    for count in (m.FUNNEL_COUNT_ENTRIES, m.FUNNEL_COUNT_OPENS):
        equal(ask.users(["$launch", "purchase"], count=count), [4, 3], f"count {count}")
    equal(ask.users(["$share", ask.step("$launch", by_invited_user=True)]), [1, 1], "dan came by cara's share")
    by_product = ask.funnel(["$launch", "purchase"], breakdown="product_id", breakdown_by=m.FUNNEL_BREAKDOWN_BY_LAST_STEP)
    equal({group.value.string_value: [step.users for step in group.steps] for group in by_product.breakdown},
          {"x": [1, 1], "y": [1, 1], "z": [1, 1], "": [1, 0]}, "by what was bought")
    scope = ask.filter()
    scope.condition.field, scope.condition.operator = "product_id", 15
    equal(ask.users(["$launch", "purchase"], filter=scope), [4, 0], "purchases lie outside of the scope")


@test("funnels: what cannot be meant is INVALID_ARGUMENT and named")
def refusals(world):
    ask = asked(world)
    m, steps = ask.m, ["$launch", "purchase"]
    cancel = m.FunnelExclusion(events=["cancel"])
    for named, fields in {
        "exclusions": {"order": m.FUNNEL_ORDER_STRICT, "exclusions": [cancel]},
        "exclusions[0]": {"exclusions": [m.FunnelExclusion(events=["cancel"], after_step=2, before_step=2)]},
        "hold_constant": {"hold_constant": ["country", "city", "province", "gender"]},
        "hold_constant[0]": {"hold_constant": ["colour"]},
        "breakdown_by": {"breakdown_by": m.FUNNEL_BREAKDOWN_BY_LAST_STEP},
        "order": {"order": 9},
    }.items():
        error = fails(grpc.StatusCode.INVALID_ARGUMENT, lambda fields=fields: ask.funnel(steps, **fields))
        true(error.details().startswith(named), f"{named}: {error.details()}")
    first = [ask.step("$launch", optional=True), "purchase"]
    error = fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: ask.funnel(first))
    true(error.details().startswith("steps[0].optional"), error.details())


@test("paths: of pages from the open on, of events back from an end; the graph's sums")
def paths(world):
    ask = asked(world)
    graph = ask.paths(compare_range=ask.range).graph
    equal([(list(path.nodes), path.opens, path.users) for path in graph.paths],
          [(["pages/a"], 1, 1), (["pages/a", "pages/b"], 1, 1), (["pages/b"], 1, 1)], "pages; a repeat counts once")
    equal((graph.opens, graph.users, graph.other_opens), (3, 3, 0), "dan saw no page")
    equal([(node.step, node.name, node.visits, node.exits) for node in graph.nodes],
          [(1, "pages/a", 2, 1), (1, "pages/b", 1, 1), (2, "pages/b", 1, 1)], "nodes")
    equal([(edge.step, getattr(edge, "from"), edge.to, edge.opens) for edge in graph.edges],
          [(1, "pages/a", "pages/b", 1)], "edges")
    graph = ask.paths(events=["add_to_cart", "purchase"], end="purchase", steps=2).graph
    equal([(list(path.nodes), path.opens) for path in graph.paths],
          [(["add_to_cart", "purchase"], 2), (["purchase"], 1)], "back from the purchase")
    equal([(node.step, node.name, node.visits, node.exits) for node in graph.nodes],
          [(1, "purchase", 3, 1), (2, "add_to_cart", 2, 2)], "steps are counted from the end")
    graph = ask.paths(limit=1).graph
    equal((len(graph.paths), graph.other_opens, [(node.name, node.other, node.visits) for node in graph.nodes]),
          (1, 2, [("pages/a", False, 2), ("", True, 1), ("pages/b", False, 1)]), "the rest is other")
    error = fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: ask.paths(start="pages/a", end="pages/b"))
    true(error.details().startswith("end"), error.details())
