"""Where opens come from: scenes and their overrides, channels, QR codes, campaigns, links."""

import grpc

from . import shop
from .harness import equal, fails, test, true

CODE = grpc.StatusCode
APP = "sourced"
READ = ("query:read",)


class Caller:
    """The calls of the service Sources for one app."""

    def __init__(self, world, app=APP, token=None):
        self.m = world.messages.sources
        self.stub = world.suite.sources(token)
        self.app = app

    def call(self, method, **fields):
        request = getattr(self.m, method + "Request")(app_id=self.app, **fields)
        return getattr(self.stub, method)(request, timeout=10)

    def override(self, code, **fields):
        return self.m.SceneOverride(code=code, **fields)

    def rule(self, **fields):
        return self.m.ChannelRule(**fields)

    def group(self, name, *rules):
        return self.m.ChannelGroup(name=name, rules=rules)

    def code(self, qr_id, **fields):
        return self.m.QrCode(**{"qr_id": qr_id, "name": "a code", **fields})

    def campaign(self, campaign_id, **fields):
        return self.m.Campaign(**{
            "campaign_id": campaign_id, "source": "newsletter", "medium": "email", "name": campaign_id, **fields})


def sourced(world):
    """Makes the app, once."""

    def make():
        world.suite.create_app(APP)
        world.suite.create_app("sourced-too")
        world.suite.create_app("sourced-alipay", platform=2)
        return True

    world.once("sourced", make)
    return Caller(world)


def event(world, user, time_ms, scene, **context):
    m = world.messages.ingest
    return m.CollectRequest(
        app_id=context.pop("app", APP), context=m.Context(open_id=user, scene=scene, **context),
        events=[m.Event(name="$page_view", time_ms=time_ms, page_path="pages/a", event_id=f"{user}-{time_ms}-{scene}")])


@test("sources: the built-in table has every key of the data API; Alipay's codes are apart")
def built_in(world):
    caller = sourced(world)
    table = caller.call("GetSceneTable")
    equal((table.version, table.built_in_version, table.platform), (0, 1, 1), "versions and platform")
    equal({scene.source_key for scene in table.scenes}, set(range(1, 58)), "source keys")
    scenes = {scene.code: scene for scene in table.scenes}
    equal((scenes[1203].excluded_because, scenes[1005].source_zh), ("load test", "搜索"), "scenes 1203, 1005")
    alipay = Caller(world, app="sourced-alipay").call("GetSceneTable")
    scenes = {scene.code: scene for scene in alipay.scenes}
    equal((scenes[1203].name_en, scenes[1203].excluded_because), ("medical services", ""), "Alipay's 1203")
    direct = Caller(world, app="").call("GetSceneTable", platform=2)
    equal([scene.code for scene in direct.scenes], [scene.code for scene in alipay.scenes], "by platform")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("GetSceneTable", platform=2, version=0), "version")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("GetSceneTable", platform=9), "platform", "9")
    unknown = caller.call("ResolveScene", code=424242)
    equal((unknown.known, unknown.scene.source_key, unknown.scene.channel), (False, 10, "other"), "unknown scene")


def trend(world, token, app, **fields):
    m = world.messages
    request = m.query.GetTrendRequest(app_id=app, granularity=4, **fields)
    request.range.begin_date = request.range.end_date = shop.day(1).isoformat()
    return world.suite.query(token).GetTrend(request, timeout=10)


