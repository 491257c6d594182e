"""HTTP/2 frames by hand (RFC 9113), so that a test may send what no library would. Header blocks by `hpack`."""

import collections
import socket
import struct
import time

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0x0, 0x1, 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 65_535

Frame = collections.namedtuple("Frame", "type flags stream payload")


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def data(stream, payload, end=False, padding=None):
    """A DATA frame; `padding`: bytes of padding, None: the frame is not padded."""
    flags = END_STREAM if end else 0
    if padding is None:
        return frame(DATA, flags, stream, payload)
    return frame(DATA, flags | PADDED, stream, bytes([padding]) + payload + bytes(padding))


def message(payload, flag=0):
    """A length-prefixed message of gRPC."""
    return struct.pack(">BI", flag, len(payload)) + payload


def unpadded(one):
    """The content of a DATA or HEADERS frame without padding and priority."""
    payload = one.payload
    if one.flags & PADDED:
        payload = payload[1:len(payload) - payload[0]]
    if one.type == HEADERS and one.flags & PRIORITIZED:
        payload = payload[5:]
    return payload


class Closed(Exception):
    """The peer has closed the connection."""


class Connection:
    """One side of a connection: sends frames, reads frames, keeps the peer's windows. Answers SETTINGS and PING by itself."""

    def __init__(self, sock):
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        # How much may be sent: of the connection, at first of each stream, and of each stream.
        self.window, self.initial_window, self.windows = WINDOW, WINDOW, {}
        self.answers_pings = True
        self.settings_acknowledged = False

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def headers(self, stream, fields, end=False):
        """A HEADERS frame with the fields, a list of pairs of bytes or text."""
        block = self.encoder.encode(fields)
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)

    def read_bytes(self, count, deadline):
        while len(self.buffer) < count:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self.sock.recv(1 << 18)
            except ConnectionResetError:
                raise Closed from None
            if not piece:
                raise Closed
            self.buffer += piece
        result, self.buffer = self.buffer[:count], self.buffer[count:]
        return result

    def read(self, seconds=10):
        """The next frame, within the time; TimeoutError if none comes."""
        deadline = time.monotonic() + seconds
        head = self.read_bytes(9, deadline)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        one = Frame(kind, flags, stream & 0x7FFF_FFFF, self.read_bytes(length, deadline))
        self.note(one)
        return one

    def note(self, one):
        if one.type == SETTINGS:
            if one.flags & ACK:
                self.settings_acknowledged = True
                return
            for key, value in struct.iter_unpack(">HI", one.payload):
                if key == INITIAL_WINDOW_SIZE:
                    change, self.initial_window = value - self.initial_window, value
                    self.windows = {stream: size + change for stream, size in self.windows.items()}
            self.send(frame(SETTINGS, ACK, 0))
        elif one.type == PING and not one.flags & ACK and self.answers_pings:
            self.send(frame(PING, ACK, 0, one.payload))
        elif one.type == WINDOW_UPDATE:
            increment = int.from_bytes(one.payload, "big")
            if one.stream == 0:
                self.window += increment
            else:
                self.windows[one.stream] = self.windows.get(one.stream, self.initial_window) + increment
        elif one.type == DATA and one.payload:
            # Whatever comes may come again: these tests are about the other side's sending.
            increment = struct.pack(">I", len(one.payload))
            self.send(frame(WINDOW_UPDATE, 0, 0, increment), frame(WINDOW_UPDATE, 0, one.stream, increment))

    def room(self, stream):
        """Bytes of DATA that may be sent on the stream now, padding counted."""
        return min(self.window, self.windows.get(stream, self.initial_window))

    def spend(self, stream, count):
        self.window -= count
        self.windows[stream] = self.windows.get(stream, self.initial_window) - count

    def close(self):
        self.sock.close()
