"""Our RPC layer against its peers: one core each, the same client, alternating rounds, medians."""

import os
import pathlib
import subprocess
import time

from footfall_tests.suite import Process, free_ports

from .client import PROGRAMS, SERVER_CPU, Wrong, check, figure, goal, load, median, print_checksum

ECHO, FULL, FULL_LOOP = "/echo.Echo/Unary", "/footfall.profile.v1.UserProfile/GetProfile", "/load.Loop/GetProfile"
COUNTED_CALLS = 50_000
# Requests of a full method, in turn.
REQUESTS = 64
PEERS = {"c-echo", "grpc-cpp-echo", "grpc-swift-echo"}
PEER_TOKEN = "ff_peer_" + "x" * 43


class Peer(Process):
    """Another's server under the same terms."""

    def start(self):
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                ["taskset", "-c", SERVER_CPU, str(PROGRAMS / self.name), str(self.port)] + self.arguments,
                stdout=log, stderr=log)
        return self


class Servers:
    """Starts the servers by kind. Each measurement has a fresh one."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, kind):
        port = free_ports(1)[0]
        log = os.path.join(self.folder, f"{kind}-{port}.log")
        if kind in ("EchoServer", "MethodServer"):
            return Process(kind, [str(port), "1"], port, log, cpus=SERVER_CPU).start().wait_listening()
        return Peer(kind, [PEER_TOKEN], port, log).start().wait_listening()

    @staticmethod
    def token(process):
        """The token that the server takes: ours makes one and says it, about when it begins to listen."""
        if isinstance(process, Peer):
            return PEER_TOKEN
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for line in pathlib.Path(process.log_path).read_text().splitlines():
                if line.startswith("token: "):
                    return line.split()[1]
            time.sleep(0.01)
        raise Wrong(f"{process.log_path}: no token within 10 s")


class Measurement:
    """What is asked of whom; its rounds."""

    def __init__(self, kind, path, mode="echo", *arguments, token=False):
        self.kind, self.path, self.mode, self.arguments, self.token = kind, path, mode, arguments, token
        self.rounds = []

    def ask(self, process, *arguments):
        token = Servers.token(process) if self.token else None
        return load(self.mode, process.port, self.path, *self.arguments, *arguments, token=token)

    def round(self, servers, seconds):
        """On a fresh server: warmed up, then measured."""
        process = servers.start(self.kind)
        try:
            self.ask(process, "--seconds", 0.3)
            self.rounds.append(self.ask(process, "--seconds", seconds))
        finally:
            process.kill()

    def checksum(self, servers, calls=COUNTED_CALLS):
        """Of a fixed number of calls: every correct server gives the same."""
        process = servers.start(self.kind)
        try:
            return self.ask(process, "--calls", calls)["checksum"]
        finally:
            process.kill()

    def all(self, name="calls_per_second"):
        return [one[name] for one in self.rounds]

    def median(self, name="calls_per_second"):
        return median(self.all(name))


def full_files(world):
    """Requests and answers of a full method in files, ~100 bytes each: the client's arguments."""
    arguments = []
    for number in range(REQUESTS):
        request = world.messages.profile.GetProfileRequest(app_id="shop", open_id=f"{number:04d}" + "o" * 88)
        answer = world.messages.profile.Profile(
            open_id=request.open_id, first_active_ms=1_750_000_000_000,
            last_active_ms=1_760_000_000_000 + len(request.app_id), session_cnt=17, visit_pv=len(request.open_id),
            event_cnt=300, active_days=5)
        for kind, message in (("request", request), ("answer", answer)):
            path = pathlib.Path(world.folder) / f"full-{kind}-{number}"
            path.write_bytes(message.SerializeToString())
            arguments += [f"--{kind}", str(path)]
    return arguments


def measurements(world):
    files = full_files(world)
    full = {"token": True}
    single = ("--connections", 1, "--lanes", 1)
    wanted = {
        "c": Measurement("c-echo", ECHO),
        "loop": Measurement("EchoServer", ECHO),
        "async": Measurement("EchoServer", "/echo.Echo/UnaryAsync"),
        "full": Measurement("MethodServer", FULL_LOOP, "replay", *files, **full),
        "full_async": Measurement("MethodServer", FULL, "replay", *files, **full),
        "bidirectional": Measurement("EchoServer", "/echo.Echo/Stream", "stream"),
        "server_streaming": Measurement("EchoServer", "/echo.Echo/Count", "count"),
        "c_single": Measurement("c-echo", ECHO, "echo", *single),
        "single": Measurement("EchoServer", ECHO, "echo", *single),
        "grpc_cpp": Measurement("grpc-cpp-echo", ECHO),
        "grpc_cpp_full": Measurement("grpc-cpp-echo", FULL, "replay", *files, **full),
        "grpc_swift_full": Measurement("grpc-swift-echo", FULL, "replay", *files, **full),
    }
    return {name: one for name, one in wanted.items() if is_built(one.kind)}