@test("sources: an override changes yesterday's report at once, and taking it back changes it back")
def report(world):
    app = "sourced-report"
    world.suite.create_app(app)
    caller = Caller(world, app=app)
    token = world.suite.create_token(("ingest:write", "query:read", "live:read", "profile:read"), app)
    yesterday = shop.at(shop.day(1), 12, 0)
    for user, scene, qr_id in (("ada", 1175, ""), ("bo", 1175, "t1"), ("cy", 1001, ""), ("dee", 1129, "")):
        world.suite.ingest(token).Collect(event(world, user, yesterday, scene, qr_id=qr_id, app=app), timeout=10)

    def report():
        world.suite.wait_caught_up(token)
        by_source = trend(world, token, app, breakdown="source_key")
        by_channel = trend(world, token, app, breakdown="channel")
        excluded = {entry.reason: entry.events for entry in by_source.info.excluded}
        return (
            by_source.points[0].metrics.visit_uv, by_source.points[0].metrics.visit_uv_new,
            {series.value.integer_value: series.points[0].metrics.visit_uv for series in by_source.breakdown},
            {series.value.string_value: series.points[0].metrics.visit_uv for series in by_channel.breakdown},
            excluded.get("scene", 0))

    before = report()
    equal(before, (3, 3, {10: 2, 1: 1}, {"video_channel": 2, "other": 1}, 1), "before")
    caller.call("SetSceneOverrides", overrides=[
        caller.override(1175, source_key=48, channel="video"), caller.override(1001, excluded=True),
        caller.override(1129, excluded=False)])
    equal(report(), (3, 3, {48: 2, 10: 1}, {"video": 2, "other": 1}, 1), "with overrides")
    caller.call("SetChannelGroups", groups=[caller.group("tables", caller.rule(qr_ids=["t1"]))])
    equal(report()[3], {"video": 1, "tables": 1, "other": 1}, "channels with a group")
    # A crash of query loses none of it.
    process = world.suite.processes["query"]
    process.kill()
    process.start().wait_listening()
    equal(report()[:3], (3, 3, {48: 2, 10: 1}), "after a crash")
    caller.call("RemoveSceneOverrides", codes=[1001, 1129, 1175])
    caller.call("SetChannelGroups")
    equal(report(), before, "taken back")


@test("sources: versions say who changed what, and every version can be read again")
def versions(world):
    caller = Caller(world, app="sourced-versions")
    world.suite.create_app(caller.app)
    first = caller.call("SetSceneOverrides", overrides=[caller.override(1175, source_key=48)], note="video")
    equal((first.version, first.note, [o.code for o in first.set]), (1, "video", [1175]), "first version")
    true(first.changed_by and first.changed_ms > 1_700_000_000_000, f"who and when: {first}")
    equal(caller.call("SetSceneOverrides", overrides=[caller.override(1175, source_key=48)]), first, "the same again")
    fails(CODE.ABORTED, lambda: caller.call(
        "SetSceneOverrides", overrides=[caller.override(7, excluded=True)], expected_version=0), "expected_version", "1")
    caller.call("SetSceneOverrides", overrides=[caller.override(7, excluded=True)], expected_version=1)
    caller.call("RemoveSceneOverrides", codes=[1175], note="back")
    equal([caller.call("ResolveScene", code=1175, version=v).scene.source_key for v in range(4)], [10, 48, 48, 10],
          "source keys of 1175 by version")
    equal([o.code for o in caller.call("ListSceneOverrides").overrides], [7], "in force")
    equal([o.code for o in caller.call("ListSceneOverrides", version=2).overrides], [7, 1175], "at version 2")
    pages, token = [], ""
    while True:
        page = caller.call("ListSceneVersions", page_size=2, page_token=token)
        pages.append([version.version for version in page.versions])
        token = page.next_page_token
        if not token:
            break
    equal(pages, [[3, 2], [1]], "pages of versions")
    fails(CODE.OUT_OF_RANGE, lambda: caller.call("GetSceneTable", version=4), "version", "3", "4")
    fails(CODE.OUT_OF_RANGE, lambda: caller.call("ListSceneOverrides", version=9), "version", "9")
    fails(CODE.NOT_FOUND, lambda: caller.call("RemoveSceneOverrides", codes=[1175]), "codes[0]", "1175")


