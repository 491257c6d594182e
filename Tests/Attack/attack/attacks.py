"""The attacks: what each connection does, and how it must end. Numbers as in the table that they come from."""

import asyncio
import functools
import gzip
import itertools
import struct
import time

from . import frames
from .frames import END_HEADERS, ENHANCE_YOUR_CALM, HEADERS

MIB = 1 << 20


class Peer:
    """One attacking connection."""

    def __init__(self, port, number, receive_buffer=None):
        self.port, self.number, self.receive_buffer = port, number, receive_buffer
        self.goaway = None
        self.text = b""
        self.closed = False
        self.reset_streams = {}
        self.answered = {}
        # Bytes that the server has let through beyond its first windows.
        self.opened, self.first_window = {}, None
        self.uploaded = 0
        self.buffer = bytearray()

    async def open(self, first=None, reads=True, limit=1 << 16):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        if first is None:
            first = frames.PREFACE + frames.settings() + frames.frame(frames.SETTINGS, frames.ACK, 0)
        self.writer.write(first)
        self.task = asyncio.create_task(self.read()) if reads else None
        if not reads:
            self.writer.transport.pause_reading()
        return self

    async def read(self):
        try:
            while received := await self.reader.read(1 << 16):
                self.buffer += received
                for kind, flags, stream, payload in frames.parse(self.buffer):
                    if kind == frames.GOAWAY:
                        self.goaway, self.text = int.from_bytes(payload[4:8], "big"), payload[8:]
                    elif kind == frames.SETTINGS and not flags & frames.ACK:
                        self.first_window = dict(struct.iter_unpack(">HI", payload)).get(4, 65_535)
                    elif kind == frames.WINDOW_UPDATE:
                        self.opened[stream] = self.opened.get(stream, 0) + int.from_bytes(payload, "big")
                    elif kind == frames.RST_STREAM:
                        self.reset_streams[stream] = int.from_bytes(payload, "big")
                    elif kind == frames.HEADERS and flags & frames.END_STREAM:
                        self.answered[stream] = payload
                    elif kind == frames.PING and not flags & frames.ACK:
                        self.writer.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        except OSError:
            pass
        self.closed = True

    async def send(self, payload):
        """False: the connection is over."""
        if self.closed or self.writer.transport.is_closing():
            self.closed = True
            return False
        try:
            self.writer.write(payload)
            await asyncio.wait_for(self.writer.drain(), 5)
        except (OSError, asyncio.TimeoutError):
            # A write that does not get through for so long: the server neither reads nor closes.
            self.closed = self.writer.transport.is_closing()
            return False
        return True

    async def upload(self, stream, body):
        """A whole body, as fast as the windows of the stream and of the connection let it through; until it is answered."""
        sent = 0
        await self.until(lambda: self.closed or self.first_window is not None, 5)
        while sent < len(body):
            piece = body[sent:sent + 16_384]
            if not await self.until(
                    lambda: self.closed or stream in self.answered or (
                        sent + len(piece) <= self.first_window + self.opened.get(stream, 0)
                        and self.uploaded + len(piece) <= 65_535 + self.opened.get(0, 0)), 20):
                return False
            if stream in self.answered:
                break
            self.uploaded += len(piece)
            if not await self.send(frames.data(stream, piece, end=sent + len(piece) == len(body))):
                return False
            sent += len(piece)
        return True

    async def flood(self, chunks, seconds=2.5):
        """Writes until the server closes, or the time is over."""
        end = time.monotonic() + seconds
        for chunk in chunks:
            if not await self.send(chunk) or time.monotonic() > end:
                break
            await asyncio.sleep(0)
        if self.task is None:
            # Whether the server has closed shows when the socket is read again.
            self.writer.transport.resume_reading()
            self.task = asyncio.create_task(self.read())
        await self.until(lambda: self.closed, 3.0)

    @property
    def calmed(self):
        """Cut as an abuser. A peer that goes on writing may lose the GOAWAY to the reset of its connection."""
        return self.closed and self.goaway in (None, ENHANCE_YOUR_CALM)

    async def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return condition()

    def close(self):
        if self.task:
            self.task.cancel()
        self.writer.transport.abort()


