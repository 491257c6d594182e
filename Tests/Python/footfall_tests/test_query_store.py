"""query's store: erasing a user, keeping days, backup and restore, several apps."""

import sqlite3
import threading
import time

import grpc

from . import shop
from .harness import equal, test, true
from .stores import SEALING, metric, wait_sealed
from .suite import Suite

SCOPES = ["ingest:write", "ingest:import", "query:read", "query:users", "profile:erase"]
DAY_MS = 86_400_000
NAMES = ["ingest", "query"]


class Shop:
    """Ingest and query with an app of a few users."""

    def __init__(self, world, *settings):
        self.suite = Suite(world.messages)
        self.m = world.messages
        self.query_process = self.suite.processes["query"]
        self.query_process.arguments += list(settings)
        self.suite.start(NAMES)
        self.suite.create_app(shop.APP)
        self.token = self.suite.create_token(SCOPES, shop.APP)
        self.file = self.suite.data / "query.sqlite"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.suite.stop()

    def send(self, users):
        collect = self.suite.ingest(self.token)
        for user in users:
            collect.Collect(shop.batch(self.m, user, shop.story(user)), timeout=10)

    def send_old(self, user, days):
        """One page view of a user, so many days ago."""
        request = shop.batch(self.m, user, [shop.Step(shop.at(shop.day(days), 12, 0), "$page_view", "pages/old")])
        request.ClearField("device_id")
        setattr(request, "import", True)
        for event in request.events:
            event.ClearField("sequence")
            event.event_id = f"{user}-{days}"
        answer = self.suite.ingest(self.token).Collect(request, timeout=10)
        equal(answer.accepted, 1, f"an imported event: {answer}")

    def caught_up(self):
        self.suite.wait_caught_up_one("query", self.token)

    def trend(self, first, last, breakdown=""):
        """From `first` days ago to `last` days ago, as one point."""
        m = self.m
        days = m.common.DateRange(begin_date=shop.day(first).isoformat(), end_date=shop.day(last).isoformat())
        request = m.query.GetTrendRequest(app_id=shop.APP, range=days, granularity=4, breakdown=breakdown)
        return self.suite.query(self.token).GetTrend(request, timeout=30)

    def erase(self, user):
        request = self.m.log.EraseUserRequest(app_id=shop.APP, open_id=shop.open_id(user))
        self.suite_control().EraseUser(request, timeout=60)

    def suite_control(self):
        return self.m.log_rpc.LogControlStub(self.suite.channel("ingest", self.token))

    def wait_erased(self, seconds=30):
        end = time.monotonic() + seconds
        while metric(self.suite.metrics_ports["query"], "footfall_query_erasures_waiting") > 0:
            true(time.monotonic() < end, "users are erased in time")
            time.sleep(0.05)

    def bytes(self):
        return b"".join(path.read_bytes() for path in self.suite.data.glob("query.sqlite*"))

    def backup(self):
        """The file's bytes, and the offset at which it ends."""
        m = self.m
        stub = m.query_store_rpc.ReportStoreStub(self.suite.channel("query", self.suite.admin_token))
        chunks = list(stub.Backup(m.query_store.BackupRequest(), timeout=60))
        data = b"".join(chunk.data for chunk in chunks)
        equal(chunks[0].file_bytes, len(data), "bytes of a backup")
        return data, chunks[0].next_offset

    def restart(self, data=None):
        """query goes on: from its file, from one put in its place, or (b"") from nothing."""
        self.query_process.terminate()
        if data is not None:
            for path in self.suite.data.glob("query.sqlite*"):
                path.unlink()
        if data:
            self.file.write_bytes(data)
        self.suite.start(["query"])
        self.caught_up()


