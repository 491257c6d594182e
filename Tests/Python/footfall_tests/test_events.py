"""Event management, step by step as a product manager and a developer walk it, with every refusal."""

import threading
import time
import uuid

import grpc

from . import shop
from .harness import equal, fails, test, true, until

CODE = grpc.StatusCode
PAGES = ["pages/cart", "pages/index", "pages/product"]
DRAFT, CHECKED, TEST, PUBLISHED, ARCHIVED = range(1, 6)
OPEN, STRICT = 1, 2


class Plan:
    """An app of its own, with a token that may keep its plan and one that may send."""

    def __init__(self, world, app=None):
        self.world, self.m = world, world.messages.plan
        self.app = app or f"events-{uuid.uuid4().hex[:8]}"
        world.suite.create_app(self.app)
        self.keeper = world.suite.create_token(["plan:read", "plan:write"], self.app)
        self.writer = world.suite.create_token(["ingest:write"], self.app)
        self.stub = world.suite.events(self.keeper)
        self.stub.SetPages(self.m.SetPagesRequest(pages=PAGES), timeout=10)
        self.numbers = iter(range(1, 1_000_000))

    def definition(self, name="tap_buy", chinese_name=None, fields=(("total", 3),), **action):
        """A definition by manual configuration: a tap on the cart's button."""
        m = self.m
        values = dict(trigger=1, page_path="pages/cart", element="#buy")
        values.update(action)
        definition = m.EventDefinition(name=name, chinese_name=chinese_name or f"事件 {name}", method=2)
        one = definition.manual.actions.add(**values)
        for field, kind in fields:
            definition.fields.add(name=field, type=kind)
            one.data.add(field=field, path=f"cart.items[0].{field}")
        return definition

    def code(self, name, fields=(), chinese_name=None):
        """A definition of an event that the mini program's code sends."""
        definition = self.m.EventDefinition(name=name, chinese_name=chinese_name or f"事件 {name}", method=1)
        for field, kind in fields:
            definition.fields.add(name=field, type=kind)
        return definition

    def check(self, definition):
        return self.stub.CheckFields(self.m.CheckFieldsRequest(definition=definition), timeout=10)

    def save(self, definition, **fields):
        return self.stub.SaveEvent(self.m.SaveEventRequest(definition=definition, **fields), timeout=10)

    def test(self, definition, *users):
        return self.stub.SaveAndTest(self.m.SaveAndTestRequest(definition=definition, test_users=users), timeout=10)

    def publish(self, definition):
        return self.stub.SaveAndPublish(self.m.SaveEventRequest(definition=definition), timeout=10)

    def checked_and_published(self, definition):
        answer = self.check(definition)
        true(answer.passed, f"must pass: {answer.violations}")
        return self.publish(definition)

    def get(self, name):
        return self.stub.GetEvent(self.m.GetEventRequest(name=name), timeout=10)

    def mode(self, mode):
        return self.stub.SetPlanMode(self.m.SetPlanModeRequest(mode=mode), timeout=10)

    def coverage(self):
        return self.stub.GetCoverage(self.m.GetCoverageRequest(), timeout=10)

    def config(self, **fields):
        stub = self.world.suite.events(self.writer)
        return stub.GetTrackingConfig(self.m.GetTrackingConfigRequest(**fields), timeout=10)

    def request(self, user, *events, page="pages/cart"):
        m = self.world.messages.ingest
        request = m.CollectRequest(context=m.Context(open_id=user))
        for name, fields in events:
            event = request.events.add(
                name=name, time_ms=int(time.time() * 1000), page_path=page, event_id=f"e{next(self.numbers)}")
            event.fields.extend(shop.field(self.world.messages, key, value) for key, value in fields.items())
        return request

    def send(self, user, *events, **options):
        return self.world.suite.ingest(self.writer).Collect(self.request(user, *events, **options), timeout=10)

    def export(self):
        return self.stub.ExportPlan(self.m.ExportPlanRequest(), timeout=10).text

    def apply(self, text, dry_run=False):
        return self.stub.ApplyPlan(self.m.ApplyPlanRequest(text=text, dry_run=dry_run), timeout=10)


class Watcher:
    """What WatchTest shows, gathered on a thread of its own."""

    def __init__(self, plan, name=""):
        self.seen = []
        self.call = plan.stub.WatchTest(plan.m.WatchTestRequest(name=name), timeout=60)
        begun = threading.Event()

        def run():
            try:
                for answer in self.call:
                    self.seen.extend(answer.observations)
                    begun.set()
            except grpc.RpcError:
                pass  # Cancelled below.

        threading.Thread(target=run, daemon=True).start()
        true(begun.wait(10), "the first message comes at once")

    def stop(self):
        self.call.cancel()