def streams(start=1):
    return itertools.count(start, 2)


def repeated(make, per_chunk=50):
    """Chunks of frames made by a function of the stream's number."""
    numbers = streams()
    while True:
        yield b"".join(make(next(numbers)) for _ in range(per_chunk))


# Each attack: coroutine(peer) -> whether the connection ended as it must.

async def rapid_reset(peer):
    await peer.open()
    await peer.flood(repeated(lambda s: frames.call(s, "/echo.Echo/Sleep", b"\x0a") + frames.reset(s)))
    return peer.calmed


async def rapid_reset_late(peer):
    """The same with the resets behind the calls, when their handlers have begun and wait for another message."""
    await peer.open()

    def chunks():
        for start in itertools.count(1, 100):
            numbers = range(start, start + 100, 2)
            yield b"".join(
                frames.headers(s, "/echo.Echo/Stream") + frames.data(s, frames.message(b"x"), end=False)
                for s in numbers)
            yield b"".join(frames.reset(s) for s in numbers)

    await peer.flood(chunks())
    return peer.calmed


PRIMITIVES = [
    ("window overflow", lambda s: frames.headers(s, "/echo.Echo/Sleep") + frames.window_update(s, 0x7FFFFFFF)),
    ("beyond content-length", lambda s: frames.headers(
        s, "/echo.Echo/Sleep", frames.field("content-length", "5")) + frames.data(s, frames.message(b"\x0a"))),
    # An upper-case name, while the handler runs.
    ("malformed trailers", lambda s: frames.headers(s, "/echo.Echo/Stream") + frames.data(
        s, frames.message(b"x"), end=False) + frames.frame(
            HEADERS, END_HEADERS | frames.END_STREAM, s, frames.field("X-A", "b"))),
    ("short of content-length", lambda s: frames.headers(
        s, "/echo.Echo/Sleep", frames.field("content-length", "500")) + frames.data(s, frames.message(b"\x0a"))),
    ("window update of zero", lambda s: frames.headers(s, "/echo.Echo/Sleep") + frames.window_update(s, 0)),
    ("headers after the end", lambda s: frames.call(s, "/echo.Echo/Sleep", b"\x0a") + frames.headers(s, end=True)),
    ("data after the end", lambda s: frames.call(s, "/echo.Echo/Sleep", b"\x0a") + frames.data(s, b"x")),
    ("short priority", lambda s: frames.headers(s, "/echo.Echo/Sleep") + frames.frame(frames.PRIORITY, 0, s, b"1234")),
]
async def made_you_reset(peer):
    await peer.open()
    await peer.flood(repeated(PRIMITIVES[peer.number % len(PRIMITIVES)][1]))
    return peer.closed and peer.goaway != 0


async def continuation_flood(peer):
    await peer.open()
    size = (0, 16_384)[peer.number % 2]
    first = frames.frame(HEADERS, 0, 1, frames.block())
    more = frames.frame(frames.CONTINUATION, 0, 1, (frames.field("x-a", "b" * 100) * 200)[:size])
    await peer.flood(itertools.chain([first], itertools.repeat(more * (1 if size else 100), 20_000)))
    return peer.closed


async def http2_bomb(peer):
    """Many fields by one byte each, with answers that cannot leave."""
    await peer.open(frames.PREFACE + frames.settings((4, 0)) + frames.frame(frames.SETTINGS, frames.ACK, 0))
    seed = frames.field("x-a", "b", indexed=True)

    def request(stream):
        return frames.frame(HEADERS, END_HEADERS | frames.END_STREAM, stream, frames.block() + seed + b"\xbe" * 70)

    await peer.flood(itertools.islice(repeated(request, 1), 128))
    return peer.calmed


