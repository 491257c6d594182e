"""The log's own calls: filtered subscriptions, fencing, lag, retention, verification, erasure, damage."""

import os
import signal
import threading
import time
import urllib.request

import grpc

from .harness import equal, fails, test, true, until
from .lone import LoneIngest

SERVING, NOT_SERVING = 1, 2


class Reader:
    """Reads one subscription in a thread of its own."""

    def __init__(self, lone, name, offset=0, app="", epoch=0, token=None):
        request = lone.messages.ingest.SubscribeRequest(
            from_offset=offset, subscriber=name, app_id=app, epoch=epoch)
        self.call = lone.events(token).Subscribe(request)
        self.records, self.messages, self.error = [], [], None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for message in self.call:
                self.records += message.records
                self.messages.append(message)
        except grpc.RpcError as error:
            self.error = error

    @property
    def next(self):
        return self.messages[-1].next_offset if self.messages else 0

    @property
    def epoch(self):
        return until(lambda: self.messages, what="a first message")[0].epoch

    def wait_for(self, offset):
        until(lambda: self.error or self.next >= offset, what=f"offset {offset}")
        true(self.error is None, f"the stream must stand: {self.error}")
        return self

    def ended(self, code, *mentions):
        until(lambda: self.error, what="the stream's end")
        equal(self.error.code(), code, f"status ({self.error.details()})")
        for mention in mentions:
            true(mention in self.error.details(), f"the message must name {mention!r}: {self.error.details()}")

    def stop(self):
        self.call.cancel()
        self.thread.join(timeout=10)


def two_apps(lone):
    """The apps `a` and `b`, and 20 batches of two events by turns, the last 10 at once; the log's end."""
    for app in ("a", "b"):
        lone.create_app(app)
    token = lone.create_token(["ingest:write"])
    collect = lone.ingest(token)
    requests = [lone.batch("ab"[n % 2], f"u{n % 4}", [f"{n}/0", f"{n}/1"]) for n in range(20)]
    for request in requests[:10]:
        collect.Collect(request, timeout=10)
    for answer in [collect.Collect.future(request, timeout=10) for request in requests[10:]]:
        answer.result()
    return lone.status().head_offset


@test("log: a subscription to one app sees its records only, and its position passes over the others")
def filtered(world):
    with LoneIngest(world.messages) as lone:
        lone.start()
        head = two_apps(lone)
        whole = Reader(lone, "whole").wait_for(head)
        one = Reader(lone, "one", app="a").wait_for(head)
        equal([r.first_offset for r in one.records], [r.first_offset for r in whole.records if r.app_id == "a"], "records")
        equal(len([r for r in one.records if r.WhichOneof("body") == "batch"]), 10, "batches of the app")
        # Nothing but other apps' records: a message without records tells how far it is.
        count = len(one.records)
        token = lone.create_token(["ingest:write"], "b")
        lone.ingest(token).Collect(lone.batch("b", "u", ["more"]), timeout=10)
        one.wait_for(lone.status().head_offset)
        equal(len(one.records), count, "records of the app")
        lone.ingest(lone.create_token(["ingest:write"])).Collect(lone.batch("a", "u", ["mine"]), timeout=10)
        until(lambda: len(one.records) == count + 1, what="the app's next record")
        one.stop()
        whole.stop()