def refused(plan, definition, field, reason, *mentions):
    """CheckFields must name the field and the reason, and nothing must be publishable."""
    answer = plan.check(definition)
    true(not answer.passed, "must not pass")
    found = [one for one in answer.violations if (one.field, one.reason) == (field, reason)]
    true(found, f"{field} {reason} is not among {answer.violations}")
    for mention in mentions:
        true(mention in found[0].message, f"{found[0].message!r} must name {mention!r}")


@test("events: the sixteen default fields are offered, with types")
def default_fields(world):
    plan = Plan(world)
    rows = plan.stub.ListDefaultFields(plan.m.ListDefaultFieldsRequest(), timeout=10).fields
    equal(
        " ".join(row.name for row in rows),
        "open_id country province city gender device network_type device_width device_height os_name os_version language "
        "manufacturer device_model device_brand page_path", "names")
    equal({row.name for row in rows if row.type == 2}, {"device_width", "device_height"}, "integers")


@test("events: each rule that a definition breaks is answered by field, reason and value")
def refusals(world):
    plan = Plan(world)
    refused(plan, plan.definition("a" * 33), "name", "too_long", "32", "33")
    refused(plan, plan.definition("Tap_buy"), "name", "bad_name", "Tap_buy")
    refused(plan, plan.definition("_tap"), "name", "bad_name")
    refused(plan, plan.definition("$click"), "name", "bad_name")
    refused(plan, plan.definition(chinese_name="购" * 33), "chinese_name", "too_long", "32", "33")
    refused(plan, plan.definition(page_path="pages/nowhere"), "manual.actions[0].page_path", "unknown_page", "nowhere")
    refused(plan, plan.definition(element=""), "manual.actions[0].element", "required", "click")
    refused(plan, plan.definition(element="buy"), "manual.actions[0].element", "bad_name")
    refused(plan, plan.definition(trigger=4), "manual.actions[0].element", "not_allowed")
    refused(plan, plan.definition(trigger=0), "manual.actions[0].trigger", "required")
    refused(plan, plan.definition(fields=(("province", 1),)), "fields[0].name", "reserved", "default field")
    refused(plan, plan.definition(fields=(("Total", 1),)), "fields[0].name", "bad_name")
    refused(plan, plan.definition(fields=(("total", 0),)), "fields[0].type", "required")
    eleven = plan.definition()
    for _ in range(10):
        eleven.manual.actions.add().CopyFrom(eleven.manual.actions[0])
    refused(plan, eleven, "manual.actions", "too_many", "10", "11")
    del eleven.manual.actions[10]
    true(plan.check(eleven).passed, "ten actions must pass")
    steps = plan.definition()
    steps.manual.report_type = 2
    refused(plan, steps, "manual.actions[0].step", "required")
    steps.manual.actions[0].step = 1
    refused(plan, steps, "manual.actions", "required", "REPORT")
    steps.manual.actions.add().CopyFrom(steps.manual.actions[0])
    steps.manual.actions[1].step = 2
    true(plan.check(steps).passed, "one START and one REPORT must pass")
    # All at once.
    bad = plan.definition("BAD", chinese_name=" ", page_path="x", element="y")
    equal([one.field for one in plan.check(bad).violations],
          ["name", "chinese_name", "manual.actions[0].page_path", "manual.actions[0].element"], "fields")


@test("events: from draft over checked and test to published, and republished under a version")
def lifecycle(world):
    plan = Plan(world)
    definition = plan.definition()
    event = plan.save(definition)
    equal((event.state, event.version, event.revision), (DRAFT, 0, 1), "draft")
    fails(CODE.FAILED_PRECONDITION, lambda: plan.publish(definition), "CheckFields", "tap_buy")
    fails(CODE.FAILED_PRECONDITION, lambda: plan.test(definition, "u1"), "CheckFields")
    answer = plan.check(definition)
    true(answer.passed, str(answer.violations))
    equal([(row.name, row.type, row.source) for row in answer.fields][-1], ("total", 3, 2), "last row of the field table")
    equal(len(answer.fields), 17, "rows of the field table")
    equal(plan.get("tap_buy").event.state, CHECKED, "state")
    equal(plan.test(definition, "u1").state, TEST, "state")
    event = plan.publish(definition)
    equal((event.state, event.version), (PUBLISHED, 1), "published")
    equal(plan.publish(definition).revision, event.revision, "the same again changes nothing")
    definition.description = "a tap on the cart's button"
    fails(CODE.FAILED_PRECONDITION, lambda: plan.publish(definition), "CheckFields")
    equal(plan.checked_and_published(definition).version, 2, "version")
    history = plan.get("tap_buy").history
    equal([change.action for change in history], ["publish", "publish", "test", "check", "save"], "actions")
    true(all(change.event.changed_by.label == "test" for change in history), "who: the token's label")
    true('description: "" -> ' in history[0].details[0], f"what: {history[0].details}")