@test("sources: every refusal of an override names the field, the limit and the value")
def refused_overrides(world):
    caller = sourced(world)
    for mentions, overrides in (
        (("overrides", "1 to 500", "got 0"), []),
        (("overrides", "1 to 500", "501"), [caller.override(code, excluded=True) for code in range(1, 502)]),
        (("overrides[0].code", "1000000000", "got 0"), [caller.override(0, excluded=True)]),
        (("overrides[0].code", "1000000001"), [caller.override(1_000_000_001, excluded=True)]),
        (("overrides[1]", "twice", "7"), [caller.override(7, excluded=True), caller.override(7, source_key=2)]),
        (("overrides[0].source_key", "57", "58"), [caller.override(7, source_key=58)]),
        (("overrides[0].channel", "^[a-z]", "No"), [caller.override(7, channel="No")]),
        (("overrides[0].channel", "^[a-z]"), [caller.override(7, channel="")]),
        (("overrides[0].channel_detail", "a b"), [caller.override(7, channel_detail="a b")]),
        (("overrides[0].name_en", "128", "129"), [caller.override(7, name_en="x" * 129)]),
        (("overrides[0].name_zh", "128", "129"), [caller.override(7, name_zh="茶" * 43)]),
        (("overrides[0].name_en", "control"), [caller.override(7, name_en="a\x00b")]),
        (("overrides[0]", "changes nothing", "7"), [caller.override(7)]),
        (("overrides[0].platform", "wechat"), [caller.override(7, platform=2, excluded=True)]),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("SetSceneOverrides", overrides=overrides), *mentions)
    ok = [caller.override(7, excluded=True)]
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("SetSceneOverrides", overrides=ok, note="x" * 257), "note", "256", "257")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("RemoveSceneOverrides", codes=[]), "codes", "1 to 500")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("RemoveSceneOverrides", codes=[7, 7]), "codes[1]", "twice")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("ListSceneVersions", page_size=1001), "page_size", "1000", "1001")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("ListSceneVersions", page_token="x"), "page_token", "x")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("ResolveScene", code=0), "code", "got 0")
    equal(caller.call("GetSceneTable").version, 0, "version after refusals")


@test("sources: the first channel group that matches wins; refused groups change nothing")
def channels(world):
    caller = Caller(world, app="sourced-channels")
    world.suite.create_app(caller.app)
    begin = caller.call("GetChannelGroups")
    equal((begin.groups.version, len(begin.groups.groups)), (0, 0), "at the beginning")
    defaults = {group.name: list(group.rules[0].scenes) for group in begin.defaults}
    equal(set(defaults), {"official_account", "video_channel", "share", "search", "scan", "other"}, "default channels")
    equal(defaults["official_account"], [1020, 1035, 1043, 1058, 1074, 1082, 1091, 1102, 1144, 1152, 1157],
          "scenes of official accounts")
    groups = [
        caller.group("tables", caller.rule(qr_ids=["t1", "t2"])),
        caller.group("paid", caller.rule(campaign_sources=["wechat"], campaign_mediums=["cpc"]),
                     caller.rule(source_keys=[33])),
        caller.group("box", caller.rule(scenes=[1005])),
    ]
    made = caller.call("SetChannelGroups", groups=groups)
    equal(made.version, 1, "version")
    equal(caller.call("SetChannelGroups", groups=groups), made, "the same again")
    for channel, fields in (
        ("box", {"scene": 1005}), ("search", {"scene": 1006}), ("paid", {"scene": 1045}),
        ("tables", {"scene": 1045, "qr_id": "t2"}),
        ("paid", {"scene": 1005, "campaign_source": "wechat", "campaign_medium": "cpc"}),
        ("box", {"scene": 1005, "campaign_source": "wechat"}), ("other", {}),
    ):
        equal(caller.call("Resolve", **fields).channel, channel, f"channel of {fields}")
    for mentions, bad in (
        (("groups", "100", "101"), [caller.group(f"g{i}", caller.rule(scenes=[1])) for i in range(101)]),
        (("groups[0].name", "^[a-z]", "Bad"), [caller.group("Bad", caller.rule(scenes=[1]))]),
        (("groups[0].name", "other"), [caller.group("other", caller.rule(scenes=[1]))]),
        (("groups[1].name", "twice", "a"), [caller.group("a", caller.rule(scenes=[1]))] * 2),
        (("groups[0].rules", "1 to 32", "got 0"), [caller.group("a")]),
        (("groups[0].rules", "1 to 32", "33"), [caller.group("a", *[caller.rule(scenes=[1])] * 33)]),
        (("groups[0].rules[0]", "at least one"), [caller.group("a", caller.rule())]),
        (("groups[0].rules[0]", "500", "501"), [caller.group("a", caller.rule(scenes=range(1, 502)))]),
        (("groups[0].rules[0].scenes", "got 0"), [caller.group("a", caller.rule(scenes=[0]))]),
        (("groups[0].rules[0].source_keys", "58"), [caller.group("a", caller.rule(source_keys=[58]))]),
        (("groups[0].rules[0].qr_ids", "required"), [caller.group("a", caller.rule(qr_ids=[""]))]),
        (("groups[0].rules[0].campaign_sources", "256", "257"), [caller.group("a", caller.rule(campaign_sources=["x" * 257]))]),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("SetChannelGroups", groups=bad), *mentions)
    fails(CODE.ABORTED, lambda: caller.call("SetChannelGroups", expected_version=0), "expected_version", "1")
    equal(caller.call("GetChannelGroups").groups, made, "after refusals")
    alone = caller.call("SetChannelGroups", groups=groups, without_defaults=True, expected_version=1)
    equal((alone.version, caller.call("Resolve", scene=1006).channel), (2, "other"), "without defaults")
    equal(len(caller.call("GetChannelGroups").defaults), 0, "defaults")


