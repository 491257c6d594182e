"""Requests by raw frames against our server: what it must do with each, where any library would not even send it.

The rules: gRPC's PROTOCOL-HTTP2.md, statuscodes.md and compression.md, RFC 9113. Each case says what is expected, so that
one that fails tells a bug of the server or of the expectation.
"""

import base64
import gzip
import random
import struct
import time

from interop import messages_pb2

from . import frames
from .frames import CANCEL, HEADERS, NO_ERROR, PING, PROTOCOL_ERROR, RST_STREAM, Closed, message
from .peers import Server
from .rawclient import Client, Response, equal

ECHO, ECHO_ASYNC, ECHO_STREAM = "/conformance.Raw/Echo", "/conformance.Raw/EchoAsync", "/conformance.Raw/EchoStream"
FIRST, METADATA, SLEEP = "/conformance.Raw/First", "/conformance.Raw/Metadata", "/conformance.Raw/Sleep"
GUARDED, THROW = "/conformance.Raw/Guarded", "/conformance.Raw/Throw"
UNARY_CALL = "/grpc.testing.TestService/UnaryCall"
STREAMING_OUTPUT = "/grpc.testing.TestService/StreamingOutputCall"
EVERY_KIND = (ECHO, ECHO_ASYNC, ECHO_STREAM)
MESSAGE_BYTES_MAX = 4 << 20
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAUTHENTICATED = (
    "0", "2", "3", "4", "8", "12", "13", "16")
CASES = []


def case(expectation):
    """Registers a case; `expectation`: what the server must do, as a sentence."""

    def register(function):
        CASES.append((function.__name__, expectation, function))
        return function

    return register


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def refused(answer, http_status):
    equal(answer.http_status, http_status, "HTTP status")
    true(answer.ended and answer.reset in (None, NO_ERROR), f"the answer must end the stream: {answer}")
    equal(answer.status, None, "grpc-status")


# --- Method, content type, te


@case("another method than POST is HTTP 405, without grpc-status")
def method_not_post(port):
    with Client(port) as client:
        for method in ("GET", "PUT", "DELETE"):
            refused(client.call(ECHO, method=method), "405")
        client.is_served()


@case("a content-type that does not begin with application/grpc, or none, is HTTP 415, without grpc-status")
def content_type_foreign(port):
    with Client(port) as client:
        for value in (None, "application/json", "text/plain", "application/grp", "application/grpcx", "application/grpc-web"):
            refused(client.call(ECHO, content_type=value), "415")
        client.is_served()


@case("a subtype that the server does not speak is HTTP 415")
def content_type_subtype(port):
    with Client(port) as client:
        refused(client.call(ECHO, content_type="application/grpc+json"), "415")
        client.is_served()


@case("application/grpc, alone, with +proto and with parameters, is served")
def content_type_known(port):
    with Client(port) as client:
        for value in ("application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc+proto;a=b"):
            equal(client.call(ECHO, content_type=value).status, OK, f"status with {value}")


@case("a request without te is served: only proxies need it")
def te_absent(port):
    with Client(port) as client:
        equal(client.call(ECHO, te=None).status, OK, "status")


@case("te with another value than trailers is malformed (RFC 9113, 8.2.2): the stream is reset")
def te_other(port):
    with Client(port) as client:
        answer = client.call(ECHO, te="gzip")
        true(answer.reset == PROTOCOL_ERROR or answer.http_status == "400", f"reset or 400 expected: {answer}")
        client.is_served()


# --- grpc-timeout


@case("every unit, and 1 to 8 digits, is a timeout")
def timeout_forms(port):
    with Client(port) as client:
        for value in ("1H", "99999999H", "1M", "100S", "5000m", "9999999u", "99999999n", "00000100S"):
            for path in EVERY_KIND:
                equal(client.call(path, grpc_timeout=value).status, OK, f"status of {path} with {value}")