@test("events: names are unique and never change")
def names(world):
    plan = Plan(world)
    plan.save(plan.code("buy", chinese_name="购买"))
    fails(CODE.INVALID_ARGUMENT, lambda: plan.save(plan.code("buy", chinese_name="下单")), "chinese_name", "never changes")
    fails(CODE.ALREADY_EXISTS, lambda: plan.save(plan.code("order", chinese_name="购买")), "购买", "buy")
    refused(plan, plan.code("order", chinese_name="购买"), "chinese_name", "taken", "buy")
    fails(CODE.INVALID_ARGUMENT, lambda: plan.save(plan.code("a" * 33)), "name", "33")
    fails(CODE.INVALID_ARGUMENT, lambda: plan.save(plan.code("Buy")), "name", "Buy")
    plan.stub.ArchiveEvent(plan.m.ArchiveEventRequest(name="buy"), timeout=10)
    fails(CODE.ALREADY_EXISTS, lambda: plan.save(plan.code("order", chinese_name="购买")), "buy")
    fails(CODE.NOT_FOUND, lambda: plan.get("nothing"), "nothing")


@test("events: a list in pages, by state and text")
def listed(world):
    plan = Plan(world)
    for number in range(5):
        plan.save(plan.code(f"e{number}"))
    plan.checked_and_published(plan.code("done"))
    ask = plan.m.ListEventsRequest
    first = plan.stub.ListEvents(ask(page_size=4), timeout=10)
    equal([one.definition.name for one in first.events], ["done", "e0", "e1", "e2"], "first page")
    rest = plan.stub.ListEvents(ask(page_size=4, page_token=first.next_page_token), timeout=10)
    equal([one.definition.name for one in rest.events], ["e3", "e4"], "second page")
    equal((first.total, rest.next_page_token), (6, ""), "total and end")
    found = plan.stub.ListEvents(ask(states=[PUBLISHED]), timeout=10).events
    equal([one.definition.name for one in found], ["done"], "published")
    found = plan.stub.ListEvents(ask(text="事件 e3"), timeout=10).events
    equal([one.definition.name for one in found], ["e3"], "by text")
    fails(CODE.INVALID_ARGUMENT, lambda: plan.stub.ListEvents(ask(page_size=201), timeout=10), "page_size", "200", "201")


@test("events: a token of one app reaches no other app's plan, and needs the scope")
def tenants(world):
    plan, other = Plan(world), Plan(world)
    m = plan.m
    fails(CODE.PERMISSION_DENIED, lambda: plan.stub.GetPlan(m.GetPlanRequest(app_id=other.app), timeout=10), other.app)
    fails(CODE.PERMISSION_DENIED,
          lambda: plan.stub.SetPlanMode(m.SetPlanModeRequest(app_id=other.app, mode=STRICT), timeout=10), other.app)
    fails(CODE.PERMISSION_DENIED,
          lambda: world.suite.events(plan.writer).GetPlan(m.GetPlanRequest(), timeout=10), "plan:read")
    reader = world.suite.create_token(["plan:read"], plan.app)
    fails(CODE.PERMISSION_DENIED,
          lambda: world.suite.events(reader).SetPlanMode(m.SetPlanModeRequest(mode=STRICT), timeout=10), "plan:write")
    fails(CODE.PERMISSION_DENIED,
          lambda: plan.stub.GetTrackingConfig(m.GetTrackingConfigRequest(), timeout=10), "ingest:write")
    # An administrator names the app.
    equal(world.suite.events().GetPlan(m.GetPlanRequest(app_id=plan.app), timeout=10).mode, OPEN, "mode")
    fails(CODE.INVALID_ARGUMENT, lambda: world.suite.events().GetPlan(m.GetPlanRequest(), timeout=10), "app_id")
    fails(CODE.NOT_FOUND, lambda: world.suite.events().GetPlan(m.GetPlanRequest(app_id="no-such-app"), timeout=10),
          "no-such-app")


