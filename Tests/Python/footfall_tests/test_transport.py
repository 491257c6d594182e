"""gRPC itself, against the echo server: what any client may do to a connection."""

import os
import signal
import threading
import time

import grpc

from .harness import equal, fails, test, true
from .suite import BINARIES, MESSAGE_BYTES_MAX, Process, connect, free_ports

SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"


class Echo:
    """An echo server of its own and a channel to it."""

    def __init__(self, world, **options):
        port = free_ports(1)[0]
        self.process = Process("EchoServer", [str(port), "1"], port, os.path.join(world.folder, f"echo-{port}.log"))
        self.process.start().wait_listening()
        self.channel = connect(port, **options)
        self.unary = self.channel.unary_unary("/echo.Echo/Unary")
        self.unary_async = self.channel.unary_unary("/echo.Echo/UnaryAsync")
        self.stream = self.channel.stream_stream("/echo.Echo/Stream")
        self.count = self.channel.unary_stream("/echo.Echo/Count")
        self.sleep = self.channel.unary_unary("/echo.Echo/Sleep")
        self.fail = self.channel.unary_unary("/echo.Echo/Fail")
        self.metadata = self.channel.unary_unary("/echo.Echo/Metadata")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.process.kill()

    def assert_up(self):
        """The server must still be there after whatever was done to it."""
        true(self.process.running, f"the server died:\n{self.process.log_tail()}")
        equal(self.unary(b"still there", timeout=10), b"still there", "echo")


@test("transport: unary messages of 0 B to 4 MiB come back whole")
def sizes(world):
    with Echo(world) as echo:
        for size in (0, 1, 4, 100, 16_378, 16_379, 16_384, 65_530, 65_535, 65_536, 1 << 18, 1 << 20, (4 << 20) - 1, 4 << 20):
            message = os.urandom(size)
            equal(echo.unary(message, timeout=20) == message, True, f"echo of {size} bytes")
            equal(echo.unary_async(message, timeout=20) == message, True, f"async echo of {size} bytes")


@test("transport: a message over 4 MiB is RESOURCE_EXHAUSTED with limit and size, and the connection lives on")
def oversize(world):
    with Echo(world) as echo:
        size = MESSAGE_BYTES_MAX + 1
        for call in (echo.unary, echo.unary_async):
            fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: call(bytes(size), timeout=20), str(size), str(MESSAGE_BYTES_MAX))
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: echo.stream(iter([b"x", bytes(size)]), timeout=20), str(size))
        echo.assert_up()


@test("transport: 1,000 concurrent calls on one channel are each answered with their own bytes")
def concurrent(world):
    with Echo(world) as echo:
        for call in (echo.unary, echo.unary_async):
            messages = [f"call {i} ".encode() * (i % 50 + 1) for i in range(1000)]
            futures = [call.future(message, timeout=60) for message in messages]
            for message, future in zip(messages, futures):
                equal(future.result(), message, "echo")


@test("transport: 1,000 concurrent streams are each answered with their own bytes")
def concurrent_streams(world):
    with Echo(world) as echo:
        streams = [echo.stream(iter([f"{i}-{k}".encode() for k in range(3)]), timeout=60) for i in range(1000)]
        for i, stream in enumerate(streams):
            equal(list(stream), [f"{i}-{k}".encode() for k in range(3)], "echoes")


@test("transport: a bidirectional stream answers each message before the next is sent")
def ping_pong(world):
    with Echo(world) as echo:
        received = threading.Semaphore(1)

        def requests():
            for i in range(500):
                received.acquire()
                yield b"%d" % i * (i + 1)

        count = 0
        for i, answer in enumerate(echo.stream(requests(), timeout=60)):
            equal(answer, b"%d" % i * (i + 1), "echo")
            count += 1
            received.release()
        equal(count, 500, "answers")


