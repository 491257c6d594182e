"""Many calls and streams on grpcio, first to one server and, once that takes no more, to the next.

    python -m conformance.load SECONDS PORT NEXT_PORT

Prints each call that failed with its name, then how many were OK; see Swift/Client/Load.swift.
"""

import sys
import threading
import time

import grpc
from interop import messages_pb2, test_pb2_grpc

UNARY_WORKERS, STREAM_WORKERS, MESSAGES_PER_STREAM = 6, 4, 20


class Load:
    def __init__(self, seconds, ports):
        self.end = time.monotonic() + seconds
        self.stubs = [test_pb2_grpc.TestServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}")) for port in ports]
        self.calls, self.streams = [0, 0], [0, 0]
        self.lock = threading.Lock()

    def run(self):
        workers = [
            threading.Thread(target=self.work, args=(worker, self.stream if worker >= UNARY_WORKERS else self.call))
            for worker in range(UNARY_WORKERS + STREAM_WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print("ok", self.calls[0], self.streams[0], self.calls[1], self.streams[1])

    def work(self, worker, make):
        server = number = 0
        counts = self.streams if make == self.stream else self.calls
        while time.monotonic() < self.end:
            name = f"python-{worker}-{number}"
            number += 1
            try:
                make(self.stubs[server], (("x-conformance-call", name),))
            except grpc.RpcError as error:
                with self.lock:
                    print("failed", name, server, error.code(), error.details(), flush=True)
                server = 1
            else:
                with self.lock:
                    counts[server] += 1

    def call(self, stub, metadata):
        answer = stub.UnaryCall(messages_pb2.SimpleRequest(response_size=100), metadata=metadata, timeout=30)
        assert len(answer.payload.body) == 100

    def stream(self, stub, metadata):
        request = messages_pb2.StreamingOutputCallRequest(
            response_parameters=[messages_pb2.ResponseParameters(size=100, interval_us=20_000)])
        turn = threading.Semaphore(1)

        def requests():
            for _ in range(MESSAGES_PER_STREAM):
                turn.acquire()
                yield request

        answers = 0
        for _ in stub.FullDuplexCall(requests(), metadata=metadata, timeout=30):
            answers += 1
            turn.release()
        assert answers == MESSAGES_PER_STREAM, f"{answers} answers"


if __name__ == "__main__":
    Load(float(sys.argv[1]), [int(port) for port in sys.argv[2:4]]).run()
