"""gRPC's interop services on grpcio: a stranger's server for our client.

    python -m conformance.server PORT

Looks at no message's compressed flag, which grpcio shows to nobody.
"""

import concurrent.futures
import os
import sys
import time

import grpc
from interop import empty_pb2, messages_pb2, test_pb2_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def echo_metadata(context):
    for key, value in context.invocation_metadata():
        if key == "x-grpc-test-echo-initial":
            context.send_initial_metadata(((key, value),))
        if key == "x-grpc-test-echo-trailing-bin":
            context.set_trailing_metadata(((key, value),))


def payload(size):
    return messages_pb2.Payload(body=bytes(size))


class TestService(test_pb2_grpc.TestServiceServicer):
    def EmptyCall(self, request, context):
        echo_metadata(context)
        return empty_pb2.Empty()

    def UnaryCall(self, request, context):
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        echo_metadata(context)
        self.fail_as_told(request, context)
        server = f"python-{os.getpid()}" if request.fill_server_id else ""
        return messages_pb2.SimpleResponse(payload=payload(request.response_size), server_id=server)

    def StreamingOutputCall(self, request, context):
        if any(parameters.compressed.value for parameters in request.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        echo_metadata(context)
        yield from self.answer(request, context)

    def StreamingInputCall(self, requests, context):
        echo_metadata(context)
        total = sum(len(request.payload.body) for request in requests)
        return messages_pb2.StreamingInputCallResponse(aggregated_payload_size=total)

    def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        for request in requests:
            yield from self.answer(request, context)

    def answer(self, request, context):
        self.fail_as_told(request, context)
        for parameters in request.response_parameters:
            if parameters.interval_us:
                time.sleep(parameters.interval_us / 1e6)
            if parameters.HasField("compressed") and not parameters.compressed.value:
                context.disable_next_message_compression()
            yield messages_pb2.StreamingOutputCallResponse(payload=payload(parameters.size))

    @staticmethod
    def fail_as_told(request, context):
        if request.response_status.code:
            context.abort(CODES[request.response_status.code], request.response_status.message)


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    test_pb2_grpc.add_TestServiceServicer_to_server(TestService(), server)
    # What the servicer does not define is UNIMPLEMENTED by the generated base class.
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
