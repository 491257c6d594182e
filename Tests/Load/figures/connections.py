"""What connections cost: a thousand that idle, and a hundred thousand that come and go."""

import os
import time

from .client import check, figure, goal
from .frames import Connection
from .rpc import ECHO, Servers

IDLE, CHURNED, WARM = 1_000, 100_000, 200
# Calls that each idle connection has made before, at once.
CALLS, MESSAGE = 10, b"m" * 1_000
REST_SECONDS = 3
# The ports of one source address do not last: a closed connection holds its port for a minute.
PER_SOURCE = 10_000


def resident(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def called(port, calls=CALLS, source=None):
    """A connection that has made its calls."""
    connection = Connection(port, source)
    connection.greet_and_call(ECHO, MESSAGE, calls)
    received = connection.wait_ended(calls)
    check(received == calls * (len(MESSAGE) + 5), f"{received} bytes were echoed")
    return connection


def churn(port, count, begin=0):
    for number in range(begin, begin + count):
        source = f"127.0.1.{1 + number // PER_SOURCE}"
        # A third says goodbye by a reset, in the midst of its answer or after it.
        if number % 3 == 2:
            connection = Connection(port, source)
            connection.greet_and_call(ECHO, MESSAGE)
            connection.close(abruptly=True)
        else:
            called(port, 1, source).close(abruptly=number % 3 == 1)


def wait_descriptors(pid, most):
    """Until the server has let go of its connections."""
    end = time.monotonic() + 20
    while (now := descriptors(pid)) > most:
        check(time.monotonic() < end, f"{now} descriptors are open, at most {most} were expected")
        time.sleep(0.02)


def run(world, short):
    idle, churned = (200, 5_000) if short else (IDLE, CHURNED)
    process = Servers(world.folder).start("EchoServer")
    pid = process.child.pid
    try:
        churn(process.port, WARM)
        wait_descriptors(pid, most=(before_descriptors := descriptors(pid)))
        before = resident(pid)
        churn(process.port, churned, begin=WARM)
        wait_descriptors(pid, most=before_descriptors)
        grown = (resident(pid) - before) / 1e6
        figure("rpc_connect_close_growth_megabytes", grown, "MB")
        goal("rpc_connect_close_growth_megabytes", grown, most=5)
        before = resident(pid)
        open_ones = [called(process.port) for _ in range(idle)]
        # What a burst needed goes back when the server next looks at its resting connections.
        time.sleep(REST_SECONDS)
        each = (resident(pid) - before) / idle / 1024
        figure("rpc_idle_connection_kibibytes", each, "KiB")
        goal("rpc_idle_connection_kibibytes", each, most=64)
        for one in open_ones:
            one.close()
        wait_descriptors(pid, most=before_descriptors)
    finally:
        process.kill()
