"""Syncs and writes that fail or take long, at random calls, while ingest is under load."""

import errno
import random
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from footfall_tests.suite import connect

from .audit import IdJournal
from .killer import Broken
from .lone_storm import Load, build_preload, lone_ingest, say, wait_exit

# What fails, how, and whether the process must not live through it.
KINDS = (
    ("sync", errno.EIO, 0, True),
    ("sync", errno.EIO, 0, True),
    ("sync", errno.ENOSPC, 0, True),
    ("sync", 0, 400, False),
    ("write", errno.EIO, 0, True),
    ("write", errno.EIO, 0, True),
    ("write", errno.ENOSPC, 0, False),
    ("write", errno.EINTR, 0, False),
    ("write", -1, 0, False),
    ("write", 0, 300, False),
)
FIRE_SECONDS = 1.2
END_SECONDS = 1.0


class SentJournal(IdJournal):
    """Also when each acknowledged batch was sent and answered, on the monotonic clock in ns."""

    def __init__(self, path):
        super().__init__(path)
        self.sent, self.times = {}, []

    def acknowledged(self, request, answer):
        super().acknowledged(request, answer)
        with self.lock:
            self.times.append((self.sent.pop(id(request), 0), time.monotonic_ns()))


def watch_sends(producer):
    """Notes when each batch of a producer is sent."""
    send, journal = producer.send, producer.journal

    def timed(requests):
        now = time.monotonic_ns()
        with journal.lock:
            for request in requests:
                journal.sent[id(request)] = now
        return send(requests)

    producer.send = timed


def marks_of(path):
    """When the fault began and ended; None where it has not come."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return None
    lines = [line for line in lines if len(line) == 2]
    return (int(lines[0][0]), max(int(line[1]) for line in lines)) if lines else None


def says_not_serving(lone):
    channel = connect(lone.port)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        return answer.status != health_pb2.HealthCheckResponse.SERVING
    except grpc.RpcError:
        return True
    finally:
        channel.close()


def round_of(lone, load, library, number, chance, tally):
    call, error, sleep, is_fatal = chance.choice(KINDS)
    at = chance.randint(1, 60 if call == "sync" else 400)
    mark = lone.folder / "mark"
    mark.unlink(missing_ok=True)
    lone.process.environment = {
        "LD_PRELOAD": str(library), "FAULT_CALL": call, "FAULT_AT": str(at), "FAULT_ERROR": str(error),
        "FAULT_SLEEP": str(sleep), "FAULT_PATH": "ingest.sqlite", "FAULT_MARK": str(mark),
    }
    lone.process.kill()
    with load.journal.lock:
        load.journal.times.clear()
    lone.process.start()
    end = time.monotonic() + FIRE_SECONDS
    while marks_of(mark) is None and time.monotonic() < end and lone.process.running:
        time.sleep(0.002)
    found = marks_of(mark)
    name = f"round {number}: {call} {at}, errno {error}, {sleep} ms"
    if found is None:
        if not lone.process.running:
            raise Broken(f"{name}: ingest ended without a fault:\n{lone.process.log_tail()}")
        tally["not reached"] = tally.get("not reached", 0) + 1
        return []
    wrong = []
    if is_fatal:
        wrong += must_end(lone, name)
    elif sleep:
        time.sleep(sleep / 1000 + 0.1)
        found = marks_of(mark)
    else:
        time.sleep(0.2)
    if not is_fatal and not lone.process.running:
        wrong.append(f"{name}: ingest ended by a fault that it must live through:\n{lone.process.log_tail()}")
    kind = f"{call} {errno.errorcode.get(error, {0: 'slow', -1: 'short'}.get(error))}"
    tally[kind] = tally.get(kind, 0) + 1
    wrong += check_times(load, found, call, is_fatal, name)
    return wrong


def must_end(lone, name):
    begin = time.monotonic()
    status = wait_exit(lone.process, END_SECONDS)
    if status is None and says_not_serving(lone):
        status = wait_exit(lone.process, 10)
        if status is None:
            return [f"{name}: it says NOT_SERVING and does not end"]
    if status is None:
        return [f"{name}: {END_SECONDS} s later it still serves:\n{lone.process.log_tail()}"]
    if status == 0:
        return [f"{name}: exit status 0 after {time.monotonic() - begin:.1f} s"]
    return []


def check_times(load, found, call, is_fatal, name):
    """No batch that was sent after the fault began is acknowledged: never after a failure, else not before its end."""
    begin, end = found
    with load.journal.lock:
        times = list(load.journal.times)
    late = [(sent, answered) for sent, answered in times if sent > begin]
    if is_fatal and late:
        return [f"{name}: {len(late)} batches that were sent after the failure were acknowledged"]
    early = [answered for sent, answered in late if answered < end]
    if call == "sync" and not is_fatal and early:
        return [f"{name}: {len(early)} batches were acknowledged while the sync was not done"]
    return []


def run(messages, options, seed, percentile):
    rounds = 24 if options.short else options.rounds or 500
    print(f"seed {seed}, {rounds} rounds", flush=True)
    begin = time.monotonic()
    chance = random.Random(seed)
    tally, restarts, found = {}, [], []
    with lone_ingest(messages, keep=options.keep) as lone:
        library = build_preload(lone.folder)
        load = Load(lone, seed, journal=SentJournal(lone.folder / "journal.txt"))
        for producer in load.producers:
            watch_sends(producer)
        load.wait_for_batch()
        for number in range(rounds):
            found += round_of(lone, load, library, number, chance, tally)
            # A clean start: everything acknowledged is there.
            restarts.append(load.restart_cleanly())
            if (number + 1) % 50 == 0:
                load.audit.read()
                print(f"{number + 1} rounds, {len(load.journal.acked)} events acknowledged, {tally}", flush=True)
        found += load.finish()
    fired = sum(count for kind, count in tally.items() if kind != "not reached")
    if fired * 2 < rounds:
        found.append(f"only {fired} of {rounds} faults came: {tally}")
    print(f"faults: {tally}")
    print(f"figure fault_rounds {rounds} rounds")
    print(f"figure faults_fired {fired} faults")
    print(f"figure fault_restart_p99_milliseconds {percentile(restarts, 0.99) * 1000:.0f} ms")
    print(f"{time.monotonic() - begin:.0f} s", flush=True)
    return say(found)
