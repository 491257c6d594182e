"""A client that sends requests frame by frame and collects the answers."""

import socket
import struct
import time

from . import frames
from .frames import DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Connection, message


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: {expected!r} expected, {actual!r} came")


class Response:
    """What came on one stream."""

    def __init__(self):
        self.blocks, self.body, self.reset = [], b"", None
        # The frames' types in order, to see how it was answered.
        self.kinds = []
        self.ended = False

    @property
    def http_status(self):
        return dict(self.blocks[0]).get(":status") if self.blocks else None

    @property
    def trailers(self):
        return dict(self.blocks[-1]) if self.blocks else {}

    @property
    def status(self):
        """`grpc-status` of the last block, as it came."""
        return self.trailers.get("grpc-status")

    @property
    def messages(self):
        rest, found = self.body, []
        while rest:
            length = int.from_bytes(rest[1:5], "big")
            found.append(rest[5:5 + length])
            rest = rest[5 + length:]
        return found

    def __repr__(self):
        return f"{self.blocks} {len(self.body)} bytes, reset {self.reset}"


class Client(Connection):
    """Speaks HTTP/2 to the server and collects the answers of all streams."""

    def __init__(self, port):
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout=10))
        self.responses, self.next_stream = {}, 1
        self.goaways, self.pongs = [], []
        self.send(frames.PREFACE, frames.settings({frames.ENABLE_PUSH: 0}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self, path, end=False, **changes):
        """A request's headers; `changes`: other values by name with _ for -, None: left out. The stream is the answer."""
        fields = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers"}
        for name, value in changes.items():
            name = ":" + name if name in ("method", "scheme", "authority") else name.replace("_", "-")
            fields[name] = value
        return self.open_fields([(name, value) for name, value in fields.items() if value is not None], end)

    def open_fields(self, fields, end=False):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.responses[stream] = Response()
        block = self.encoder.encode(fields)
        pieces = [block[i:i + 16_384] for i in range(0, len(block), 16_384)] or [b""]
        for index, piece in enumerate(pieces):
            flags = (END_STREAM if end and index == 0 else 0) | (frames.END_HEADERS if piece is pieces[-1] else 0)
            self.send(frames.frame(HEADERS if index == 0 else frames.CONTINUATION, flags, stream, piece))
        return stream

    def write(self, stream, body, end=True, piece=16_384, padding=None):
        """DATA within the server's windows; stops where the server has answered already."""
        batch = []
        parts = [body[i:i + piece] for i in range(0, len(body), piece)] or [b""]
        for index, part in enumerate(parts):
            cost = len(part) + (0 if padding is None else padding + 1)
            while self.room(stream) < cost:
                self.send(*batch)
                batch = []
                self.take(self.read())
                if self.responses[stream].ended:
                    return
            self.spend(stream, cost)
            batch.append(frames.data(stream, part, end and index == len(parts) - 1, padding))
        self.send(*batch)

    def take(self, one):
        response = self.responses.get(one.stream)
        if one.type == GOAWAY:
            last, code = struct.unpack(">II", one.payload[:8])
            self.goaways.append((last & 0x7FFF_FFFF, code))
        elif one.type == PING and one.flags & frames.ACK:
            self.pongs.append(one.payload)
        elif response is not None and one.type in (HEADERS, DATA, RST_STREAM):
            response.kinds.append(one.type)
            if one.type == HEADERS:
                response.blocks.append(self.decoder.decode(frames.unpadded(one)))
            elif one.type == DATA:
                response.body += frames.unpadded(one)
            else:
                response.reset = int.from_bytes(one.payload, "big")
            response.ended |= one.type == RST_STREAM or bool(one.flags & END_STREAM)

    def until(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            self.take(self.read(max(0.001, end - time.monotonic())))

    def response(self, stream, seconds=10):
        """The whole answer."""
        response = self.responses[stream]
        self.until(lambda: response.ended, seconds)
        return response

    def call(self, path, body=message(b"hello"), seconds=10, **how):
        """One request: headers, one DATA frame with END_STREAM, and the answer."""
        stream = self.open(path, **how)
        self.write(stream, body)
        return self.response(stream, seconds)

    def is_served(self):
        """The connection must have outlived whatever was done on it."""
        answer = self.call("/conformance.Raw/Echo", message(b"still there"))
        equal((answer.status, answer.messages), ("0", [b"still there"]), "the next call on the connection")