@test("log: the newest subscription under a name ends the one before; an old epoch is refused, the own one goes on")
def fencing(world):
    with LoneIngest(world.messages) as lone:
        lone.start()
        head = two_apps(lone)
        first = Reader(lone, "name").wait_for(head)
        second = Reader(lone, "name", offset=5).wait_for(head)
        first.ended(grpc.StatusCode.ABORTED, "name", str(second.epoch))
        true(second.epoch > first.epoch, "epochs grow")
        # The one that was put aside comes back with what it knows.
        Reader(lone, "name", epoch=first.epoch).ended(grpc.StatusCode.ABORTED, str(second.epoch))
        m = world.messages
        control = lone.control(lone.service_token)
        fails(grpc.StatusCode.ABORTED, lambda: control.Acknowledge(
            m.log.AcknowledgeRequest(subscriber="name", epoch=first.epoch, next_offset=head), timeout=5))
        equal(lone.status().subscribers[0].acknowledged_offset, 5, "acknowledged: by the subscription's start")
        control.Acknowledge(m.log.AcknowledgeRequest(subscriber="name", epoch=second.epoch, next_offset=head), timeout=5)
        control.Acknowledge(m.log.AcknowledgeRequest(subscriber="name", epoch=second.epoch, next_offset=7), timeout=5)
        equal(lone.status().subscribers[0].acknowledged_offset, head, "acknowledged: forward only")
        fails(grpc.StatusCode.OUT_OF_RANGE, lambda: control.Acknowledge(
            m.log.AcknowledgeRequest(subscriber="name", epoch=second.epoch, next_offset=head + 1), timeout=5), str(head + 1))
        # The same process takes its stream up again, and the epoch stays, over a restart of ingest too.
        third = Reader(lone, "name", offset=head, epoch=second.epoch)
        second.ended(grpc.StatusCode.ABORTED)
        equal(third.epoch, second.epoch, "epoch")
        time.sleep(1.2)
        lone.restart()
        equal(lone.status().subscribers[0].epoch, second.epoch, "epoch after a restart")
        Reader(lone, "name", epoch=first.epoch).ended(grpc.StatusCode.ABORTED)
        fourth = Reader(lone, "name", offset=head, epoch=second.epoch)
        equal(fourth.epoch, second.epoch, "epoch")
        fourth.stop()


@test("log: a consumer that was stopped while another took its name ends when it wakes, and moves nothing")
def zombie(world):
    suite = world.suite
    m = world.messages
    query = suite.processes["query"]
    os.kill(query.child.pid, signal.SIGSTOP)
    events = m.ingest_rpc.EventLogStub(suite.channel("ingest", (suite.data / "service.token").read_text().strip()))
    taken = events.Subscribe(m.ingest.SubscribeRequest(from_offset=0, subscriber="query"))
    epoch = next(iter(taken)).epoch
    os.kill(query.child.pid, signal.SIGCONT)
    until(lambda: not query.running, seconds=30, what="the end of the consumer that was replaced")
    equal(query.child.returncode, 1, "exit status")
    true("another process follows the log as query" in query.log_tail(), "the log says why")
    status = {s.name: s for s in suite.ingest().GetLogStatus(m.ingest.GetLogStatusRequest(), timeout=5).subscribers}
    equal((status["query"].epoch, status["query"].acknowledged_offset), (epoch, 0), "who has the name")
    taken.cancel()
    # Started anew it takes its name back, from its own position on.
    query.start()
    query.wait_listening()
    true(until(lambda: [s for s in suite.ingest().GetLogStatus(m.ingest.GetLogStatusRequest(), timeout=5).subscribers
                        if s.name == "query" and s.epoch > epoch and s.connected]), "the name is taken back")


@test("log: subscribers are listed with their lag in events and in time, in the status and as gauges, over a restart")
def lag(world):
    with LoneIngest(world.messages) as lone:
        lone.start()
        head = two_apps(lone)
        reader = Reader(lone, "slow", offset=5).wait_for(head)
        time.sleep(0.3)
        one = lone.status().subscribers[0]
        equal((one.name, one.connected, one.next_offset, one.acknowledged_offset, one.lag_events),
              ("slow", True, head, 5, head - 5), "the subscriber")
        true(300 <= one.lag_ms < 60_000, f"lag_ms: {one.lag_ms}")
        time.sleep(1.2)
        text = urllib.request.urlopen(f"http://127.0.0.1:{lone.metrics_port}/metrics", timeout=5).read().decode()
        true(f'footfall_log_subscriber_lag_events{{subscriber="slow"}} {head - 5}' in text, "the gauge of events")
        true('footfall_log_subscriber_lag_milliseconds{subscriber="slow"} ' in text, "the gauge of time")
        control = lone.control()
        forget = world.messages.log.ForgetSubscriberRequest(subscriber="slow")
        fails(grpc.StatusCode.FAILED_PRECONDITION, lambda: control.ForgetSubscriber(forget, timeout=5), "slow")
        reader.stop()
        lone.restart()
        one = lone.status().subscribers[0]
        equal((one.name, one.connected, one.acknowledged_offset, one.holds_retention), ("slow", False, 5, True), "after a restart")
        lone.control().ForgetSubscriber(forget, timeout=5)
        equal(len(lone.status().subscribers), 0, "subscribers")
        fails(grpc.StatusCode.NOT_FOUND, lambda: lone.control().ForgetSubscriber(forget, timeout=5), "slow")
        lone.restart()
        equal(len(lone.status().subscribers), 0, "subscribers after a restart")