def is_built(kind):
    return kind in ("EchoServer", "MethodServer") or (PROGRAMS / kind).exists()


def check_answers(wanted, servers):
    """Every server gives the same answers: the checksums of what does the same work are equal."""
    for name, group in {
        "rpc_echo": ("c", "loop", "async", "grpc_cpp"),
        "rpc_full": ("full", "full_async", "grpc_cpp_full", "grpc_swift_full"),
    }.items():
        checksums = {one: wanted[one].checksum(servers) for one in group if one in wanted}
        check(len(set(checksums.values())) == 1, f"{name}: the answers differ: {checksums}")
        print_checksum(name, checksums[group[1]])
    print_checksum("rpc_bidirectional", wanted["bidirectional"].checksum(servers, 500))
    print_checksum("rpc_server_streaming", wanted["server_streaming"].checksum(servers, 50))


def report_ours(wanted):
    rate = wanted["loop"].median()
    figure("rpc_calls_per_second", round(rate), "1/s")
    figure("rpc_calls_per_second_min", round(min(wanted["loop"].all())), "1/s")
    figure("rpc_calls_per_second_max", round(max(wanted["loop"].all())), "1/s")
    figure("rpc_async_calls_per_second", round(wanted["async"].median()), "1/s")
    figure("rpc_full_calls_per_second", round(wanted["full"].median()), "1/s")
    figure("rpc_full_async_calls_per_second", round(wanted["full_async"].median()), "1/s")
    figure("rpc_p50_milliseconds", wanted["loop"].median("p50_microseconds") / 1000, "ms")
    figure("rpc_p99_milliseconds", wanted["loop"].median("p99_microseconds") / 1000, "ms")
    streams = {one: wanted[one].median("messages_per_second") for one in ("bidirectional", "server_streaming")}
    for name, value in streams.items():
        figure(f"rpc_{name}_messages_per_second", round(value), "1/s")
    figure("rpc_stream_messages_per_second", round(min(streams.values())), "1/s")
    goal("rpc_calls_per_second", rate, least=250_000)
    goal("rpc_stream_messages_per_second", min(streams.values()), least=1_000_000)


def report_ratio(name, wanted, ours, theirs, least=None, most=None, of="calls_per_second"):
    if theirs not in wanted:
        return
    ratio = wanted[ours].median(of) / wanted[theirs].median(of)
    figure(name, ratio, "ratio")
    goal(name, ratio, least=least, most=most)


def run(world, short):
    rounds, seconds = (1, 0.5) if short else (5, 2)
    servers = Servers(world.folder)
    wanted = measurements(world)
    missing = PEERS - {one.kind for one in wanted.values()}
    if os.environ.get("FOOTFALL_WITHOUT_GRPC_SWIFT"):
        missing -= {"grpc-swift-echo"}
    check(not missing or short, f"not built: {', '.join(sorted(missing))}")
    check_answers(wanted, servers)
    for _ in range(rounds):
        for one in wanted.values():
            one.round(servers, seconds)
    report_ours(wanted)
    for name, label in {"c": "c", "grpc_cpp": "grpc_cpp", "grpc_cpp_full": "grpc_cpp_full",
                        "grpc_swift_full": "grpc_swift_full"}.items():
        if name in wanted:
            figure(f"rpc_{label}_calls_per_second", round(wanted[name].median()), "1/s")
    report_ratio("rpc_loop_vs_c", wanted, "loop", "c", least=0.75)
    report_ratio("rpc_async_vs_c", wanted, "async", "c", least=0.4)
    report_ratio("rpc_full_vs_c", wanted, "full", "c", least=0.35)
    report_ratio("rpc_full_async_vs_c", wanted, "full_async", "c", least=0.2)
    report_ratio("rpc_latency_vs_c", wanted, "single", "c_single", most=1.2, of="p50_microseconds")
    report_ratio("rpc_vs_grpc_cpp", wanted, "loop", "grpc_cpp", least=4)
    report_ratio("rpc_full_vs_grpc_cpp", wanted, "full", "grpc_cpp_full", least=12)
    report_ratio("rpc_full_vs_grpc_swift", wanted, "full", "grpc_swift_full", least=40)
