"""A client that behaves: calls at fixed moments, whatever the answers do (open loop). Prints one line of JSON.

    python -m attack.honest PORT CALLS_PER_SECOND SECONDS [CANCELS_PER_SECOND]
"""

import json
import selectors
import socket
import sys
import time

from . import frames

CONNECTIONS = 4
BODY = bytes(range(100))


class Connection:
    """One connection: begins calls, notices their answers. Calls of half a second ago are lost if it is."""

    def __init__(self, port, selector):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(frames.PREFACE + frames.settings() + frames.window_update(0, 1 << 24))
        self.socket.setblocking(False)
        self.stream, self.waiting, self.buffer, self.bodies = 1, {}, bytearray(), {}
        self.unsent, self.alive, self.unacknowledged = b"", True, 0
        self.going_away = None
        selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, payload):
        self.unsent += payload
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        except OSError:
            self.alive = False

    def call(self, due):
        self.waiting[self.stream] = due
        self.send(frames.call(self.stream, body=BODY))
        self.stream += 2

    def cancel_one(self):
        """Begins a call that would take a second and cancels it."""
        self.send(frames.call(self.stream, "/echo.Echo/Sleep", b"\x0a") + frames.reset(self.stream))
        self.stream += 2

    def read(self, latencies):
        try:
            received = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self.alive = False
            return
        now = time.monotonic()
        self.buffer += received
        for kind, flags, stream, payload in frames.parse(self.buffer):
            if kind == frames.SETTINGS and not flags & frames.ACK:
                self.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif kind == frames.PING and not flags & frames.ACK:
                self.send(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif kind == frames.GOAWAY:
                self.going_away = int.from_bytes(payload[4:8], "big")
            elif kind == frames.DATA:
                self.bodies[stream] = payload
                self.unacknowledged += len(payload)
                if self.unacknowledged > 1 << 20:
                    self.send(frames.window_update(0, self.unacknowledged))
                    self.unacknowledged = 0
            if flags & frames.END_STREAM and kind == frames.HEADERS and stream in self.waiting:
                due = self.waiting.pop(stream)
                if self.bodies.pop(stream, b"")[5:] == BODY:
                    latencies.append(now - due)


def run(port, rate, seconds, cancels):
    selector = selectors.DefaultSelector()
    connections = [Connection(port, selector) for _ in range(CONNECTIONS)]
    begin = time.monotonic() + 0.02
    count, latencies, sent, cancelled = int(rate * seconds), [], 0, 0
    end = begin + seconds + 1.0
    while sent < count or any(one.waiting for one in connections):
        now = time.monotonic()
        if now > end or not any(one.alive for one in connections):
            break
        while sent < count and begin + sent / rate <= now:
            connections[sent % CONNECTIONS].call(begin + sent / rate)
            sent += 1
        while cancels and cancelled < min(now - begin, seconds) * cancels:
            connections[0].cancel_one()
            cancelled += 1
        until = begin + sent / rate if sent < count else now + 0.05
        for key, _ in selector.select(max(0.0, until - time.monotonic())):
            key.data.read(latencies)
            if not key.data.alive:
                selector.unregister(key.fileobj)
    latencies.sort()

    def percentile(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000 if latencies else 1e9

    print(json.dumps({
        "calls": count, "good": len(latencies), "p50_ms": percentile(0.5), "p99_ms": percentile(0.99),
        "cancelled": cancelled, "lost": sum(not one.alive for one in connections),
        "goaway": [one.going_away for one in connections if one.going_away is not None],
    }))


run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0)
