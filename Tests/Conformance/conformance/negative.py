"""Servers that misbehave as gRPC's http2-interop-test-descriptions tell: what matters is what the client makes of it."""

import socket
import struct
import threading
import time

from interop import messages_pb2

from . import frames
from .frames import DATA, HEADERS, NO_ERROR, PING, RST_STREAM, Closed, Connection

CASES = (
    "goaway", "rst_after_header", "rst_during_data", "rst_after_data", "ping", "max_streams", "data_frame_padding",
    "no_df_padding_sanity_test")
RESPONSE_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]
# Payload and padding of the frames of data_frame_padding.
PIECE, PADDING = 5, 255


class Wrong(Exception):
    """What the client did and should not have."""


class NegativeServer:
    """Serves one case on a port of its own. `verify()`: why the client did wrong, None: it did right."""

    def __init__(self, case):
        self.case = case
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            one = Served(sock, self.case)
            self.connections.append(one)
            one.start()

    def verify(self):
        self.listener.close()
        for one in self.connections:
            one.join(10)
            if one.is_alive():
                return "a connection is still open"
            if one.wrong:
                return one.wrong
        count = len(self.connections)
        if self.case == "goaway" and count != 2:
            return f"{count} connections came, not two"
        if count == 0:
            return "no connection came"
        return None


class Served(threading.Thread):
    """One connection."""

    def __init__(self, sock, case):
        super().__init__(daemon=True)
        self.connection, self.case = Connection(sock), case
        self.requests, self.open = {}, set()
        self.pings_sent, self.pings_answered = 0, 0
        self.wrong = None

    def run(self):
        try:
            deadline = time.monotonic() + 10
            if self.connection.read_bytes(len(frames.PREFACE), deadline) != frames.PREFACE:
                raise Wrong("the client does not begin with the preface")
            limits = {frames.MAX_CONCURRENT_STREAMS: 1} if self.case == "max_streams" else {}
            self.connection.send(frames.settings(limits))
            while True:
                self.handle(self.connection.read(30))
        except (Closed, BrokenPipeError, ConnectionResetError):
            if self.pings_sent != self.pings_answered:
                self.wrong = f"{self.pings_sent} PINGs were sent, {self.pings_answered} answered"
        except (Wrong, TimeoutError) as error:
            self.wrong = str(error) or "the client sent nothing for 30 s"
        finally:
            self.connection.close()

    def handle(self, one):
        if one.type == HEADERS and one.stream not in self.requests:
            self.connection.decoder.decode(frames.unpadded(one))
            self.requests[one.stream] = b""
            self.open.add(one.stream)
            if self.case == "max_streams" and self.connection.settings_acknowledged and len(self.open) > 1:
                raise Wrong(f"{len(self.open)} streams are open, MAX_CONCURRENT_STREAMS is 1")
        elif one.type == DATA and one.stream in self.open:
            self.requests[one.stream] += frames.unpadded(one)
        elif one.type == PING and one.flags & frames.ACK:
            self.pings_answered += 1
        elif one.type == RST_STREAM:
            self.open.discard(one.stream)
        if one.type in (DATA, HEADERS) and one.flags & frames.END_STREAM and one.stream in self.open:
            self.answer(one.stream)

    # Answers

    def answer(self, stream):
        request = messages_pb2.SimpleRequest.FromString(self.requests[stream][5:])
        response = messages_pb2.SimpleResponse(payload=messages_pb2.Payload(body=bytes(request.response_size)))
        getattr(self, self.case)(stream, frames.message(response.SerializeToString()))
        self.open.discard(stream)

    def begin(self, stream):
        self.connection.send(self.connection.headers(stream, RESPONSE_HEADERS))

    def finish(self, stream):
        self.connection.send(self.connection.headers(stream, TRAILERS, end=True))

    def reset(self, stream):
        self.connection.send(frames.frame(RST_STREAM, 0, stream, struct.pack(">I", NO_ERROR)))

    def send_data(self, stream, body, piece=16_384, padding=None):
        """Waits for room in the client's windows, in which padding counts."""
        batch = []
        for offset in range(0, len(body), piece):
            part = body[offset:offset + piece]
            cost = len(part) + (0 if padding is None else padding + 1)
            while self.connection.room(stream) < cost:
                self.connection.send(*batch)
                batch = []
                self.handle(self.connection.read(10))
            self.connection.spend(stream, cost)
            batch.append(frames.data(stream, part, padding=padding))
        self.connection.send(*batch)

    def whole(self, stream, body, **how):
        self.begin(stream)
        self.send_data(stream, body, **how)
        self.finish(stream)

    def goaway(self, stream, body):
        # With no streams above this one: the call in hand is answered, the next must come by another connection.
        self.connection.send(frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", stream, NO_ERROR)))
        self.whole(stream, body)

    def rst_after_header(self, stream, body):
        self.begin(stream)
        self.reset(stream)

    def rst_during_data(self, stream, body):
        self.begin(stream)
        self.send_data(stream, body[:len(body) // 2])
        self.reset(stream)

    def rst_after_data(self, stream, body):
        self.begin(stream)
        self.send_data(stream, body)
        self.reset(stream)

    def ping(self, stream, body):
        self.send_ping()
        self.begin(stream)
        self.send_ping()
        self.send_ping()
        self.send_data(stream, body)
        self.send_ping()
        self.finish(stream)
        # The client closes when it has its answer: the last PINGs are waited for first, so that it could answer them.

    def send_ping(self):
        self.pings_sent += 1
        self.connection.send(frames.frame(PING, 0, 0, struct.pack(">Q", self.pings_sent)))
        while self.pings_answered < self.pings_sent:
            self.handle(self.connection.read(10))

    def max_streams(self, stream, body):
        self.whole(stream, body)

    def data_frame_padding(self, stream, body):
        self.whole(stream, body, piece=PIECE, padding=PADDING)

    def no_df_padding_sanity_test(self, stream, body):
        self.whole(stream, body, piece=PIECE)