@test("log: retention waits for every subscriber, then removes; a removed offset is OUT_OF_RANGE and names both ends")
def retention(world):
    m = world.messages
    with LoneIngest(m, "--log-keep-mib", "1") as lone:
        lone.start()
        lone.create_app("a")
        token = lone.create_token(["ingest:write"], "a")
        reader = Reader(lone, "slow")
        collect = lone.ingest(token)
        text = "x" * 1000
        for number in range(200):
            collect.Collect(lone.batch("a", "u", [f"{number}/{i}" for i in range(20)], text=text), timeout=10)
        head = lone.status().head_offset
        reader.wait_for(head)
        time.sleep(6)
        equal(lone.status().first_offset, 0, "first_offset while a subscriber has acknowledged nothing")
        lone.control(lone.service_token).Acknowledge(
            m.log.AcknowledgeRequest(subscriber="slow", epoch=reader.epoch, next_offset=1003), timeout=5)
        status = until(lambda: (lambda s: s if s.first_offset > 0 else None)(lone.status()), seconds=20, what="retention")
        true(status.first_offset <= 1003, f"first_offset {status.first_offset}: not beyond what is acknowledged")
        lone.control(lone.service_token).Acknowledge(
            m.log.AcknowledgeRequest(subscriber="slow", epoch=reader.epoch, next_offset=head), timeout=5)
        until(lambda: lone.status().payload_bytes <= 1 << 20, seconds=20, what="a log of 1 MiB")
        status = lone.status()
        true(status.free_bytes > 2 << 20, f"space to use again: {status.free_bytes}")
        Reader(lone, "late", offset=1).ended(
            grpc.StatusCode.OUT_OF_RANGE, "from_offset: 1 ", str(status.first_offset), str(head))
        Reader(lone, "good", offset=status.first_offset).wait_for(head).stop()
        reader.stop()


@test("log: VerifyLog lists damaged records; Subscribe ends with DATA_LOSS at them; EventLog alone is unhealthy; Collect goes on")
def damage(world):
    m = world.messages
    with LoneIngest(m, "--log-scrub-mib-per-second", "0") as lone:
        lone.start()
        head = two_apps(lone)
        answers = list(lone.control().VerifyLog(m.log.VerifyLogRequest(), timeout=30))
        equal((answers[-1].next_offset, answers[-1].damaged_records), (head, 0), "a good log")

        lone.process.terminate()
        offsets = [row[0] for row in lone.select("SELECT first_offset FROM log WHERE kind = 1 ORDER BY 1")]
        first, second = offsets[5], offsets[8]
        lone.tamper(
            ("UPDATE log SET count = 1 WHERE first_offset = ?", [first]),
            ("UPDATE log SET app_id = CASE app_id WHEN 'a' THEN 'b' ELSE 'a' END WHERE first_offset = ?", [second]))
        lone.start()
        equal(lone.health("footfall.ingest.v1.EventLog"), SERVING, "health before anything is read")
        reader = Reader(lone, "reader")
        reader.ended(grpc.StatusCode.DATA_LOSS, f"offset {first}")
        equal(reader.records[-1].first_offset + reader.records[-1].count, first, "what was served")
        # Also where the filter would pass over it.
        for app in ("a", "b"):
            Reader(lone, "other", app=app, offset=first + 2).ended(grpc.StatusCode.DATA_LOSS, f"offset {second}")
        equal(lone.health("footfall.ingest.v1.EventLog"), NOT_SERVING, "health of the log")
        equal(lone.health("footfall.ingest.v1.Ingest"), SERVING, "health of ingest")
        equal(lone.health(), SERVING, "health of the process: events are taken")
        answers = list(lone.control().VerifyLog(m.log.VerifyLogRequest(), timeout=30))
        equal([d.offset for a in answers for d in a.damaged], [first, second], "damaged records")
        equal(lone.status().damaged_records, 2, "in the status")
        token = lone.create_token(["ingest:write"], "a")
        equal(lone.ingest(token).Collect(lone.batch("a", "u", ["later"]), timeout=10).accepted, 1, "accepted")
    with LoneIngest(m, "--log-scrub-mib-per-second", "100") as lone:
        lone.start()
        two_apps(lone)

        lone.restart(lambda: lone.tamper(("UPDATE log SET received_ms = received_ms + 1 WHERE first_offset = ?", [first])))
        until(lambda: lone.health("footfall.ingest.v1.EventLog") == NOT_SERVING, what="the reading in the background finds it")