async def hpack_references(peer):
    await peer.open()
    seed = frames.field("x-a", "b" * 4_000, indexed=True)
    first = frames.frame(HEADERS, 0, 1, frames.block() + seed + b"\xbe" * 8_000)
    more = frames.frame(frames.CONTINUATION, 0, 1, b"\xbe" * 16_384)
    await peer.flood([first] + [more] * 6)
    return peer.calmed


async def hpack_bomb(peer):
    """Changes of the table's size in each block, literals of 64 KiB, integers without an end."""
    await peer.open()
    kind = peer.number % 3
    if kind == 0:
        size = frames.integer(0, 5, 0x20) + frames.integer(4_096, 5, 0x20)
        long = frames.field("x-long", "b" * 15_000)
        await peer.flood(repeated(lambda s: frames.frame(HEADERS, END_HEADERS, s, size + frames.block() + long), 1))
    elif kind == 1:
        body = frames.block() + b"\x00\x03x-a" + frames.integer(65_536, 7) + b"b" * 60_000
        pieces = [body[i:i + 16_000] for i in range(0, len(body), 16_000)]
        await peer.flood([frames.frame(HEADERS, 0, 1, pieces[0])] + [
            frames.frame(frames.CONTINUATION, 0, 1, piece) for piece in pieces[1:]])
    else:
        await peer.flood([frames.frame(HEADERS, END_HEADERS, 1, b"\x3f" + b"\xff" * 20)])
    return peer.closed


async def ping_flood(peer):
    await peer.open(reads=peer.number % 2 == 0)
    await peer.flood(itertools.repeat(frames.frame(frames.PING, 0, 0, b"12345678") * 100, 10_000))
    return peer.calmed and peer.text in (b"", b"too_many_pings")


async def settings_flood(peer):
    await peer.open(reads=peer.number % 2 == 0)
    if peer.number % 3 == 2:
        await peer.flood([frames.settings(*[(4, 65_535)] * 2_400)])
        return peer.closed
    await peer.flood(itertools.repeat(frames.settings() * 50, 2_000))
    return peer.calmed


async def unread_resets(peer):
    """Requests that are wrong, whose resets are not read."""
    await peer.open(reads=False)
    wrong = frames.block() + frames.field("Upper", "x")
    await peer.flood(repeated(lambda s: frames.frame(HEADERS, END_HEADERS | frames.END_STREAM, s, wrong)))
    return peer.closed


async def slow_read(peer):
    """Asks for 20 MB and gives no window, a byte of it at a time, or does not read the socket."""
    kind = peer.number % 3
    window = 0 if kind < 2 else 0x7FFFFFFF
    hello = frames.PREFACE + frames.settings((4, window)) + frames.frame(frames.SETTINGS, frames.ACK, 0)
    if kind == 2:
        hello += frames.window_update(0, 0x7FFF0000)
    await peer.open(hello + frames.call(1, "/echo.Echo/Count", b"\xc8" + b"x" * 100), reads=kind != 2)
    for _ in range(400):
        if peer.closed or peer.reset_streams.get(1) is not None:
            break
        if kind == 1 and not await peer.send(frames.window_update(1, 1)):
            break
        await peer.until(lambda: peer.closed or 1 in peer.reset_streams, 0.01)
    if kind == 2:
        # What the server does shows when the socket is read again.
        peer.writer.transport.resume_reading()
        peer.task = asyncio.create_task(peer.read())
        return await peer.until(lambda: peer.closed or 1 in peer.reset_streams, 3)
    return peer.reset_streams.get(1) == 8 or peer.closed


async def priority_flood(peer):
    await peer.open()
    numbers = streams(1_001)
    await peer.flood(
        b"".join(frames.frame(frames.PRIORITY, 0, next(numbers), struct.pack(">IB", 0, 15)) for _ in range(100))
        for _ in itertools.count())
    return peer.calmed


