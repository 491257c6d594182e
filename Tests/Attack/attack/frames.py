"""HTTP/2 frames as bytes, right and wrong ones. No HPACK library: fields are written literally."""

import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENHANCE_YOUR_CALM = 11


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value, bits, first=0):
    """An HPACK integer with a prefix of so many bits (RFC 7541, 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + [value])


def varint(value):
    """A number as protobuf writes it."""
    out = []
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + [value])


def field(name, value, indexed=False):
    """A literal field; `indexed`: it enters the dynamic table."""
    name, value = (one if isinstance(one, bytes) else one.encode() for one in (name, value))
    return bytes([0x40 if indexed else 0x00]) + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(path="/echo.Echo/Unary", *more, te=True):
    fields = [
        b"\x83\x86", field(":path", path), field(":authority", "attack"), field("content-type", "application/grpc")]
    if te:
        fields.append(field("te", "trailers"))
    return b"".join(fields) + b"".join(more)


def headers(stream, path="/echo.Echo/Unary", *more, end=False):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(path, *more))


def message(body, compressed=0, length=None):
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def data(stream, payload, end=True):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def call(stream, path="/echo.Echo/Unary", body=b"x" * 100, *more):
    return headers(stream, path, *more) + data(stream, message(body))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


def parse(buffer):
    """Whole frames at the front of a bytearray, which they are taken from: (type, flags, stream, payload)."""
    found, position = [], 0
    while len(buffer) - position >= 9:
        length = int.from_bytes(buffer[position:position + 3], "big")
        if len(buffer) - position - 9 < length:
            break
        kind, flags = buffer[position + 3], buffer[position + 4]
        stream = int.from_bytes(buffer[position + 5:position + 9], "big") & 0x7FFFFFFF
        found.append((kind, flags, stream, bytes(buffer[position + 9:position + 9 + length])))
        position += 9 + length
    del buffer[:position]
    return found
