"""SIGTERM under load: no call fails that the ending server has accepted."""

import os
import signal
import socket
import struct
import subprocess
import tempfile
import time

from . import frames
from .peers import LOADS, Server

LARGE = 1_000_000
# SimpleRequest whose response_size (field 2) is LARGE.
LARGE_REQUEST = b"\x10\xc0\x84\x3d"


def run(report, short):
    """All three clients at once keep calls and streams going while the first server ends and a second one is there."""
    report.case("SIGTERM -> footfall", "drain_late_reader", late_reader)
    seconds = 4 if short else 12
    names = {kind: f"{kind} -> footfall" for kind in LOADS}
    if not any(report.wants(name, "drain") for name in names.values()):
        return
    with tempfile.TemporaryDirectory() as folder:
        journal = os.path.join(folder, "journal")
        first, second = Server("footfall", journal), Server("footfall")
        loads = {
            kind: subprocess.Popen(
                command(seconds, first.port, second.port), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT)
            for kind, command in LOADS.items()}
        try:
            # The middle of what is measured, not a wait for something.
            time.sleep(seconds / 2)
            first.child.send_signal(signal.SIGTERM)
            report.case("SIGTERM -> footfall", "drain_exit_status", lambda: ended(first))
            accepted = names_in(journal)
            for kind, load in loads.items():
                report.case(names[kind], "drain", lambda: judge(load, accepted))
        finally:
            for load in loads.values():
                load.kill()
                load.wait()
            first.kill()
            second.kill()


def late_reader():
    """A client that has not read its answer yet when the server ends gets all of it."""
    server = Server("footfall")
    try:
        sock = socket.socket()
        # Less than the answer: the rest waits in the server.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.connect(("127.0.0.1", server.port))
        client = frames.Connection(sock)
        large = frames.settings({frames.INITIAL_WINDOW_SIZE: 0x7FFFFFFF})
        update = frames.frame(frames.WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFF0000))
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/grpc.testing.TestService/UnaryCall"),
                  (":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers")]
        client.send(frames.PREFACE, large, update, client.headers(1, fields),
                    frames.data(1, frames.message(LARGE_REQUEST), end=True))
        time.sleep(0.3)
        server.child.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        body, ended = read_all(client)
        if body < LARGE or not ended:
            return f"{body} bytes of {LARGE} came, the end {'too' if ended else 'not'}"
        return ended_in_time(server)
    finally:
        server.kill()


def read_all(client):
    """Bytes of DATA until the server closes, and whether the stream was ended."""
    deadline, count, ended = time.monotonic() + 10, 0, False
    try:
        while True:
            head = client.read_bytes(9, deadline)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload = client.read_bytes(length, deadline)
            if kind == frames.DATA:
                count += length
            elif kind == frames.PING and not flags & frames.ACK:
                client.send(frames.frame(frames.PING, frames.ACK, 0, payload))
            ended = ended or kind == frames.HEADERS and bool(flags & frames.END_STREAM)
    except (frames.Closed, TimeoutError, OSError):
        return count, ended


def names_in(journal):
    """The calls whose handlers had begun; none where the server left no journal."""
    if not os.path.exists(journal):
        return set()
    with open(journal) as file:
        return set(file.read().split())


def judge(load, accepted):
    """Why the client's calls were not all right; None: they were."""
    output = load.communicate(timeout=60)[0].decode(errors="replace")
    if not accepted:
        return "the first server left no journal"
    lines = output.splitlines()
    if not lines or not lines[-1].startswith("ok "):
        return f"the client broke: {output[-500:]}"
    counts = [int(word) for word in lines[-1].split()[1:]]
    if 0 in counts:
        return f"calls and streams of the first server, then of the second: {counts}; none may be 0"
    for line in lines[:-1]:
        if not line.startswith("failed "):
            return f"the client said: {line}"
        _, name, server, reason = line.split(" ", 3)
        if name in accepted:
            return f"the server had accepted {name}, it failed: {reason}"
        if server != "0":
            return f"a call to the second server failed: {reason}"
    return None


def ended(server):
    """Calls in flight last half a second at most."""
    return ended_in_time(server)


def ended_in_time(server):
    """The end must not take the whole grace of 10 s."""
    begin = time.monotonic()
    status = server.child.wait(timeout=20)
    lasted = time.monotonic() - begin
    if status != 0:
        return f"exit status {status}"
    return None if lasted < 5 else f"the end took {lasted:.1f} s"