@test("transport: a bidirectional stream of 64 MiB comes back whole, though nobody reads for a second")
def long_stream(world):
    with Echo(world) as echo:
        messages = [bytes([i]) * (1 << 20) for i in range(64)]
        stream = echo.stream(iter(messages), timeout=60)
        time.sleep(1)
        for i, answer in enumerate(stream):
            true(answer == messages[i], f"message {i} came back changed")


@test("transport: a stream without messages ends OK without messages")
def empty_stream(world):
    with Echo(world) as echo:
        equal(list(echo.stream(iter(()), timeout=10)), [], "answers")
        equal(list(echo.count(b"\0", timeout=10)), [], "answers")


@test("transport: server streaming sends 5,000 messages in order and ends")
def server_streaming(world):
    with Echo(world) as echo:
        message = b"\x05" + os.urandom(99)
        equal(sum(answer == message for answer in echo.count(message, timeout=30)), 5000, "messages")


@test("transport: a reader that is slower than the server gets every message")
def slow_reader(world):
    with Echo(world) as echo:
        message = b"\x01" + os.urandom(9_999)
        count = 0
        for answer in echo.count(message, timeout=60):
            true(answer == message, "a message came changed")
            count += 1
            if count % 100 == 0:
                time.sleep(0.02)
        equal(count, 1000, "messages")


@test("transport: a cancelled call is CANCELLED at once and leaves the connection whole")
def cancel(world):
    with Echo(world) as echo:
        future = echo.sleep.future(b"\x64", timeout=30)
        time.sleep(0.1)
        begin = time.monotonic()
        future.cancel()
        fails(grpc.StatusCode.CANCELLED, lambda: Raised(future).result())
        true(time.monotonic() - begin < 1, "the cancellation took over a second")
        stream = echo.count(b"\xff" + bytes(1000), timeout=30)
        next(stream)
        stream.cancel()
        fails(grpc.StatusCode.CANCELLED, lambda: list(stream))
        echo.assert_up()


class Raised:
    """Turns grpcio's cancellation, which has a class of its own, into the call's status."""

    def __init__(self, future):
        self.future = future

    def result(self):
        try:
            return self.future.result()
        except grpc.FutureCancelledError:
            raise Status(self.future.code(), self.future.details()) from None


class Status(grpc.RpcError):
    def __init__(self, code, details):
        self.code, self.details = lambda: code, lambda: details or ""


@test("transport: a passed deadline is DEADLINE_EXCEEDED, for unary calls and streams")
def deadline(world):
    with Echo(world) as echo:
        begin = time.monotonic()
        fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: echo.sleep(b"\x64", timeout=0.3))
        true(0.25 < time.monotonic() - begin < 2, "the deadline was not kept")
        equal(echo.sleep(b"\x01", timeout=5), b"\x01", "answer within the deadline")
        begin = time.monotonic()
        stream = echo.stream(Endless(), timeout=0.3)
        fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(stream))
        true(time.monotonic() - begin < 2, "the deadline of a stream was not kept")
        echo.assert_up()


class Endless:
    """Requests that never come."""

    def __init__(self):
        self.never = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self.never.wait(3)
        raise StopIteration


@test("transport: metadata comes back in order, binary and repeated entries included")
def metadata(world):
    with Echo(world) as echo:
        sent = [
            ("x-text", "plain, with comma; and spaces"), ("x-raw-bin", bytes(range(256))), ("x-empty-bin", b""),
            ("x-many", "1"), ("x-many", "2"), ("x-short-bin", b"\0\xff\n"),
        ]
        answer, call = echo.metadata.with_call(b"m", metadata=sent, timeout=10)
        equal(answer, b"m", "echo")
        initial = [(entry.key, entry.value) for entry in call.initial_metadata() if entry.key.startswith("x-")]
        trailing = [(entry.key, entry.value) for entry in call.trailing_metadata() if entry.key.startswith("t-x-")]
        equal(sorted(initial), sorted(sent), "initial metadata")
        equal(sorted(trailing), sorted(("t-" + key, value) for key, value in sent), "trailing metadata")
        equal([value for key, value in initial if key == "x-many"], ["1", "2"], "order of x-many")


