"""Just enough of HTTP/2 to make many small connections cheaply: fixed bytes out, frames counted in."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, DATA, SETTINGS, END_STREAM, END_HEADERS, ACK = 1, 0, 4, 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A field that enters no table."""
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def call(stream, path, message):
    """A unary call: headers, one message, the end."""
    block = b"\x83\x86" + b"".join(
        literal(name, value)
        for name, value in [
            (":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")])
    body = struct.pack(">BI", 0, len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


class Connection:
    """A connection of a client that sends its preface at once."""

    def __init__(self, port, source=None):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))
        self.unread = b""

    def send(self, data):
        self.socket.sendall(data)

    def greet_and_call(self, path, message, calls=1):
        self.send(
            PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)
            + b"".join(call(2 * one + 1, path, message) for one in range(calls)))

    def wait_ended(self, calls):
        """Until so many streams have ended; the bytes of DATA that came. Raises where the server closes before."""
        received = 0
        while calls > 0:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.unread += data
            while len(self.unread) >= 9:
                length = int.from_bytes(self.unread[:3], "big")
                if len(self.unread) < 9 + length:
                    break
                kind, flags = self.unread[3], self.unread[4]
                self.unread = self.unread[9 + length:]
                received += length if kind == DATA else 0
                calls -= kind in (DATA, HEADERS) and bool(flags & END_STREAM)
        return received

    def close(self, abruptly=False):
        if abruptly:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
