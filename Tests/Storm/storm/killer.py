"""Kills and restarts, and measures how long a service is away."""

import signal
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from footfall_tests.suite import SERVICES, connect

DELAY_SECONDS_MAX = 1.5
DOWN_SECONDS_MAX = 0.3
AIM_SECONDS_MAX = 0.1
# So that some hit the way in, some the commit, some the answer.
AIMED_DELAY_SECONDS_MAX = 0.001
SERVING_SECONDS_MAX = 30


class Broken(Exception):
    """A service did what it must not: it ended by itself, or did not come back."""


class Killer:
    """One cycle after another: wait, kill, wait, restart, until it serves again."""

    def __init__(self, suite, journal, random):
        self.suite, self.journal, self.random = suite, journal, random
        self.restart_seconds = []
        self.kills = {name: 0 for name in SERVICES}
        self.all_kills = self.early_kills = self.kills_in_flight = self.ingest_kills = 0

    def wait(self, number, delay_max):
        """A while, and then three times of four until a batch is on its way: a fast ingest rests between most of them."""
        time.sleep(self.random.uniform(0, delay_max))
        if number % 4 == 3:
            return
        end = time.monotonic() + AIM_SECONDS_MAX
        while time.monotonic() < end:
            while self.journal.in_flight == 0 and time.monotonic() < end:
                time.sleep(0)
            time.sleep(self.random.uniform(0, AIMED_DELAY_SECONDS_MAX))
            # This thread may have waited its turn for longer than the batch took.
            if self.journal.in_flight > 0:
                return

    def cycle(self, number):
        everything = self.random.random() < 0.1
        names = list(SERVICES) if everything else [SERVICES[number % len(SERVICES)]]
        self.all_kills += everything
        self.random.shuffle(names)
        self.wait(number, DELAY_SECONDS_MAX)
        # Nothing between the look and the blow that could let another thread run.
        if "ingest" in names:
            self.ingest_kills += 1
            self.kills_in_flight += self.journal.in_flight > 0
        for name in names:
            self.kill(name)
        time.sleep(self.random.uniform(0, DOWN_SECONDS_MAX))
        for name in names:
            self.restart(name)
        begin = self.journal.batches
        end = time.monotonic() + SERVING_SECONDS_MAX
        while self.journal.batches == begin:
            if time.monotonic() > end:
                raise Broken(f"cycle {number}: no batch was acknowledged for {SERVING_SECONDS_MAX} s")
            time.sleep(0.002)

    def kill(self, name):
        process = self.suite.processes[name]
        process.kill()
        self.check_killed(process)
        self.kills[name] += 1

    def restart(self, name):
        process = self.suite.processes[name]
        if self.random.random() < 0.1:
            # A second blow while it gets up.
            process.start()
            time.sleep(self.random.uniform(0, 0.15))
            self.kill(name)
            self.early_kills += 1
        begin = time.monotonic()
        process.start()
        self.wait_serving(name, begin)
        self.restart_seconds.append(time.monotonic() - begin)

    def wait_serving(self, name, begin):
        self.wait_serving_process(self.suite.processes[name], begin)

    def wait_serving_process(self, process, begin):
        name = process.name
        process.wait_listening(SERVING_SECONDS_MAX)
        channel = connect(process.port)
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            while True:
                try:
                    if stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass  # Not yet; the time is bounded below.
                if time.monotonic() - begin > SERVING_SECONDS_MAX or not process.running:
                    raise Broken(f"{name} does not serve after its restart:\n{process.log_tail()}")
                time.sleep(0.002)
        finally:
            channel.close()

    def check_running(self):
        for process in self.suite.processes.values():
            if not process.running:
                self.tell_ended(process)

    def check_killed(self, process):
        """It was this blow, and nothing before it."""
        if process.child.returncode != -signal.SIGKILL:
            self.tell_ended(process)

    def tell_ended(self, process):
        raise Broken(f"{process.name} ended by itself, status {process.child.returncode}:\n{process.log_tail()}")