@test("sources: QR codes are unique, archived and not deleted, listed by pages")
def qr_codes(world):
    caller = Caller(world, app="sourced-codes")
    world.suite.create_app(caller.app)
    made = caller.call("RegisterQrCode", qr_code=caller.code("t1", page_path="pages/a", owner="ada", medium="table"))
    true(made.created_by and made.created_ms, f"who and when: {made}")
    equal(caller.call("GetQrCode", qr_id="t1"), made, "as it was made")
    fails(CODE.ALREADY_EXISTS, lambda: caller.call("RegisterQrCode", qr_code=caller.code("t1")), "qr_code.qr_id", "t1")
    for mentions, code in (
        (("qr_code.qr_id", "required"), caller.code("")), (("qr_code.qr_id", "64", "65"), caller.code("x" * 65)),
        (("qr_code.qr_id", "control"), caller.code("a\tb")), (("qr_code.name", "required"), caller.code("t2", name="")),
        (("qr_code.name", "128", "129"), caller.code("t2", name="x" * 129)),
        (("qr_code.page_path", "query"), caller.code("t2", page_path="pages/a?b=c")),
        (("qr_code.page_path", "leading slash"), caller.code("t2", page_path="/pages/a")),
        (("qr_code.page_path", "512", "513"), caller.code("t2", page_path="x" * 513)),
        (("qr_code.owner", "128", "129"), caller.code("t2", owner="x" * 129)),
        (("qr_code.medium", "128", "129"), caller.code("t2", medium="x" * 129)),
        (("qr_code.campaign_id", "^[a-z0-9]", "No"), caller.code("t2", campaign_id="No")),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("RegisterQrCode", qr_code=code), *mentions)
    fails(CODE.FAILED_PRECONDITION, lambda: caller.call("RegisterQrCode", qr_code=caller.code("t2", campaign_id="none")),
          "qr_code.campaign_id", "none")
    fails(CODE.NOT_FOUND, lambda: caller.call("UpdateQrCode", qr_code=caller.code("t9")), "qr_id", "t9")
    fails(CODE.NOT_FOUND, lambda: caller.call("ArchiveQrCode", qr_id="t9"), "qr_id", "t9")
    fails(CODE.NOT_FOUND, lambda: caller.call("GetQrCode", qr_id="t9"), "qr_id", "t9")
    for number in range(2, 8):
        caller.call("RegisterQrCode", qr_code=caller.code(f"t{number}"))
    changed = caller.call("UpdateQrCode", qr_code=caller.code("t2", name="the second"))
    equal((changed.name, changed.created_ms > 0), ("the second", True), "updated")
    true(caller.call("ArchiveQrCode", qr_id="t3").archived, "t3 is archived")
    fails(CODE.ALREADY_EXISTS, lambda: caller.call("RegisterQrCode", qr_code=caller.code("t3")), "archived")
    pages, token = [], ""
    while True:
        page = caller.call("ListQrCodes", page_size=3, page_token=token)
        pages.append([code.qr_id for code in page.qr_codes])
        token = page.next_page_token
        if not token:
            break
    equal(pages, [["t1", "t2", "t4"], ["t5", "t6", "t7"]], "pages of codes")
    equal(len(caller.call("ListQrCodes", include_archived=True).qr_codes), 7, "with archived ones")
    equal(caller.call("Resolve", qr_id="t3").qr_code.archived, True, "an archived code still resolves")
    true(not caller.call("ArchiveQrCode", qr_id="t3", restore=True).archived, "t3 is back")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("ListQrCodes", page_size=1001), "page_size", "1000", "1001")