@test("events: a test user's events are seen live with what matched and what failed, others' are not")
def watched(world):
    plan = Plan(world)
    definition = plan.definition(fields=(("total", 3), ("sku", 1)))
    true(plan.check(definition).passed, "must pass")
    plan.test(definition, "tester")
    watcher = Watcher(plan)
    try:
        plan.send("somebody", ("tap_buy", {"total": 1.5, "sku": "s"}))
        plan.send("tester", ("tap_buy", {"total": 2.5, "sku": "s"}))
        plan.send("tester", ("tap_buy", {"total": 2.5, "colour": "red"}), page="pages/index")
        plan.send("tester", ("tap_buy", {"total": "much"}), ("Bad", {}))
        until(lambda: len(watcher.seen) >= 4, what="four observations")
        time.sleep(0.1)
        equal([one.open_id for one in watcher.seen], ["tester"] * 4, "who was seen")
        good, odd, wrong, bad = watcher.seen
        equal((good.outcome, good.matched, good.in_test, list(good.problems)), ("accepted", True, True, []), "good")
        equal([(f.name, f.value) for f in good.fields], [("total", "2.5"), ("sku", "s")], "fields")
        equal((odd.outcome, odd.matched), ("accepted", False), "odd")
        equal({(one.field, one.reason) for one in odd.problems},
              {("fields.sku", "missing"), ("fields.colour", "unknown_field"), ("page_path", "unknown_page")}, "odd's problems")
        true(wrong.outcome in ("rejected", "quarantined") and not wrong.matched, f"wrong: {wrong.outcome}")
        equal(wrong.reason, "wrong_type", "reason")
        true("total" in wrong.message, wrong.message)
        equal((bad.outcome, bad.reason), ("rejected", "bad_name"), "bad")
    finally:
        watcher.stop()
    # Who comes later sees the last ones.
    later = Watcher(plan, "tap_buy")
    until(lambda: len(later.seen) == 3, what="the last three of the event")
    later.stop()


@test("events: an SDK gets what is published once, then hears that nothing changed")
def tracking_config(world):
    plan = Plan(world)
    equal(len(plan.config().events), 0, "events before anything is published")
    plan.checked_and_published(plan.definition())
    plan.checked_and_published(plan.code("by_code"))
    config = plan.config()
    equal([one.name for one in config.events], ["tap_buy"], "manual configuration only")
    action = config.events[0].manual.actions[0]
    equal((action.page_path, action.element, action.data[0].path), ("pages/cart", "#buy", "cart.items[0].total"), "action")
    same = plan.config(known_version=config.version)
    equal((same.version, same.not_modified, len(same.events)), (config.version, True, 0), "the same version")
    changed = plan.definition(element="#buy2")
    true(plan.check(changed).passed, "must pass")
    plan.test(changed, "tester")
    equal(plan.config().events[0].manual.actions[0].element, "#buy", "for everybody")
    mine = plan.config(open_id="tester", known_version=config.version)
    equal((mine.events[0].manual.actions[0].element, mine.events[0].in_test), ("#buy2", True), "for the test user")
    plan.publish(changed)
    newer = plan.config(known_version=config.version)
    equal((newer.not_modified, newer.events[0].manual.actions[0].element, newer.events[0].version), (False, "#buy2", 2),
          "after it is published")
    true(newer.version > mine.version > config.version, "versions grow")


@test("events: an open plan takes unknown events and lists them")
def open_mode(world):
    plan = Plan(world)
    plan.checked_and_published(plan.code("buy", fields=(("price", 3), ("sku", 1), ("never", 4))))
    for number in range(6):
        fields = {"price": 1.5, "sku": "s"} if number % 2 else {"price": 2.5, "extra": True}
        equal(plan.send(f"u{number}", ("buy", fields), ("mystery", {"x": 1}), ("$launch", {})).accepted, 3, "accepted")
    request = plan.request("u", ("buy", {"price": 1.0}))
    for _ in range(2):
        world.suite.ingest(plan.writer).Collect(request, timeout=10)
    coverage = plan.coverage()
    (buy,) = coverage.definitions
    equal((buy.name, buy.events, list(buy.never_sent)), ("buy", 7, ["never"]), "an event sent twice counts once")
    equal({one.name: one.events for one in buy.fields}, {"price": 7, "sku": 3}, "declared fields")
    equal({one.name: one.events for one in buy.undeclared}, {"extra": 3}, "undeclared fields")
    equal([(one.name, one.events, one.quarantined) for one in coverage.unregistered], [("mystery", 6, 0)], "unregistered")
    true(coverage.unregistered[0].first_seen_ms > 0, "first seen")