@test("transport: metadata over the limit is RESOURCE_EXHAUSTED and names the limit")
def metadata_limit(world):
    with Echo(world) as echo:
        fails(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            lambda: echo.unary(b"", metadata=[("x-large", "a" * 12_000)], timeout=10), "8192")
        fails(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            lambda: echo.unary(b"", metadata=[(f"x-{i}", "a") for i in range(100)], timeout=10), "64")
        # Beyond twice the limit nobody is mistaken: the connection ends, and the next call has another one.
        fails(
            grpc.StatusCode.UNAVAILABLE,
            lambda: echo.unary(b"", metadata=[("x-large", "a" * 20_000)], timeout=10), "headerFlood")
        echo.assert_up()


@test("transport: every status code arrives, with whitespace and Unicode in its message")
def statuses(world):
    with Echo(world) as echo:
        for code in grpc.StatusCode:
            number = code.value[0]
            if number == 0:
                continue
            error = fails(code, lambda: echo.fail(bytes([number]), timeout=10))
            equal(error.details(), SPECIAL_MESSAGE, "status message")


@test("transport: status details arrive as bytes")
def status_details(world):
    with Echo(world) as echo:
        error = fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: echo.fail(b"\x03", timeout=10))
        details = dict((entry.key, entry.value) for entry in error.trailing_metadata())
        equal(details.get("grpc-status-details-bin"), b"\x08\x03", "grpc-status-details-bin")


@test("transport: an unknown method or service is UNIMPLEMENTED and is named")
def unknown_method(world):
    with Echo(world) as echo:
        for path in ("/echo.Echo/Nothing", "/nobody.Nothing/Unary", "/echo.Echo/", "/x"):
            fails(grpc.StatusCode.UNIMPLEMENTED, lambda: echo.channel.unary_unary(path)(b"", timeout=10), path)
        fails(
            grpc.StatusCode.UNIMPLEMENTED,
            lambda: echo.channel.stream_stream("/echo.Echo/Nope")(iter([b"a"]), timeout=10), "/echo.Echo/Nope")
        echo.assert_up()


@test("transport: a compressed message that the server does not take is UNIMPLEMENTED, and the next call is served")
def compression(world):
    with Echo(world) as echo:
        fails(
            grpc.StatusCode.UNIMPLEMENTED,
            lambda: echo.unary(b"a" * 1000, timeout=10, compression=grpc.Compression.Deflate), "gzip")
        assert echo.unary(b"a" * 1000, timeout=10, compression=grpc.Compression.Gzip) == b"a" * 1000
        echo.assert_up()


@test("transport: bytes that are no HTTP/2 close that connection only")
def garbage(world):
    import socket

    with Echo(world) as echo:
        for bytes_sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 2000):
            with socket.create_connection(("127.0.0.1", echo.process.port), timeout=10) as connection:
                connection.sendall(bytes_sent)
                connection.settimeout(10)
                try:
                    while connection.recv(4096):
                        pass
                except ConnectionResetError:
                    pass  # Closed with our bytes unread: as good.
        echo.assert_up()


@test("transport: on SIGTERM running calls finish, new connections are refused, and the exit status is 0")
def drain(world):
    with Echo(world) as echo:
        running = [echo.sleep.future(b"\x0a", timeout=20) for _ in range(50)]
        time.sleep(0.3)
        echo.process.child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        late = connect(echo.process.port)
        fails(grpc.StatusCode.UNAVAILABLE, lambda: late.unary_unary("/echo.Echo/Unary")(b"", timeout=5))
        late.close()
        for future in running:
            equal(future.result(), b"\x0a", "answer of a call that ran when the signal came")
        equal(echo.process.child.wait(timeout=15), 0, "exit status")


@test("transport: an idle connection does not hold up the end after SIGTERM")
def idle_drain(world):
    with Echo(world) as echo:
        echo.assert_up()
        begin = time.monotonic()
        equal(echo.process.terminate(), 0, "exit status")
        true(time.monotonic() - begin < 5, "the end took over 5 s")