@test("sources: campaigns are unique by source, medium and name, and events resolve to them")
def campaigns(world):
    caller = Caller(world, app="sourced-campaigns")
    world.suite.create_app(caller.app)
    spring = caller.campaign("spring", begin_ms=1_700_000_000_000, end_ms=1_800_000_000_000, budget_minor=50_000,
                             budget_currency="CNY", content="button")
    made = caller.call("RegisterCampaign", campaign=spring)
    equal(caller.call("RegisterCampaign", campaign=spring), made, "the same again")
    fails(CODE.ALREADY_EXISTS, lambda: caller.call("RegisterCampaign", campaign=caller.campaign("spring")),
          "campaign.campaign_id", "spring")
    fails(CODE.ALREADY_EXISTS, lambda: caller.call("RegisterCampaign", campaign=caller.campaign("other", name="spring")),
          "campaign.name", "spring")
    long = "x" * 257
    for mentions, fields in (
        (("campaign.campaign_id", "^[a-z0-9]", "No"), {"campaign_id": "No"}),
        (("campaign.campaign_id", "^[a-z0-9]"), {"campaign_id": ""}),
        (("campaign.source", "required"), {"source": ""}), (("campaign.medium", "required"), {"medium": ""}),
        (("campaign.name", "required"), {"name": ""}), (("campaign.source", "256", "257"), {"source": long}),
        (("campaign.medium", "256", "257"), {"medium": long}), (("campaign.name", "256", "257"), {"name": long}),
        (("campaign.content", "256", "257"), {"content": long}), (("campaign.term", "256", "257"), {"term": long}),
        (("campaign.title", "128", "129"), {"title": "x" * 129}), (("campaign.name", "control"), {"name": "a\nb"}),
        (("campaign.begin_ms", "-1"), {"begin_ms": -1}), (("campaign.end_ms", "later", "5"), {"begin_ms": 5, "end_ms": 5}),
        (("campaign.budget_minor", "-1"), {"budget_minor": -1}),
        (("campaign.budget_currency", "^[A-Z]{3}$", "cny"), {"budget_minor": 1, "budget_currency": "cny"}),
        (("campaign.budget_currency", "^[A-Z]{3}$"), {"budget_minor": 1}),
        (("campaign.budget_currency", "CNY"), {"budget_currency": "CNY"}),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("RegisterCampaign", campaign=caller.campaign(
            fields.get("campaign_id", "bad"), **{k: v for k, v in fields.items() if k != "campaign_id"})), *mentions)
    for field in ("source", "medium", "name"):
        fails(CODE.FAILED_PRECONDITION, lambda: caller.call("UpdateCampaign", campaign=caller.campaign("spring", **{field: "x"})),
              f"campaign.{field}", "x")
    fails(CODE.NOT_FOUND, lambda: caller.call("UpdateCampaign", campaign=caller.campaign("none")), "campaign_id", "none")
    fails(CODE.NOT_FOUND, lambda: caller.call("ArchiveCampaign", campaign_id="none"), "campaign_id", "none")
    fails(CODE.NOT_FOUND, lambda: caller.call("GetCampaign", campaign_id="none"), "campaign_id", "none")
    updated = caller.call("UpdateCampaign", campaign=caller.campaign("spring", title="Spring tea"))
    equal((updated.title, updated.content, updated.created_ms), ("Spring tea", "", made.created_ms), "updated")
    fields = {"campaign_source": "newsletter", "campaign_medium": "email", "campaign_name": "spring"}
    equal(caller.call("Resolve", **fields).campaign, updated, "by its fields")
    caller.call("RegisterQrCode", qr_code=caller.code("poster", campaign_id="spring"))
    by_code = caller.call("Resolve", qr_id="poster")
    equal((by_code.campaign.campaign_id, by_code.campaign_by_qr_code), ("spring", True), "by its code")
    true(caller.call("ArchiveCampaign", campaign_id="spring").archived, "archived")
    equal(len(caller.call("ListCampaigns").campaigns), 0, "campaigns in use")
    equal(len(caller.call("ListCampaigns", include_archived=True).campaigns), 1, "all campaigns")
    equal(caller.call("Resolve", **fields).campaign.archived, True, "an archived campaign still resolves")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("Resolve", qr_id=long), "qr_id", "256", "257")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("Resolve", scene=1_000_000_001), "scene", "1000000001")


