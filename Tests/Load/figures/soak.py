"""Hours' worth of calls of every kind in minutes: memory and descriptors must not grow."""

import subprocess
import threading
import time

import grpc

from footfall_tests.suite import connect

from .client import CLIENT_CPU, PROGRAMS, check, figure, goal, median, print_checksum
from .connections import churn, descriptors, resident, wait_descriptors
from .rpc import ECHO, Servers

SAMPLE_SECONDS = 2
DEADLINE_SECONDS, CANCELS_PER_SECOND = 0.02, 25
# All at once, each with answers that are checked; path, mode, connections, lanes, further arguments.
LOADS = [
    (ECHO, "echo", 4, 50, []),
    ("/echo.Echo/UnaryAsync", "echo", 4, 50, ["--bytes", "1000"]),
    ("/echo.Echo/Stream", "stream", 2, 20, []),
    ("/echo.Echo/Count", "count", 2, 4, []),
    # Such a request begins with its thousands of messages, which this method takes for the status to fail with.
    ("/echo.Echo/Fail", "count", 2, 20, ["--messages", "2000", "--status", "2"]),
    ("/echo.Echo/Missing", "echo", 2, 20, ["--status", "12"]),
]


class Caller(threading.Thread):
    """Makes calls that do not end well, one after another, until told to stop; counts them."""

    def __init__(self, port, stop):
        super().__init__()
        self.port, self.stop, self.calls, self.failure = port, stop, 0, None

    def run(self):
        try:
            with connect(self.port) as channel:
                while not self.stop.is_set():
                    self.call(channel)
                    self.calls += 1
        except Exception as error:
            self.failure = error


class PastDeadline(Caller):
    """Asks for an answer that comes later than its deadline."""

    def call(self, channel):
        try:
            channel.unary_unary("/echo.Echo/Sleep")(b"\x01", timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            raise
        raise AssertionError("an answer came in spite of its deadline")


class Cancelling(Caller):
    """Cancels streams in their midst, as often as an honest client does."""

    def call(self, channel):
        stream = channel.stream_stream("/echo.Echo/Stream")(iter([b"m" * 100] * 3))
        assert next(stream) == b"m" * 100
        stream.cancel()
        self.stop.wait(1 / CANCELS_PER_SECOND)


class Churning(Caller):
    """Connects, calls and goes."""

    def call(self, channel):
        churn(self.port, 3, begin=self.calls * 3)
        self.stop.wait(0.02)


def start_loads(port, seconds):
    return [
        subprocess.Popen(
            ["taskset", "-c", CLIENT_CPU, str(PROGRAMS / "client"), mode, "--port", str(port), "--path", path,
             "--connections", str(connections), "--lanes", str(lanes), "--seconds", str(seconds)] + further,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for path, mode, connections, lanes, further in LOADS
    ]


def sample(pid, loads):
    """Memory and descriptors while the loads run."""
    samples = []
    while any(one.poll() is None for one in loads):
        samples.append((resident(pid), descriptors(pid)))
        time.sleep(SAMPLE_SECONDS)
    return samples


def calls_of(loads):
    """What each of the loads did; raises where an answer was wrong."""
    calls = {}
    for (path, *_), one in zip(LOADS, loads):
        out, err = one.communicate()
        check(one.returncode == 0, f"{path}: status {one.returncode}: {err.strip()}")
        values = dict(line.split() for line in out.splitlines())
        calls[path] = int(values["calls"])
    return calls


def load(process, seconds):
    """All kinds of calls at once: how many of which path, and of the callers, and samples of memory and descriptors."""
    stop = threading.Event()
    callers = [kind(process.port, stop) for kind in (PastDeadline, Cancelling, Churning)]
    for one in callers:
        one.start()
    loads = start_loads(process.port, seconds)
    try:
        samples = sample(process.child.pid, loads)
    finally:
        stop.set()
        for one in callers:
            one.join()
    for one in callers:
        check(one.failure is None, f"{type(one).__name__}: {one.failure!r}")
    return calls_of(loads), sum(one.calls for one in callers), samples


def run(world, short):
    seconds = world.seconds or (5 if short else 600)
    process = Servers(world.folder).start("EchoServer")
    try:
        # What is opened with the first call of a kind, a timer for instance, stays open.
        load(process, 1)
        churn(process.port, 10)
        before = descriptors(process.child.pid)
        calls, others, samples = load(process, seconds)
        for path, count in calls.items():
            print_checksum(f"rpc_soak{path.replace('/', '_').replace('.', '_')}", count)
        figure("rpc_soak_calls", sum(calls.values()) + others, "calls")
        report(samples)
        wait_descriptors(process.child.pid, most=before)
    finally:
        process.kill()


def report(samples):
    """Growth from the second tenth of the time to the last."""
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth:2 * tenth] or samples[:1], samples[-tenth:]
    grown = (median([one[0] for one in late]) - median([one[0] for one in early])) / 1e6
    figure("rpc_soak_resident_megabytes", median([one[0] for one in late]) / 1e6, "MB")
    figure("rpc_soak_growth_megabytes", grown, "MB")
    figure("rpc_soak_descriptors_max", max(one[1] for one in samples), "descriptors")
    goal("rpc_soak_growth_megabytes", grown, most=5)