@case("a timeout of zero is one that has passed, not a malformed one: DEADLINE_EXCEEDED, or the answer")
def timeout_zero(port):
    with Client(port) as client:
        for value in ("0S", "0n", "0m"):
            for path in EVERY_KIND:
                answer = client.call(path, grpc_timeout=value)
                true(answer.status in (OK, DEADLINE_EXCEEDED) or answer.reset == CANCEL, f"{path} with {value}: {answer}")
        client.is_served()


@case("9 digits, no digit, no unit, an unknown unit, signs and fractions are INTERNAL or HTTP 400")
def timeout_malformed(port):
    with Client(port) as client:
        for value in ("", "1", "S", "-1S", "+1S", "123456789S", "1x", "1s", "1.5S", "1SS", "0x1S"):
            answer = client.call(ECHO, grpc_timeout=value)
            true(answer.status == INTERNAL or answer.http_status == "400", f"with {value!r}: {answer}")
        client.is_served()


@case("a call whose timeout passes ends at once, DEADLINE_EXCEEDED or reset with CANCEL")
def timeout_passes(port):
    with Client(port) as client:
        begin = time.monotonic()
        answer = client.call(SLEEP, message(b"\x64"), grpc_timeout="200m")
        true(answer.status == DEADLINE_EXCEEDED or answer.reset == CANCEL, f"{answer}")
        true(0.15 < time.monotonic() - begin < 3, f"it took {time.monotonic() - begin:.2f} s")
        client.is_served()


