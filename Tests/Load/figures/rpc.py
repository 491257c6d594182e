"""Unary calls of our RPC layer and of gRPC C++: one core each, the same client, alternating rounds."""

import os
import subprocess

from footfall_tests.suite import Process, free_ports

from .client import PROGRAMS, SERVER_CPU, check, figure, goal, load, median, print_checksum

PATH = "/echo.Echo/Unary"
COUNTED_CALLS = 50_000


class Peer(Process):
    """gRPC C++ under the same terms."""

    def start(self):
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                ["taskset", "-c", SERVER_CPU, str(PROGRAMS / "grpc-cpp-echo"), str(self.port)], stdout=log, stderr=log)
        return self


def server(kind, folder):
    port = free_ports(1)[0]
    log = os.path.join(folder, f"{kind}-{port}.log")
    if kind == "grpc_cpp":
        return Peer(kind, [], port, log).start().wait_listening()
    return Process("EchoServer", [str(port), "1"], port, log, cpus=SERVER_CPU).start().wait_listening()


def measure(kind, folder, seconds, path=PATH):
    """One round on a fresh server: warmed up, then measured."""
    process = server(kind, folder)
    try:
        load("echo", process.port, path, "--seconds", 0.3)
        return load("echo", process.port, path, "--seconds", seconds)
    finally:
        process.kill()


def counted(kind, folder):
    """The checksum of a fixed number of echoed messages: every correct server gives the same."""
    process = server(kind, folder)
    try:
        return load("echo", process.port, PATH, "--calls", COUNTED_CALLS)["checksum"]
    finally:
        process.kill()


def run(world, short):
    rounds, seconds = (1, 0.5) if short else (7, 2)
    compared = (PROGRAMS / "grpc-cpp-echo").exists()
    check(compared or short, "gRPC C++ is missing: its echo server was not built")
    checksums = {kind: counted(kind, world.folder) for kind in ("footfall", "grpc_cpp")[:1 + compared]}
    check(len(set(checksums.values())) == 1, f"the echoes differ: {checksums}")
    ours, theirs, ours_async = [], [], []
    for _ in range(rounds):
        ours.append(measure("footfall", world.folder, seconds))
        if compared:
            theirs.append(measure("grpc_cpp", world.folder, seconds))
        ours_async.append(measure("footfall", world.folder, seconds, "/echo.Echo/UnaryAsync"))
    rate = median([one["calls_per_second"] for one in ours])
    figure("rpc_calls_per_second", round(rate), "1/s")
    figure("rpc_calls_per_second_min", round(min(one["calls_per_second"] for one in ours)), "1/s")
    figure("rpc_calls_per_second_max", round(max(one["calls_per_second"] for one in ours)), "1/s")
    figure("rpc_async_calls_per_second", round(median([one["calls_per_second"] for one in ours_async])), "1/s")
    if compared:
        peer = median([one["calls_per_second"] for one in theirs])
        figure("rpc_grpc_cpp_calls_per_second", round(peer), "1/s")
        figure("rpc_vs_grpc_cpp", rate / peer, "ratio")
    figure("rpc_p50_milliseconds", median([one["p50_microseconds"] for one in ours]) / 1000, "ms")
    figure("rpc_p99_milliseconds", median([one["p99_microseconds"] for one in ours]) / 1000, "ms")
    print_checksum("rpc", checksums["footfall"])
    if not short:
        goal("rpc_calls_per_second", rate, least=250_000)
        goal("rpc_vs_grpc_cpp", rate / peer, least=4)
