"""Erasing a user in user-profile and live-stats; in query: test_query_store."""

import time

import grpc

from . import shop
from .harness import equal, fails, test, true
from .stores import metric
from .suite import Suite

SCOPES = ["ingest:write", "profile:read", "live:read", "profile:erase"]
NAMES = ["ingest", "user-profile", "live-stats"]
WAITING = {"user-profile": "footfall_profile_erasures_waiting", "live-stats": "footfall_live_erasures_waiting"}


class Desk:
    """Ingest and the two consumers with an app of a few users."""

    def __init__(self, world):
        self.m = world.messages
        self.suite = Suite(world.messages)
        self.suite.start(NAMES)
        self.suite.create_app(shop.APP)
        self.token = self.suite.create_token(SCOPES, shop.APP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.suite.stop()

    def send(self, user, first=1):
        request = shop.batch(self.m, user, shop.story(user), first=first)
        for event in request.events:
            event.page_path = f"{event.page_path or 'pages/none'}/of-{user:03}"
        request.context.province = f"province-{user:03}"
        answer = self.suite.ingest(self.token).Collect(request, timeout=10)
        equal(answer.accepted, len(request.events), f"events: {answer}")

    def erase(self, user):
        control = self.m.log_rpc.LogControlStub(self.suite.channel("ingest", self.token))
        control.EraseUser(self.m.log.EraseUserRequest(app_id=shop.APP, open_id=shop.open_id(user)), timeout=60)

    def settle(self, seconds=30):
        """Until both have applied the log and left nothing of erased users."""
        end = time.monotonic() + seconds
        for name, waiting in WAITING.items():
            self.suite.wait_caught_up_one(name, self.token)
            while metric(self.suite.metrics_ports[name], waiting) > 0:
                true(time.monotonic() < end, f"{name} erases users in time")
                time.sleep(0.05)

    def left(self, user):
        """Names of the files in which something of the user stands."""
        marks = [shop.open_id(user), f"of-{user:03}", f"province-{user:03}"]
        return {
            (path.name.split(".")[0], mark)
            for path in [*self.suite.data.glob("profile.sqlite*"), *self.suite.data.glob("live.sqlite*")]
            for mark in marks if mark.encode() in path.read_bytes()
        }

    def profile(self, user):
        request = self.m.profile.GetProfileRequest(app_id=shop.APP, open_id=shop.open_id(user))
        return self.suite.profile(self.token).GetProfile(request, timeout=10)

    def counts(self):
        """Page visits since yesterday's midnight in live-stats, and events of the portrait's month."""
        begin, end = shop.at(shop.day(1), 0, 0), int(time.time() * 1000)
        series = self.suite.live(self.token).GetSeries(
            self.m.live.GetSeriesRequest(app_id=shop.APP, begin_ms=begin, end_ms=end, bucket_minutes=60), timeout=10)
        portrait = self.suite.profile(self.token).GetPortrait(
            self.m.profile.GetPortraitRequest(app_id=shop.APP, end_date=shop.day(0).isoformat(), days=30, min_group_users=1), timeout=10)
        return sum(point.visit_pv for point in series.points), portrait.info.events_read


@test("erasure: user-profile and live-stats forget a user, in answers and in every byte of their files")
def consumers(world):
    with Desk(world) as desk:
        for user in range(10):
            desk.send(user)
        desk.settle()
        equal({name for name, _ in desk.left(4)}, {"profile", "live"}, "files that name the user")
        equal(desk.profile(4).open_id, shop.open_id(4), "the profile")
        visits, events = desk.counts()
        desk.erase(4)
        desk.settle()
        fails(grpc.StatusCode.NOT_FOUND, lambda: desk.profile(4), shop.open_id(4))
        equal(desk.left(4), set(), "what is left of the user")
        true(len(desk.left(5)) >= 4, f"the others stay: {desk.left(5)}")
        # All steps of a story count: one visit of yesterday, and all of the user's events.
        equal(desk.counts(), (visits - 1, events - len(shop.story(4))), "what is counted")
        # Another user is erased, and both are killed at once: they go on after the restart.
        desk.erase(5)
        for name in WAITING:
            desk.suite.processes[name].kill()
        desk.suite.start(list(WAITING))
        desk.settle()
        equal(desk.left(5), set(), "what is left of the second user")
        # A user who comes again is a stranger.
        desk.send(4, first=100)
        desk.settle()
        equal(desk.profile(4).open_id, shop.open_id(4), "the stranger")