@test("sources: a link is built and parsed back, percent-encoding included")
def links(world):
    caller = Caller(world, app="sourced-links")
    world.suite.create_app(caller.app)
    caller.call("RegisterCampaign", campaign=caller.campaign("spring", name="春 & 茶", content="50% off", term="a+b"))
    caller.call("RegisterQrCode", qr_code=caller.code("t 1", campaign_id="spring", page_path="pages/tea"))
    own = [caller.m.LinkParameter(name="id", value="4=2&x")]
    link = caller.call("BuildLink", qr_id="t 1", parameters=own)
    equal(
        link.path,
        "pages/tea?utm_source=newsletter&utm_medium=email&utm_campaign=%E6%98%A5%20%26%20%E8%8C%B6"
        "&utm_content=50%25%20off&utm_term=a%2Bb&qr_id=t%201&id=4%3D2%26x", "path")
    equal(link.path, "pages/tea?" + link.query, "query")
    parsed = caller.call("ParseLink", link="/" + link.path)
    equal((parsed.page_path, parsed.campaign_name, parsed.campaign_content, parsed.campaign_term, parsed.qr_id),
          ("pages/tea", "春 & 茶", "50% off", "a+b", "t 1"), "parsed")
    equal((parsed.campaign_id, parsed.qr_registered, list(parsed.parameters)), ("spring", True, own), "resolved")
    equal(caller.call("BuildLink", page_path="pages/b").path, "pages/b", "a page alone")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("BuildLink"), "page_path", "required")
    fails(CODE.INVALID_ARGUMENT, lambda: caller.call("BuildLink", page_path="a?b"), "page_path", "a?b")
    fails(CODE.FAILED_PRECONDITION, lambda: caller.call("BuildLink", page_path="a", campaign_id="none"), "campaign_id", "none")
    fails(CODE.FAILED_PRECONDITION, lambda: caller.call("BuildLink", page_path="a", qr_id="none"), "qr_id", "none")
    for mentions, parameters in (
        (("parameters", "32", "33"), [caller.m.LinkParameter(name=f"p{i}") for i in range(33)]),
        (("parameters[0].name", "required"), [caller.m.LinkParameter()]),
        (("parameters[0].name", "64", "65"), [caller.m.LinkParameter(name="x" * 65)]),
        (("parameters[0].value", "1024", "1025"), [caller.m.LinkParameter(name="a", value="x" * 1025)]),
        (("parameters[0].name", "utm_source"), [caller.m.LinkParameter(name="utm_source", value="x")]),
        (("parameters[1].name", "twice", "id"), own + own),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("BuildLink", page_path="a", parameters=parameters), *mentions)
    for mentions, text in (
        (("link", "%zz"), "a?x=%zz"), (("link", "UTF-8"), "a?x=%FF"), (("link", "twice", "x"), "a?x=1&x=2"),
        (("link", "8192", "8193"), "x" * 8193),
    ):
        fails(CODE.INVALID_ARGUMENT, lambda: caller.call("ParseLink", link=text), *mentions)


def every_call(caller):
    """One call of each method, by name."""
    return {
        "GetSceneTable": {}, "ResolveScene": {"code": 1001}, "Resolve": {"scene": 1001},
        "SetSceneOverrides": {"overrides": [caller.override(7, excluded=True)]}, "RemoveSceneOverrides": {"codes": [7]},
        "ListSceneOverrides": {}, "ListSceneVersions": {}, "SetChannelGroups": {}, "GetChannelGroups": {},
        "RegisterQrCode": {"qr_code": caller.code("q")}, "UpdateQrCode": {"qr_code": caller.code("q")},
        "ArchiveQrCode": {"qr_id": "q"}, "GetQrCode": {"qr_id": "q"}, "ListQrCodes": {}, "ListUnregisteredQrCodes": {},
        "RegisterCampaign": {"campaign": caller.campaign("c")}, "UpdateCampaign": {"campaign": caller.campaign("c")},
        "ArchiveCampaign": {"campaign_id": "c"}, "GetCampaign": {"campaign_id": "c"}, "ListCampaigns": {},
        "BuildLink": {"page_path": "a"}, "ParseLink": {"link": "a"},
    }


CHANGES = {
    "SetSceneOverrides", "RemoveSceneOverrides", "SetChannelGroups", "RegisterQrCode", "UpdateQrCode", "ArchiveQrCode",
    "RegisterCampaign", "UpdateCampaign", "ArchiveCampaign",
}