@test("query store: an erased user is in no report and in no byte of the file, and comes back as a stranger")
def erasure(world):
    with Shop(world, "--seal-rows", "20") as desk:
        desk.send(range(10))
        desk.caught_up()
        equal(desk.trend(3, 0).points[0].metrics.visit_uv, 10, "users before")
        true(b"user-004" in desk.bytes(), "the user is in the file")
        desk.erase(4)
        desk.caught_up()
        desk.wait_erased()
        after = desk.trend(3, 0, "open_id")
        equal(after.points[0].metrics.visit_uv, 9, "users after")
        equal(len(after.breakdown), 9, "open_ids after")
        true(b"user-004" not in desk.bytes(), "nothing of the user is in the file")
        true(b"user-005" in desk.bytes(), "the others are")
        # Another user is erased, and query is killed at once: it goes on after the restart.
        desk.erase(5)
        desk.query_process.kill()
        desk.suite.start(["query"])
        desk.caught_up()
        desk.wait_erased()
        true(b"user-005" not in desk.bytes(), "nothing of the second user is in the file")
        request = shop.batch(desk.m, 4, shop.story(4), first=100)
        desk.suite.ingest(desk.token).Collect(request, timeout=10)
        desk.caught_up()
        again = desk.trend(3, 0)
        equal(again.points[0].metrics.visit_uv, 9, "users when one comes again")
        equal(again.points[0].metrics.visit_uv_new, 9, "the one who comes again is new")


@test("query store: days beyond the retention are dropped, and an answer over them is incomplete")
def retention(world):
    with Shop(world, *SEALING, "--retention-days", "5") as desk:
        for days in (9, 6, 4, 2):
            desk.send_old(1, days)
        desk.send_old(2, 2)
        desk.caught_up()
        wait_sealed(desk.suite.metrics_ports["query"])
        for _ in range(2):
            all_days = desk.trend(10, 1)
            equal(all_days.points[0].metrics.visit_pv, 3, "page views that are left")
            true(not all_days.info.complete, "an answer over dropped days is incomplete")
            kept = desk.trend(4, 1)
            true(kept.info.complete, "an answer over kept days is complete")
            equal(kept.points[0].metrics.visit_uv, 2, "users of kept days")
            equal(kept.points[0].metrics.visit_uv_new, 1, "who came first on a dropped day is not new")
            desk.restart()


@test("query store: a backup under traffic, restored, goes on with the log and equals a store built from it")
def backup(world):
    with Shop(world, *SEALING) as desk:
        desk.send(range(20))
        stop = threading.Event()

        def traffic():
            number = 1000
            while not stop.is_set():
                request = shop.batch(desk.m, number % 40, shop.story(number % 40), first=number * 100)
                desk.suite.ingest(desk.token).Collect(request, timeout=10)
                number += 1

        sender = threading.Thread(target=traffic)
        sender.start()
        try:
            time.sleep(0.5)
            copies = [desk.backup() for _ in range(3)]
            time.sleep(0.5)
        finally:
            stop.set()
            sender.join()
        true(copies[0][1] < copies[-1][1], f"the log went on between: {[offset for _, offset in copies]}")
        desk.erase(7)
        desk.caught_up()
        desk.wait_erased()
        found = []
        for data, offset in (*copies, (b"", 0)):
            path = desk.suite.folder / "copy.sqlite"
            if data:
                path.write_bytes(data)
                copy = sqlite3.connect(path)
                equal(copy.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "the copy's integrity")
                equal(copy.execute("SELECT next_offset FROM position").fetchone()[0], offset, "where the copy ends")
                true(offset > 20, "the copy holds something")
                copy.close()
            desk.restart(data)
            desk.wait_erased()
            wait_sealed(desk.suite.metrics_ports["query"])
            true(b"user-007" not in desk.bytes(), "who was erased after the backup is erased again")
            found.append([desk.trend(3, 0, breakdown).SerializeToString(deterministic=True) for breakdown in ("", "open_id", "page_path")])
        for one in found[1:]:
            equal(one, found[0], "answers of restored and rebuilt stores")


@test("query store: only an administrator takes a backup, and what a killed one left is removed")
def backup_refused(world):
    with Shop(world) as desk:
        # Query knows the token once it has followed the log to it.
        desk.caught_up()
        stub = desk.m.query_store_rpc.ReportStoreStub(desk.suite.channel("query", desk.token))
        try:
            list(stub.Backup(desk.m.query_store.BackupRequest(), timeout=10))
            raise AssertionError("a backup without the scope")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.PERMISSION_DENIED, "status")
        left = desk.suite.data / "query.sqlite-backup"
        desk.query_process.terminate()
        left.write_bytes(b"half")
        desk.suite.start(["query"])
        desk.caught_up()
        true(not left.exists(), "what was left is gone")
        desk.backup()
        true(not left.exists(), "nothing is left of a backup")
