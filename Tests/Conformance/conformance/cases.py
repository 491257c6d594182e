"""The official interop cases on grpcio: a stranger's client. Sizes and steps: gRPC's interop-test-descriptions."""

import concurrent.futures

import grpc
from interop import empty_pb2, messages_pb2, test_pb2_grpc

LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
REQUESTS, RESPONSES = (27182, 8, 1828, 45904), (31415, 9, 2653, 58979)
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
METADATA = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"), ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))
# Above what any case needs: one that waits for ever fails instead.
TIMEOUT = 30


class Failed(Exception):
    """Why a case failed."""


def expect(condition, reason):
    if not condition:
        raise Failed(reason)


def zeros(payload, size):
    expect(len(payload.body) == size, f"a payload of {size} bytes expected, {len(payload.body)} came")
    expect(payload.body.count(0) == size, "the payload has other bytes than zeros")


def fails(code, call, message=None):
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        expect(error.code() == code, f"{code} expected, {error.code()} came: {error.details()}")
        expect(message is None or error.details() == message, f"another status message came: {error.details()!r}")
        return
    except grpc.FutureCancelledError:
        expect(code == grpc.StatusCode.CANCELLED, f"{code} expected, the call was cancelled")
        return
    raise Failed(f"{code} expected, the call was OK")


def large(**fields):
    return messages_pb2.SimpleRequest(
        response_size=LARGE_RESPONSE, payload=messages_pb2.Payload(body=bytes(LARGE_REQUEST)), **fields)


def output(*sizes, request=None, interval_us=0):
    payload = None if request is None else messages_pb2.Payload(body=bytes(request))
    return messages_pb2.StreamingOutputCallRequest(
        response_parameters=[messages_pb2.ResponseParameters(size=size, interval_us=interval_us) for size in sizes],
        payload=payload)