@case("a stream whose timeout passes while the client sends nothing ends at once")
def timeout_of_silent_stream(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.response(client.open(path, grpc_timeout="200m"), 3)
            true(answer.status == DEADLINE_EXCEEDED or answer.reset == CANCEL, f"{path}: {answer}")
        client.is_served()


# --- Compression


@case("an unknown grpc-encoding is UNIMPLEMENTED, and grpc-accept-encoding lists what is taken, not this one")
def encoding_unknown(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.call(path, message(b"x", 1), grpc_encoding="zstd")
            equal(answer.status, UNIMPLEMENTED, f"status of {path}")
            taken = answer.trailers.get("grpc-accept-encoding", dict(answer.blocks[0]).get("grpc-accept-encoding", ""))
            names = [name.strip() for name in taken.split(",")]
            true("identity" in names and "zstd" not in names, f"grpc-accept-encoding of {path}: {taken!r}")
        client.is_served()


@case("grpc-encoding identity is as none")
def encoding_identity(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            equal(client.call(path, grpc_encoding="identity").messages, [b"hello"], f"answer of {path}")


@case("with grpc-encoding gzip each message is packed or not, as its flag says, and nothing is carried between messages")
def encoding_gzip(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            for body in (message(gzip.compress(b"hello"), 1), message(b"hello", 0)):
                answer = client.call(path, body, grpc_encoding="gzip")
                equal((answer.status, answer.messages), (OK, [b"hello"]), f"answer of {path}")
        bodies = [message(gzip.compress(b"one"), 1), message(b"two"), message(gzip.compress(b"one"), 1)]
        equal(client.call(ECHO_STREAM, b"".join(bodies), grpc_encoding="gzip").messages, [b"one", b"two", b"one"], "echoes")


@case("a message marked as compressed without or with identity as grpc-encoding is INTERNAL")
def flag_without_encoding(port):
    with Client(port) as client:
        for encoding in (None, "identity"):
            for path in EVERY_KIND:
                answer = client.call(path, message(b"hello", 1), grpc_encoding=encoding)
                equal(answer.status, INTERNAL, f"status of {path} with {encoding}")
        client.is_served()


@case("a compressed flag that is neither 0 nor 1 is INTERNAL")
def flag_unknown(port):
    with Client(port) as client:
        for flag in (2, 0x80, 0xFF):
            for path in EVERY_KIND:
                equal(client.call(path, message(b"hello", flag)).status, INTERNAL, f"status of {path} with {flag}")
        client.is_served()


@case("gzip that is damaged or cut off is INTERNAL")
def gzip_damaged(port):
    whole = gzip.compress(b"hello" * 100)
    bad = bytearray(whole)
    bad[len(bad) // 2] ^= 0xFF
    with Client(port) as client:
        for path in EVERY_KIND:
            for packed in (b"", b"hello", whole[:-9], bytes(bad)):
                answer = client.call(path, message(packed, 1), grpc_encoding="gzip")
                equal(answer.status, INTERNAL, f"status of {path} with {packed[:10]!r}")
        client.is_served()


@case("gzip that unpacks to more than a message may have is RESOURCE_EXHAUSTED")
def gzip_bomb(port):
    bomb = gzip.compress(bytes(MESSAGE_BYTES_MAX + 1))
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.call(path, message(bomb, 1), grpc_encoding="gzip")
            equal(answer.status, RESOURCE_EXHAUSTED, f"status of {path}")
        client.is_served()


# --- Length and framing of messages


@case("a message over the limit is RESOURCE_EXHAUSTED by its prefix alone, before it is sent, and names limit and size")
def too_large_by_prefix(port):
    with Client(port) as client:
        for size in (MESSAGE_BYTES_MAX + 1, 0xFFFF_FFFF):
            for path in EVERY_KIND:
                stream = client.open(path)
                client.write(stream, struct.pack(">BI", 0, size), end=False)
                answer = client.response(stream, 3)
                equal(answer.status, RESOURCE_EXHAUSTED, f"status of {path}")
                text = answer.trailers.get("grpc-message", "")
                true(str(size) in text and str(MESSAGE_BYTES_MAX) in text, f"grpc-message: {text!r}")
        client.is_served()


@case("a message that the request cuts off, or only a part of its prefix, is INTERNAL")
def truncated(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            for body in (message(b"hello")[:-1], message(b"hello")[:5], message(b"hello")[:3], b"\0"):
                equal(client.call(path, body).status, INTERNAL, f"status of {path} with {len(body)} bytes")
        answer = client.call(ECHO_STREAM, message(b"one") + message(b"two")[:-1])
        equal(answer.status, INTERNAL, "status of a stream whose second message is cut off")
        client.is_served()


@case("DATA frames of one byte carry a message as any other")
def frames_of_one_byte(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            stream = client.open(path)
            client.write(stream, message(bytes(range(200))), piece=1)
            equal(client.response(stream).messages, [bytes(range(200))], f"answer of {path}")


@case("frames of 5 bytes with 255 of padding carry 100 KB: padding is given back to the flow-control windows")
def frames_with_padding(port):
    body = random.Random(7).randbytes(100_000)
    with Client(port) as client:
        for path in EVERY_KIND:
            stream = client.open(path)
            client.write(stream, message(body), piece=5, padding=255)
            answer = client.response(stream, 20)
            true(answer.messages == [body], f"answer of {path}: {answer}")
        client.is_served()


@case("several messages in one DATA frame, and one across several, come one by one")
def frames_and_messages(port):
    sent = [b"one", b"", b"three" * 500]
    body = b"".join(message(one) for one in sent)
    with Client(port) as client:
        equal(client.call(ECHO_STREAM, body).messages, sent, "echoes")
        for piece in (3, 7, 1_000):
            stream = client.open(ECHO_STREAM)
            client.write(stream, body, piece=piece)
            equal(client.response(stream).messages, sent, f"echoes of pieces of {piece}")


@case("a message of no bytes is a message")
def message_of_no_bytes(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.call(path, message(b""))
            equal((answer.status, answer.messages), (OK, [b""]), f"answer of {path}")


@case("the request may end with an empty DATA frame or with HEADERS (trailers of the client)")
def end_of_request(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            stream = client.open(path)
            client.write(stream, message(b"hello"), end=False)
            client.send(frames.data(stream, b"", end=True))
            equal(client.response(stream).messages, [b"hello"], f"answer of {path} after empty DATA")
            stream = client.open(path)
            client.write(stream, message(b"hello"), end=False)
            client.send(client.headers(stream, [("x-trailer", "1")], end=True))
            equal(client.response(stream).messages, [b"hello"], f"answer of {path} after trailers")


@case("a few empty DATA frames among the others are nothing")
def empty_data(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            stream = client.open(path)
            body = message(b"hello")
            client.send(frames.data(stream, b""))
            client.write(stream, body[:4], end=False)
            client.send(frames.data(stream, b""), frames.data(stream, b"", padding=9))
            client.write(stream, body[4:])
            equal(client.response(stream).messages, [b"hello"], f"answer of {path}")


# --- Cardinality


@case("no message where one is needed is UNIMPLEMENTED, whether the headers end the request or empty DATA does")
def no_message(port):
    with Client(port) as client:
        for path in (ECHO, ECHO_ASYNC, UNARY_CALL, STREAMING_OUTPUT):
            equal(client.call(path, b"").status, UNIMPLEMENTED, f"status of {path} after empty DATA")
            equal(client.response(client.open(path, end=True)).status, UNIMPLEMENTED, f"status of {path} after headers")
        client.is_served()


@case("two messages where one is taken are UNIMPLEMENTED")
def two_messages(port):
    with Client(port) as client:
        for path in (ECHO, ECHO_ASYNC, UNARY_CALL, STREAMING_OUTPUT):
            equal(client.call(path, message(b"") + message(b"")).status, UNIMPLEMENTED, f"status of {path}")
        client.is_served()


@case("a stream without messages is a stream: OK without messages")
def stream_of_none(port):
    with Client(port) as client:
        answer = client.response(client.open(ECHO_STREAM, end=True))
        equal((answer.status, answer.messages), (OK, []), "answer")


# --- Metadata


def metadata_of(client, *fields):
    """What a handler sees of these fields: pairs of name and value bytes."""
    base = [
        (":method", "POST"), (":scheme", "http"), (":path", METADATA), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers")]
    stream = client.open_fields(base + list(fields))
    client.write(stream, message(b""))
    answer = client.response(stream)
    equal(answer.status, OK, f"status with {fields}")
    pairs = [line.split("=", 1) for line in answer.messages[0].decode().splitlines()]
    return [(name, bytes(int(one) for one in value.strip("[]").split(",") if one.strip())) for name, value in pairs]


@case("the value of a -bin name is decoded, whether its base64 is padded or not")
def bin_padding(port):
    with Client(port) as client:
        for raw in (b"\xab", b"\xab\xab", b"\xab\xab\xab", bytes(range(256)), b""):
            padded = base64.b64encode(raw)
            for value in {padded, padded.rstrip(b"=")}:
                equal(metadata_of(client, ("x-a-bin", value)), [("x-a-bin", raw)], f"metadata from {value!r}")


@case("values of a -bin name that a proxy has joined with commas are split before they are decoded")
def bin_joined(port):
    with Client(port) as client:
        equal(
            metadata_of(client, ("x-a-bin", "qw,qg==, AQID")),
            [("x-a-bin", b"\xab"), ("x-a-bin", b"\xaa"), ("x-a-bin", b"\x01\x02\x03")], "metadata")


@case("a name that comes more than once keeps its values in order")
def repeated_names(port):
    sent = [("x-a", "1"), ("x-b-bin", "AQ"), ("x-a", "2"), ("x-b-bin", "Ag"), ("x-a", "1")]
    with Client(port) as client:
        came = metadata_of(client, *sent)
        equal([value for name, value in came if name == "x-a"], [b"1", b"2", b"1"], "values of x-a")
        equal([value for name, value in came if name == "x-b-bin"], [b"\x01", b"\x02"], "values of x-b-bin")


@case("a value with bytes outside ASCII, or a -bin value that is no base64, does not fail the call")
def odd_values(port):
    with Client(port) as client:
        metadata_of(client, ("x-latin", b"caf\xe9"))
        metadata_of(client, ("x-odd-bin", "!!!"))
        client.is_served()


@case("names that begin with grpc- are gRPC's own and never reach a handler as metadata")
def reserved_names(port):
    with Client(port) as client:
        came = metadata_of(
            client, ("grpc-custom", "1"), ("grpc-trace-bin", "AQ"), ("grpc-accept-encoding", "gzip"), ("x-own", "1"))
        equal([name for name, _ in came], ["x-own"], "names")


@case("a name with upper-case letters or a forbidden connection field is malformed: the stream is reset (RFC 9113, 8.2)")
def malformed_fields(port):
    for field in (("X-Upper", "1"), ("connection", "close"), ("transfer-encoding", "chunked"), ("x bad", "1")):
        with Client(port) as client:
            stream = client.open_fields([
                (":method", "POST"), (":scheme", "http"), (":path", ECHO), (":authority", "localhost"),
                ("content-type", "application/grpc"), field])
            client.write(stream, message(b"hello"))
            answer = client.response(stream)
            true(answer.reset == PROTOCOL_ERROR or answer.http_status == "400", f"with {field}: {answer}")
            client.is_served()


# --- Limits of headers


@case("headers over 8 KiB are RESOURCE_EXHAUSTED or HTTP 431, and HPACK stays in step")
def headers_too_large(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            # The first of them goes into the dynamic table: the next request refers to it.
            answer = client.call(path, x_small="kept", x_large="a" * 9_000)
            true(answer.status == RESOURCE_EXHAUSTED or answer.http_status == "431", f"{path}: {answer}")
        equal(metadata_of(client, ("x-small", "kept")), [("x-small", b"kept")], "metadata of the next call")


@case("more fields than the limit are RESOURCE_EXHAUSTED or HTTP 431, and HPACK stays in step")
def headers_too_many(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.call(path, **{f"x_{i}": "a" for i in range(100)})
            true(answer.status == RESOURCE_EXHAUSTED or answer.http_status == "431", f"{path}: {answer}")
        equal(metadata_of(client, ("x-0", "a")), [("x-0", b"a")], "metadata of the next call")


@case("headers below the limits are served, also in CONTINUATION frames")
def headers_below_limits(port):
    with Client(port) as client:
        equal(client.call(ECHO, x_large="a" * 7_000).status, OK, "status with 7,000 bytes")
        equal(client.call(ECHO, **{f"x_{i}": "a" for i in range(40)}).status, OK, "status with 46 fields")
        stream, client.next_stream = client.next_stream, client.next_stream + 2
        client.responses[stream] = Response()
        block = client.encoder.encode([
            (":method", "POST"), (":scheme", "http"), (":path", ECHO), (":authority", "localhost"),
            ("content-type", "application/grpc"), ("x-a", "b" * 300)])
        client.send(
            frames.frame(HEADERS, 0, stream, block[:10]), frames.frame(frames.CONTINUATION, 0, stream, block[10:50]),
            frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[50:]))
        client.write(stream, message(b"hello"))
        equal(client.response(stream).messages, [b"hello"], "answer")


# --- Paths and authorisation


@case("an unknown service or method is UNIMPLEMENTED, trailers-only: one HEADERS frame with status, content-type and grpc-status")
def unknown_method(port):
    with Client(port) as client:
        for path in ("/conformance.Raw/Nothing", "/conformance.Raw/echo", "/conformance.raw/Echo", "/nobody.Nothing/Echo"):
            answer = client.call(path)
            equal(answer.status, UNIMPLEMENTED, f"status of {path}")
            equal([kind for kind in answer.kinds if kind != RST_STREAM], [HEADERS], f"frames of {path}")
            equal([name for name, _ in answer.blocks[0]][:2], [":status", "content-type"], "the first fields")
            equal(answer.http_status, "200", "HTTP status")
        client.is_served()


@case("a path that is not exactly a method's is UNIMPLEMENTED or malformed, with the token as without: never routed leniently")
def path_not_canonical(port):
    paths = (
        "/conformance.Raw/Guarded/", "//conformance.Raw/Guarded", "/conformance.Raw//Guarded", "/conformance.Raw/Guarded?x=1",
        "/conformance.Raw/Guarded%20", "/conformance.Raw/%47uarded", "/./conformance.Raw/Guarded", "/conformance.Raw/guarded",
        "conformance.Raw/Guarded", "/a/conformance.Raw/Guarded", "/", "*", "")
    for path in paths:
        for token in (None, "Bearer conformance"):
            with Client(port) as client:
                answer = client.call(path, authorization=token)
                true(
                    answer.status == UNIMPLEMENTED or answer.reset == PROTOCOL_ERROR or answer.http_status == "400",
                    f"{path!r} with {token}: {answer}")
                client.is_served()


@case("a method with a scope is UNAUTHENTICATED without the token, before the message comes, and served with it")
def authorisation(port):
    with Client(port) as client:
        equal(client.response(client.open(GUARDED), 3).status, UNAUTHENTICATED, "status without token")
        for token in ("Bearer wrong", "conformance", "bearer", ""):
            equal(client.call(GUARDED, authorization=token).status, UNAUTHENTICATED, f"status with {token!r}")
        equal(client.call(GUARDED, authorization="Bearer conformance").messages, [b"hello"], "answer with the token")


# --- Errors and the shape of answers


@case("an answer is headers with :status 200 and content-type first, messages, then trailers with grpc-status, also where it is OK")
def shape_of_answer(port):
    with Client(port) as client:
        for path in EVERY_KIND:
            answer = client.call(path)
            equal(len(answer.blocks), 2, f"header blocks of {path}")
            head = answer.blocks[0]
            equal(head[0], (":status", "200"), "first field")
            true(dict(head)["content-type"].startswith("application/grpc"), f"headers of {path}: {head}")
            true("grpc-status" not in dict(head), f"headers of {path} hold grpc-status")
            equal(answer.status, "0", f"grpc-status of {path}")
            equal(answer.kinds[-1], HEADERS, f"last frame of {path}")


@case("grpc-status is decimal without leading zeros; grpc-message is UTF-8, percent-encoded outside 0x20-0x24 and 0x26-0x7E")
def status_message(port):
    text = "\t\ntest 100%~ \x7f☺ 😈\r\n"
    status = messages_pb2.EchoStatus(code=3, message=text)
    request = messages_pb2.SimpleRequest(response_status=status).SerializeToString()
    with Client(port) as client:
        answer = client.call(UNARY_CALL, message(request))
        equal(answer.status, INVALID_ARGUMENT, "grpc-status")
        equal(
            answer.trailers.get("grpc-message"), "%09%0Atest 100%25~ %7F%E2%98%BA %F0%9F%98%88%0D%0A", "grpc-message")
        equal([kind for kind in answer.kinds if kind != RST_STREAM], [HEADERS], "frames of an error before any message")


@case("a message that is no valid protobuf is INTERNAL")
def not_protobuf(port):
    with Client(port) as client:
        for path in (UNARY_CALL, STREAMING_OUTPUT):
            equal(client.call(path, message(b"\xff\xff\xff")).status, INTERNAL, f"status of {path}")
        client.is_served()


@case("an error of the handler that is no status is UNKNOWN, and its text stays in the server")
def handler_throws(port):
    with Client(port) as client:
        answer = client.call(THROW)
        equal(answer.status, UNKNOWN, "status")
        true("secret" not in answer.trailers.get("grpc-message", ""), f"grpc-message: {answer.trailers}")


@case("trailers before the client has ended are followed by RST_STREAM(NO_ERROR), so that the stream is freed")
def answered_early(port):
    with Client(port) as client:
        stream = client.open(FIRST)
        client.write(stream, message(b"one"), end=False)
        answer = client.response(stream)
        equal((answer.status, answer.messages), (OK, [b"one"]), "answer")
        client.until(lambda: answer.reset is not None, 3)
        equal(answer.reset, NO_ERROR, "code of the reset")
        stream = client.open(ECHO)
        client.write(stream, struct.pack(">BI", 0, MESSAGE_BYTES_MAX + 1), end=False)
        answer = client.response(stream)
        client.until(lambda: answer.reset is not None, 3)
        equal(answer.reset, NO_ERROR, "code of the reset of a refused message")
        client.is_served()


@case("calls of one connection are answered each with its own, in whatever order they end")
def interleaved(port):
    with Client(port) as client:
        slow = client.open(SLEEP)
        client.write(slow, message(b"\x03"))
        streams = [client.open(path) for path in EVERY_KIND * 20]
        for stream in streams:
            client.write(stream, message(b"%d" % stream)[:6], end=False)
        for stream in reversed(streams):
            client.write(stream, message(b"%d" % stream)[6:])
        for stream in streams:
            equal(client.response(stream).messages, [b"%d" % stream], "answer")
        equal(client.response(slow).messages, [b"\x03"], "answer of the slow call")


# --- Connection


@case("a PING is answered with its own 8 bytes, also while a call runs")
def ping_answered(port):
    with Client(port) as client:
        stream = client.open(SLEEP)
        client.write(stream, message(b"\x02"))
        for payload in (b"12345678", bytes(8)):
            client.send(frames.frame(PING, 0, 0, payload))
        client.until(lambda: len(client.pongs) == 2, 3)
        equal(client.pongs, [b"12345678", bytes(8)], "payloads")
        equal(client.response(stream).status, OK, "status of the call")


@case("SETTINGS are acknowledged; frames of unknown types and settings of unknown names are nothing (RFC 9113, 5.5)")
def unknown_frames(port):
    with Client(port) as client:
        client.send(frames.frame(0xBE, 0xFF, 0, b"whatever"), frames.settings({0xBEEF: 7}))
        stream = client.open(ECHO)
        client.send(frames.frame(0xBE, 0, stream, b"whatever"))
        client.write(stream, message(b"hello"))
        equal(client.response(stream).messages, [b"hello"], "answer")
        true(client.settings_acknowledged, "SETTINGS were not acknowledged")


@case("a client that gives no window gets the headers and no more, and all once it gives some")
def small_windows(port):
    with Client(port) as client:
        client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
        stream = client.open(ECHO)
        client.write(stream, message(bytes(1_000)))
        client.until(lambda: len(client.responses[stream].body) == 10)
        # `Connection` gives back what has come: the rest follows in small pieces.
        equal(client.response(stream, 20).messages, [bytes(1_000)], "answer")


@case("on SIGTERM: GOAWAY with 2^31-1, calls begun meanwhile are served, GOAWAY with the real last stream, all end OK, exit status 0")
def goaway_in_two_steps(port):
    server = Server("footfall")
    try:
        with Client(server.port) as client:
            client.is_served()
            running = client.open(SLEEP)
            client.write(running, message(b"\x0a"))
            # Until the server has the call: it answers in order.
            client.send(frames.frame(PING, 0, 0, b"received"))
            client.until(lambda: client.pongs, 3)
            client.answers_pings = False
            server.child.terminate()
            pings = []

            def first_goaway():
                one = client.read(5)
                if one.type == PING and not one.flags & frames.ACK:
                    pings.append(one.payload)
                client.take(one)

            while not client.goaways:
                first_goaway()
            equal(client.goaways[0], (2**31 - 1, NO_ERROR), "first GOAWAY")
            late = client.open(ECHO)
            client.write(late, message(b"late"))
            answer = client.responses[late]
            while not answer.ended:
                first_goaway()
            equal((answer.status, answer.messages), (OK, [b"late"]), "answer of a call between the two")
            client.answers_pings = True
            client.send(*[frames.frame(PING, frames.ACK, 0, payload) for payload in pings])
            client.until(lambda: len(client.goaways) == 2, 5)
            equal(client.goaways[1], (late, NO_ERROR), "second GOAWAY")
            equal(client.response(running).status, OK, "status of the call that ran")
            try:
                client.until(lambda: False, 5)
            except Closed:
                pass
        equal(server.child.wait(timeout=10), 0, "exit status")
    finally:
        server.kill()


def run(report):
    who = "raw frames -> footfall"
    if not any(report.wants(who, name) for name, _, _ in CASES):
        return
    server = Server("footfall")
    try:
        for name, expectation, function in CASES:
            report.case(who, name, lambda: attempt(server, expectation, function))
    finally:
        server.kill()


def attempt(server, expectation, function):
    try:
        function(server.port)
    except (AssertionError, Closed, TimeoutError, OSError) as error:
        reason = str(error) or {Closed: "the server closed the connection"}.get(type(error), type(error).__name__)
        return f"{reason} [{expectation}]"
    return None if server.running else f"the server died: {server.log_tail()}"