@test("sources: an app sees nothing of another, by any call")
def isolation(world):
    caller = sourced(world)
    methods = world.messages.sources.DESCRIPTOR.services_by_name["Sources"].methods_by_name
    equal(set(every_call(caller)), set(methods), "methods that this test calls")
    token = world.suite.create_token(READ, "sourced-too")
    other = Caller(world, app=APP, token=token)
    for name, fields in every_call(caller).items():
        mentions = () if name in CHANGES else (APP,)
        fails(CODE.PERMISSION_DENIED, lambda: other.call(name, **fields), *mentions)
    nobody = Caller(world, app="no-such-app")
    unnamed = Caller(world, app="")
    for name, fields in every_call(caller).items():
        fails(CODE.NOT_FOUND, lambda: nobody.call(name, **fields), "no-such-app")
        fails(CODE.INVALID_ARGUMENT, lambda: unnamed.call(name, **fields), "app_id")
    # The same names in two apps are two things.
    second = Caller(world, app="sourced-too")
    caller.call("RegisterCampaign", campaign=caller.campaign("both"))
    second.call("RegisterCampaign", campaign=caller.campaign("both", title="another"))
    caller.call("RegisterQrCode", qr_code=caller.code("both"))
    second.call("RegisterQrCode", qr_code=caller.code("both", name="another"))
    second.call("SetSceneOverrides", overrides=[caller.override(1175, source_key=48)])
    equal(caller.call("ResolveScene", code=1175).scene.source_key, 10, "the first app's scene")
    # A token of one app changes that app and no other, and one that only reads changes nothing.
    writer = world.suite.create_token(("plan:write", "query:read"), "sourced-too")
    Caller(world, app="", token=writer).call("RegisterQrCode", qr_code=caller.code("mine"))
    equal(second.call("GetQrCode", qr_id="mine").qr_id, "mine", "registered by the app's own token")
    for name, fields in every_call(caller).items():
        fails(CODE.PERMISSION_DENIED, lambda: Caller(world, app=APP, token=writer).call(name, **fields), APP)
        if name in CHANGES:
            fails(CODE.PERMISSION_DENIED, lambda: Caller(world, app="", token=token).call(name, **fields), "plan:write")
    reader = Caller(world, app="", token=token)
    equal((reader.call("ResolveScene", code=1175).scene.source_key, reader.call("GetQrCode", qr_id="both").name),
          (48, "another"), "the second app's scene and code, by its own token")


@test("sources: codes that nobody registered are kept, listed and counted")
def unregistered(world):
    app = "sourced-unregistered"
    world.suite.create_app(app)
    caller = Caller(world, app=app)
    token = world.suite.create_token(("ingest:write", "query:read"), app)
    now = shop.at(shop.day(1), 9, 0)
    for user, qr_id, times in (("ada", "t1", 3), ("bo", "t2", 2), ("cy", "registered", 1), ("dee", "", 1)):
        for step in range(times):
            request = event(world, user, now + step, 1047, qr_id=qr_id, app=app)
            for _ in range(2):  # A retry counts nothing.
                answer = world.suite.ingest(token).Collect(request, timeout=10)
                equal(answer.accepted, 1, "accepted")
    caller.call("RegisterQrCode", qr_code=caller.code("registered"))
    listed = caller.call("ListUnregisteredQrCodes")
    equal([(code.qr_id, code.events) for code in listed.qr_codes], [("t1", 3), ("t2", 2)], "unregistered codes")
    true(all(code.first_ms <= code.last_ms for code in listed.qr_codes), "first before last")
    page = caller.call("ListUnregisteredQrCodes", page_size=1)
    equal([code.qr_id for code in page.qr_codes], ["t1"], "first page")
    page = caller.call("ListUnregisteredQrCodes", page_size=1, page_token=page.next_page_token)
    equal(([code.qr_id for code in page.qr_codes], page.next_page_token), (["t2"], ""), "second page")
    caller.call("RegisterQrCode", qr_code=caller.code("t1"))
    equal([code.qr_id for code in caller.call("ListUnregisteredQrCodes").qr_codes], ["t2"], "once t1 is registered")
    world.suite.wait_caught_up_one("query", token)
    found = trend(world, token, app, breakdown="qr_id")
    equal({series.value.string_value: series.points[0].metrics.visit_pv for series in found.breakdown},
          {"t1": 3, "t2": 2, "registered": 1, "": 1}, "page views by code")