class Client:
    """One channel and its cases."""

    def __init__(self, port, iterations=1000, probes=True):
        self.port, self.iterations, self.probes = port, iterations, probes
        self.channel = self.connect()
        self.stub = test_pb2_grpc.TestServiceStub(self.channel)

    def connect(self):
        # A pool of its own: a channel of its own is a connection of its own.
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)])

    def run(self, name):
        try:
            getattr(self, name)()
        finally:
            self.channel.close()

    def empty_unary(self):
        expect(self.stub.EmptyCall(empty_pb2.Empty(), timeout=TIMEOUT) == empty_pb2.Empty(), "another answer came")

    def large_unary(self, stub=None):
        zeros((stub or self.stub).UnaryCall(large(), timeout=TIMEOUT).payload, LARGE_RESPONSE)

    def client_streaming(self):
        requests = [messages_pb2.StreamingInputCallRequest(payload=messages_pb2.Payload(body=bytes(size))) for size in REQUESTS]
        answer = self.stub.StreamingInputCall(iter(requests), timeout=TIMEOUT)
        expect(answer.aggregated_payload_size == 74922, f"the sum is {answer.aggregated_payload_size}")

    def server_streaming(self):
        answers = list(self.stub.StreamingOutputCall(output(*RESPONSES), timeout=TIMEOUT))
        expect(len(answers) == len(RESPONSES), f"{len(answers)} answers came")
        for answer, size in zip(answers, RESPONSES):
            zeros(answer.payload, size)

    def ping_pong(self):
        turns = Turns()
        answers = self.stub.FullDuplexCall(turns, timeout=TIMEOUT)
        for request, response in zip(REQUESTS, RESPONSES):
            turns.put(output(response, request=request))
            zeros(next(answers).payload, response)
        turns.put(None)
        expect(list(answers) == [], "more answers than requests came")

    def empty_stream(self):
        expect(list(self.stub.FullDuplexCall(iter(()), timeout=TIMEOUT)) == [], "an answer came")

    def client_compressed_unary(self):
        def call(compression, expected):
            request = large(expect_compressed=messages_pb2.BoolValue(value=expected))
            return self.stub.UnaryCall(request, timeout=TIMEOUT, compression=compression)

        if self.probes:
            fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(grpc.Compression.NoCompression, True))
        zeros(call(grpc.Compression.Gzip, True).payload, LARGE_RESPONSE)
        zeros(call(grpc.Compression.NoCompression, False).payload, LARGE_RESPONSE)

    def server_compressed_unary(self):
        for compressed in (True, False):
            request = large(response_compressed=messages_pb2.BoolValue(value=compressed))
            zeros(self.stub.UnaryCall(request, timeout=TIMEOUT).payload, LARGE_RESPONSE)

    def server_compressed_streaming(self):
        request = output(31415, 92653)
        request.response_parameters[0].compressed.value = True
        request.response_parameters[1].compressed.value = False
        answers = list(self.stub.StreamingOutputCall(request, timeout=TIMEOUT))
        expect([len(answer.payload.body) for answer in answers] == [31415, 92653], "other answers came")

    def custom_metadata(self):
        answer, call = self.stub.UnaryCall.with_call(large(), timeout=TIMEOUT, metadata=METADATA)
        zeros(answer.payload, LARGE_RESPONSE)
        self.expect_echo(call)
        call = self.stub.FullDuplexCall(
            iter([output(LARGE_RESPONSE, request=LARGE_REQUEST)]), timeout=TIMEOUT, metadata=METADATA)
        expect(len(list(call)) == 1, "not one answer came")
        self.expect_echo(call)

    @staticmethod
    def expect_echo(call):
        initial, trailing = METADATA
        expect(initial in [tuple(entry) for entry in call.initial_metadata()], "the initial metadata is not echoed")
        expect(trailing in [tuple(entry) for entry in call.trailing_metadata()], "the trailing metadata is not echoed")

    def status_code_and_message(self):
        status = messages_pb2.EchoStatus(code=2, message="test status message")
        self.expect_unary_status(status)
        request = messages_pb2.StreamingOutputCallRequest(response_status=status)
        fails(
            grpc.StatusCode.UNKNOWN, lambda: self.stub.FullDuplexCall(iter([request]), timeout=TIMEOUT), status.message)

    def special_status_message(self):
        self.expect_unary_status(messages_pb2.EchoStatus(code=2, message=SPECIAL_MESSAGE))

    def expect_unary_status(self, status):
        request = messages_pb2.SimpleRequest(response_status=status)
        fails(grpc.StatusCode.UNKNOWN, lambda: self.stub.UnaryCall(request, timeout=TIMEOUT), status.message)

    def unimplemented_method(self):
        fails(grpc.StatusCode.UNIMPLEMENTED, lambda: self.stub.UnimplementedCall(empty_pb2.Empty(), timeout=TIMEOUT))

    def unimplemented_service(self):
        stub = test_pb2_grpc.UnimplementedServiceStub(self.channel)
        fails(grpc.StatusCode.UNIMPLEMENTED, lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=TIMEOUT))

    def cancel_after_begin(self):
        turns = Turns()
        call = self.stub.StreamingInputCall.future(turns, timeout=TIMEOUT)
        call.cancel()
        turns.put(None)
        expect(call.cancelled() and call.code() == grpc.StatusCode.CANCELLED, f"{call.code()} came")

    def cancel_after_first_response(self):
        turns = Turns()
        call = self.stub.FullDuplexCall(turns, timeout=TIMEOUT)
        turns.put(output(RESPONSES[0], request=REQUESTS[0]))
        zeros(next(call).payload, RESPONSES[0])
        call.cancel()
        fails(grpc.StatusCode.CANCELLED, lambda: call)
        turns.put(None)

    def timeout_on_sleeping_server(self):
        # Connected first: the millisecond is for the call.
        self.empty_unary()
        request = output(RESPONSES[0], request=REQUESTS[0], interval_us=500_000)
        fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.stub.FullDuplexCall(iter([request]), timeout=0.001))

    def pick_first_unary(self):
        request = messages_pb2.SimpleRequest(response_size=1, fill_server_id=True)
        servers = {self.stub.UnaryCall(request, timeout=TIMEOUT).server_id for _ in range(20)}
        expect(len(servers) == 1 and "" not in servers, f"server_id was {servers}")

    def concurrent_large_unary(self):
        request = large()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            calls = [self.stub.UnaryCall.future(request, timeout=TIMEOUT) for _ in range(self.iterations)]
            list(pool.map(lambda call: zeros(call.result().payload, LARGE_RESPONSE), calls))

    def rpc_soak(self):
        for _ in range(self.iterations):
            self.large_unary()

    def channel_soak(self):
        for _ in range(self.iterations):
            with self.connect() as channel:
                self.large_unary(test_pb2_grpc.TestServiceStub(channel))

    # Against the servers of `negative`, where the same is expected of any client.

    def max_streams(self):
        self.large_unary()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: self.large_unary(), range(10)))

    def goaway(self):
        import time

        self.large_unary()
        time.sleep(1)
        self.large_unary()

    def fails_with_reset(self):
        try:
            self.large_unary()
        except grpc.RpcError:
            return
        raise Failed("the call was OK")

    ping = data_frame_padding = no_df_padding_sanity_test = large_unary
    rst_after_header = rst_during_data = rst_after_data = fails_with_reset


class Turns:
    """Requests that are put in one by one; None ends them."""

    def __init__(self):
        import queue

        self.queue = queue.Queue()

    def put(self, request):
        self.queue.put(request)

    def __iter__(self):
        return self

    def __next__(self):
        request = self.queue.get()
        if request is None:
            raise StopIteration
        return request