async def empty_frames(peer):
    await peer.open()
    empty = (frames.frame(frames.DATA, 0, 1), frames.frame(frames.DATA, frames.PADDED, 1, b"\x03\0\0\0"))[peer.number % 2]
    await peer.flood(itertools.chain([frames.headers(1, "/echo.Echo/Stream")], itertools.repeat(empty * 100, 10_000)))
    return peer.calmed


async def slowloris(peer):
    """Says nothing, half a preface, half a header block, or half a message."""
    hello = frames.PREFACE + frames.settings() + frames.frame(frames.SETTINGS, frames.ACK, 0)
    half = frames.headers(1, "/echo.Echo/Unary")
    kind = peer.number % 4
    first = [b"", frames.PREFACE[:12], hello + frames.frame(HEADERS, 0, 1, frames.block()),
             hello + half + frames.data(1, frames.message(b"x" * 50, length=100), end=False)][kind]
    await peer.open(first)
    if kind == 3:
        return await peer.until(lambda: peer.closed or 1 in peer.answered, 4)
    return await peer.until(lambda: peer.closed, 4)


async def huge_prefix(peer):
    """Messages that announce 4 GiB: refused by the prefix, on a connection that goes on."""
    await peer.open()
    for start in range(1, 400, 100):
        await peer.send(b"".join(
            frames.headers(s) + frames.data(s, frames.message(b"x", length=0xFFFFFFFF), end=False)
            for s in range(start, start + 100, 2)))
        if not await peer.until(lambda: len(peer.answered) >= start // 2 + 50 or peer.closed, 2):
            return False
    return not peer.closed


@functools.cache
def bomb():
    return frames.message(gzip.compress(bytes(64 * MIB), 1), compressed=1)


async def decompression_bomb(peer):
    await peer.open()
    gzipped = frames.field("grpc-encoding", "gzip")
    for stream in (1, 3, 5, 7):
        await peer.send(frames.headers(stream, "/echo.Echo/Unary", gzipped))
        if not await peer.upload(stream, bomb()):
            return False
        if not await peer.until(lambda: stream in peer.answered or peer.closed, 2):
            return False
    return not peer.closed and len(peer.answered) == 4


@functools.cache
def protobuf_bombs(size):
    """Groups in groups, messages in messages, a row of numbers that fills a message, and as many empty parts."""
    filters = b""
    for _ in range(10_000):
        filters = b"\x1a" + frames.varint(len(filters)) + filters
    room = size - 64
    return [b"\x1b" * 100_000, filters, b"\x7a" + frames.varint(room) + b"\x01" * room,
            b"\x0a" + frames.varint(room) + b"\x0a\x00" * (room // 2)]


async def protobuf_bomb(peer):
    """Messages of a few bytes' sense that cost the parser stack or memory: they fail, or are taken, and the connection goes on.

    4 MiB from the first eight, less from the others: what the parser makes of them is asked, not how much can be sent."""
    await peer.open()
    body = frames.message(protobuf_bombs(4 * MIB if peer.number < 8 else MIB // 4)[peer.number % 4])
    for stream in (1, 3):
        if not await peer.send(frames.headers(stream, "/echo.Echo/Parse")) or not await peer.upload(stream, body):
            return False
        # Whoever parses off the event loops waits for his turn.
        if not await peer.until(lambda: stream in peer.answered or peer.closed, 20):
            return False
    return not peer.closed and len(peer.answered) == 2


async def stream_numbers(peer):
    """Even, falling and last numbers of streams."""
    await peer.open()
    kind = peer.number % 4
    if kind == 0:
        await peer.flood([frames.call(2)])
    elif kind == 1:
        await peer.flood([frames.call(5), frames.call(3)], 1)
    elif kind == 2:
        await peer.flood([frames.data(9, b"x")], 1)
    else:
        await peer.flood([frames.call(0x7FFFFFFF)], 1)
        # The one call is answered, and the connection ends gracefully.
        return peer.closed and 0x7FFFFFFF in peer.answered
    return peer.closed and peer.goaway != 0


INJECTIONS = [
    frames.field("x-a", b"b\r\nx-c: d"), frames.field("x-a", b"b\0c"), frames.field("X-A", "b"),
    frames.field("x:a", "b"), frames.field("", "b"), frames.field(":path", "/other"), frames.field("connection", "close"),
]


async def field_injection(peer):
    await peer.open()
    wrong = INJECTIONS[peer.number % len(INJECTIONS)]
    await peer.send(frames.headers(1, "/echo.Echo/Unary", wrong, end=True))
    return await peer.until(lambda: 1 in peer.reset_streams or peer.closed, 2) and 1 not in peer.answered


async def frames_after_goaway(peer):
    """A frame of a wrong size, and then more (CVE-2026-27135)."""
    await peer.open()
    wrong = [
        frames.frame(frames.WINDOW_UPDATE, 0, 0, b"123"), frames.frame(frames.PING, 0, 0, b"1"),
        frames.frame(frames.SETTINGS, 0, 0, b"12345"), frames.frame(frames.RST_STREAM, 0, 1, b"1"),
        frames.frame(frames.DATA, 0, 1, b"x" * 20_000),
        frames.frame(0x10, 0, 0, b""), frames.frame(0x0C, 0, 0, b""), frames.frame(0x0A, 0, 0, b"\xff"),
    ][peer.number % 8]
    await peer.flood([frames.headers(1) + (wrong + frames.headers(3) + frames.settings() + wrong) * 50], 1.5)
    return peer.closed


async def unknown_frames(peer):
    await peer.open()
    await peer.flood(itertools.repeat(frames.frame(0x42, 0, 0, b"x") * 100, 10_000))
    return peer.calmed


async def window_updates(peer):
    await peer.open()
    await peer.flood(itertools.repeat(frames.window_update(0, 1) * 100, 10_000))
    return peer.calmed


class Attack:
    """An attack and the memory it may cost, bytes: a part for itself and one for each connection."""

    def __init__(self, function, cause, base=8 * MIB, each=MIB // 4, judges_client=True):
        self.name, self.function, self.cause, self.base, self.each = function.__name__, function, cause, base, each
        self.judges_client = judges_client


ATTACKS = {one.name: one for one in [
    Attack(rapid_reset, ["resets"]),
    # Half of what it does are whole calls: as many honest ones would take the server as long.
    Attack(rapid_reset_late, ["resets"], judges_client=False),
    Attack(made_you_reset, ["provokedResets", "protocolError"]),
    Attack(continuation_flood, ["continuations", "headerFlood"]),
    Attack(http2_bomb, ["headerLimits"], each=8 * MIB),
    Attack(hpack_references, ["headerFlood"]),
    Attack(hpack_bomb, ["headerFlood", "headerLimits", "protocolError"]),
    Attack(ping_flood, ["pings"]),
    Attack(settings_flood, ["settings", "protocolError"]),
    Attack(unread_resets, ["provokedResets", "unreadAnswers"]),
    Attack(slow_read, [], each=MIB),
    Attack(priority_flood, ["priorities"]),
    Attack(empty_frames, ["emptyFrames"]),
    Attack(slowloris, ["prefaceTimeout", "headerTimeout"]),
    Attack(huge_prefix, []),
    Attack(decompression_bomb, [], each=5 * MIB),
    # Two are parsed at a time, whoever sends how many; the others wait as bytes.
    Attack(protobuf_bomb, [], base=512 * MIB, each=2 * MIB),
    Attack(stream_numbers, ["protocolError"]),
    Attack(field_injection, []),
    Attack(frames_after_goaway, ["protocolError"]),
    Attack(unknown_frames, ["unknownFrames"]),
    Attack(window_updates, ["windowUpdates"]),
]}