@test("events: a strict plan keeps unknown events aside, but never ours nor a test user's")
def strict_mode(world):
    plan = Plan(world)
    plan.checked_and_published(plan.code("buy"))
    tried = plan.code("tried")
    true(plan.check(tried).passed, "must pass")
    plan.test(tried, "tester")
    plan.save(plan.code("idea"))
    equal(plan.mode(STRICT).mode, STRICT, "mode")
    answer = plan.send("u", ("buy", {}), ("$launch", {}), ("mystery", {}), ("tried", {}), ("idea", {}))
    equal(answer.accepted, 2, "accepted")
    equal([(one.index, one.field, one.reason) for one in answer.quarantined],
          [(index, "name", "unregistered") for index in (2, 3, 4)], "quarantined")
    true("mystery" in answer.quarantined[0].message, answer.quarantined[0].message)
    answer = plan.send("tester", ("tried", {}), ("idea", {}))
    equal((answer.accepted, [one.index for one in answer.quarantined]), (1, [1]), "of the test user")
    plan.publish(tried)
    equal(plan.send("u", ("tried", {})).accepted, 1, "after it is published")
    listed = {one.name: (one.events, one.quarantined, one.state) for one in plan.coverage().unregistered}
    equal(listed, {"mystery": (0, 1, 0), "idea": (0, 2, DRAFT)}, "unregistered")
    equal(plan.mode(OPEN).mode, OPEN, "mode")
    equal(plan.send("u", ("mystery", {})).accepted, 1, "in an open plan")


@test("events: a plan is exported, applied to another app, and equal there")
def as_code(world):
    plan, other = Plan(world), Plan(world)
    plan.mode(STRICT)
    plan.checked_and_published(plan.definition())
    plan.checked_and_published(plan.code("buy", fields=(("price", 3),)))
    plan.save(plan.code("idea"))
    text, before = plan.export(), other.export()
    dry = other.apply(text, dry_run=True)
    equal([(one.kind, one.name) for one in dry.differences],
          [("mode", ""), ("add", "buy"), ("add", "idea"), ("add", "tap_buy")], "differences")
    equal((dry.applied, other.export()), (False, before), "a dry run changes nothing")
    true(other.apply(text).applied, "applied")
    equal(other.export(), text, "the other app's plan")
    equal(len(other.apply(text).differences), 0, "differences at the second time")
    equal(other.get("buy").event.version, 1, "version after the second time")
    equal([one.name for one in other.config().events], ["tap_buy"], "what SDKs get")
    fails(CODE.INVALID_ARGUMENT, lambda: other.apply(text.replace('"#buy"', '"buy"')), "events[2]", "element")
    fails(CODE.INVALID_ARGUMENT, lambda: other.apply("{}}"), "text")
    equal(other.export(), text, "after the refusals")


@test("events: a field keeps one type for ever, whoever decided it")
def field_types(world):
    plan = Plan(world)
    plan.send("u", ("buy", {"price": 5}))
    refused(plan, plan.code("buy", fields=(("price", 3),)), "fields[0].type", "wrong_type", "integer", "double")
    plan.checked_and_published(plan.code("pay", fields=(("amount", 3),)))
    answer = plan.send("u", ("pay", {"amount": "much"}))
    equal(answer.accepted, 0, "accepted")
    (one,) = list(answer.rejected) + list(answer.quarantined)
    equal((one.field, one.reason), ("fields.amount", "wrong_type"), "refusal")


@test("events: counts are exact after ingest is killed, whatever of them was written down")
def counts_survive(world):
    plan = Plan(world)
    plan.checked_and_published(plan.code("buy"))
    sent = 0
    for _ in range(3):
        for number in range(20):
            plan.send(f"u{number}", ("buy", {}), ("other", {"x": number}))
        sent += 20
        plan.mode(STRICT)
        plan.send("u", ("aside", {}))
        plan.mode(OPEN)
        world.suite.processes["ingest"].kill()
        world.suite.processes["ingest"].start().wait_listening()
        coverage = until(lambda: quietly(plan.coverage), what="ingest answers")
        equal(coverage.definitions[0].events, sent, "buy")
        equal([(one.name, one.events, one.quarantined) for one in coverage.unregistered],
              [("other", sent, 0), ("aside", 0, sent // 20)], "unregistered")
        # Counts are written down a second after they were made, with what comes next.
        time.sleep(1.1)
    equal(plan.get("buy").event.version, 1, "version")


def quietly(call):
    """The answer, or None where the connection is not there yet."""
    try:
        return call()
    except grpc.RpcError as error:
        true(error.code() == CODE.UNAVAILABLE, str(error))
        return None