@test("log: EraseUser leaves no byte of the user in the files; another app's user of the same id stays")
def erasure(world):
    m = world.messages
    with LoneIngest(m) as lone:
        lone.start()
        for app in ("a", "b"):
            lone.create_app(app)
        collect = lone.ingest(lone.create_token(["ingest:write"]))
        week = 8 * 86_400_000
        for app in ("a", "b"):
            for user in ("secret-user", "other-user"):
                for number in range(30):
                    mark = f"mark-{app}-{user}-{number}"
                    collect.Collect(lone.batch(app, user, [f"{mark}-{i}-" for i in range(5)], text=f"{mark}-text-" * 30), timeout=10)
                    late = int(time.time() * 1000) - week
                    collect.Collect(lone.batch(app, user, [f"{mark}-late-"], time_ms=late, text=f"{mark}-late-"), timeout=10)
        status = lone.status()
        equal(status.quarantined_events, 120, "kept aside")
        token = lone.create_token(["profile:erase"], "a")
        control = lone.control(token)
        fails(grpc.StatusCode.PERMISSION_DENIED,
              lambda: control.EraseUser(m.log.EraseUserRequest(app_id="b", open_id="secret-user"), timeout=30))
        fails(grpc.StatusCode.PERMISSION_DENIED, lambda: lone.control(lone.service_token).EraseUser(
            m.log.EraseUserRequest(app_id="a", open_id="secret-user"), timeout=30))
        fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: control.EraseUser(m.log.EraseUserRequest(), timeout=30), "open_id")
        answer = control.EraseUser(m.log.EraseUserRequest(open_id="secret-user"), timeout=60)
        equal((answer.erased_events, answer.erased_quarantined), (150, 30), "erased")
        raw = b"".join(path.read_bytes() for path in lone.data.iterdir())
        equal(raw.count(b"mark-a-secret-user"), 0, "marks of the user in the files")
        for kept in (b"mark-a-other-user", b"mark-b-secret-user", b"mark-b-other-user"):
            true(raw.count(kept) > 100, f"{kept} must stay")
        reader = Reader(lone, "reader").wait_for(lone.status().head_offset)
        equal(len([r for r in reader.records if r.WhichOneof("body") == "batch" and not r.batch]), 30, "empty batches")
        last = [r for r in reader.records if r.WhichOneof("body") == "erasure"]
        equal([(r.first_offset, r.count, r.app_id) for r in last], [(answer.offset, 1, "a")], "the erasure record")
        reader.stop()
        equal(list(lone.control().VerifyLog(m.log.VerifyLogRequest(), timeout=30))[-1].damaged_records, 0, "damaged")


@test("log: a page in which a bit was flipped is refused when it is read, and the log says where")
def flipped_page(world):
    m = world.messages
    with LoneIngest(m, "--log-scrub-mib-per-second", "0") as lone:
        lone.start()
        lone.create_app("a")
        collect = lone.ingest(lone.create_token(["ingest:write"], "a"))
        for number in range(100):
            collect.Collect(lone.batch("a", "u", [f"page-{number}-"], text="x" * 1000), timeout=10)
            if number == 60:
                # What is older than a second is not read again at the start, to count what was seen.
                time.sleep(1.2)
        lone.process.terminate()
        path = lone.data / "ingest.sqlite"
        content = bytearray(path.read_bytes())
        content[content.index(b"page-30-")] ^= 1
        path.write_bytes(content)
        lone.start()
        Reader(lone, "reader").ended(grpc.StatusCode.DATA_LOSS, "a page does not match its checksum")
        equal(lone.health("footfall.ingest.v1.EventLog"), NOT_SERVING, "health of the log")
        found = [d for a in lone.control().VerifyLog(m.log.VerifyLogRequest(), timeout=30) for d in a.damaged]
        equal(len(found), 1, "damaged places")
        true(found[0].count < 20, f"no more than the page's rows are lost: {found[0]}")
        equal(collect.Collect(lone.batch("a", "u", ["later"]), timeout=10).accepted, 1, "accepted")
