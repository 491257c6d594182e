"""Starts the real executables on free ports with a temporary data folder."""

import importlib
import importlib.resources
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARIES = pathlib.Path(os.environ.get("FOOTFALL_BINARIES", ROOT / ".build" / "release"))
SERVICES = ("ingest", "user-profile", "query", "live-stats")
CONSUMERS = SERVICES[1:]
MESSAGE_BYTES_MAX = 4 << 20


def generate():
    """Generates code from proto/ with grpcio-tools into a temporary folder and puts it on the path."""
    from grpc_tools import protoc

    folder = tempfile.mkdtemp(prefix="footfall-proto-")
    files = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto" / "footfall").rglob("*.proto"))
    include = importlib.resources.files("grpc_tools") / "_proto"
    status = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"-I{include}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        + files
    )
    if status != 0:
        raise RuntimeError(f"grpcio-tools does not take proto/: status {status}")
    sys.path.insert(0, folder)
    return folder


class Messages:
    """The generated modules, by short name."""

    def __init__(self):
        self.folder = generate()
        for name, module in {
            "common": "common.v1.common",
            "ingest": "ingest.v1.ingest",
            "ledger": "ingest.v1.ledger",
            "privacy": "ingest.v1.privacy",
            "plan": "ingest.v1.plan",
            "quarantine": "ingest.v1.quarantine",
            "sources": "ingest.v1.sources",
            "profile": "profile.v1.profile",
            "query": "query.v1.query",
            "paths": "query.v1.paths",
            "analysis": "query.v1.events",
            "retention": "query.v1.retention",
            "users": "query.v1.users",
            "performance": "query.v1.performance",
            "visits": "query.v1.visits",
            "pages": "query.v1.pages",
            "traffic": "query.v1.traffic",
            "reports": "query.v1.reports",
            "query_store": "query.v1.store",
            "live": "live.v1.live",
            "log": "ingest.v1.log",
        }.items():
            setattr(self, name, importlib.import_module(f"footfall.{module}_pb2"))
            setattr(self, name + "_rpc", importlib.import_module(f"footfall.{module}_pb2_grpc"))

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count):
    """Ports that nobody listens on now. All are held at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def connect(port, token=None, **options):
    """A channel to a port of this machine that sends the token with every call."""
    arguments = {
        "grpc.max_receive_message_length": 64 << 20,
        "grpc.max_send_message_length": 64 << 20,
        "grpc.use_local_subchannel_pool": 1,
        "grpc.initial_reconnect_backoff_ms": 50,
        "grpc.min_reconnect_backoff_ms": 50,
        "grpc.max_reconnect_backoff_ms": 200,
        "grpc.enable_retries": 0,
    }
    arguments.update(options)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=list(arguments.items()))
    return grpc.intercept_channel(channel, Authorization(token)) if token else channel


class Authorization(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to each call."""

    def __init__(self, token):
        self.entry = ("authorization", f"Bearer {token}")

    def intercept(self, continuation, details, request):
        metadata = list(details.metadata or []) + [self.entry]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept
    intercept_stream_unary = intercept_stream_stream = intercept


class Process:
    """One executable, its port and its log."""

    def __init__(self, name, arguments, port, log, cpus=None):
        self.name, self.arguments, self.port, self.log_path = name, arguments, port, log
        self.cpus = cpus
        # What the process gets beside our own variables, and what runs it.
        self.environment, self.wrapper = {}, []
        self.child = None

    def start(self):
        command = self.wrapper + [str(BINARIES / self.name)] + self.arguments
        if self.cpus is not None:
            command = ["taskset", "-c", self.cpus] + command
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FOOTFALL_")}
        environment.update(self.environment)
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        return self

    @property
    def running(self):
        return self.child is not None and self.child.poll() is None

    def wait_listening(self, seconds=20):
        """Until the port takes connections; fails with the log's end where the process died."""
        end = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if not self.running or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} does not listen on {self.port}:\n{self.log_tail()}") from None
            time.sleep(0.005)

    def log_tail(self):
        return pathlib.Path(self.log_path).read_bytes()[-3000:].decode(errors="replace")

    def kill(self):
        """SIGKILL, and gone when this returns."""
        if self.running:
            self.child.send_signal(signal.SIGKILL)
        if self.child is not None:
            self.child.wait()

    def terminate(self, seconds=20):
        """SIGTERM; the exit status."""
        if self.running:
            self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=seconds)

    def memory(self):
        """Resident and proportional memory in bytes."""
        resident = proportional = 0
        for line in pathlib.Path(f"/proc/{self.child.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                resident = int(line.split()[1]) * 1024
            if line.startswith("Pss:"):
                proportional = int(line.split()[1]) * 1024
        return resident, proportional


class Suite:
    """The four services over one data folder."""

    def __init__(self, messages, cpus=None, extra=(), event_loops=1):
        self.messages = messages
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="footfall-suite-"))
        self.data = self.folder / "data"
        ports = free_ports(2 * len(SERVICES))
        self.ports = dict(zip(SERVICES, ports))
        metrics = dict(zip(SERVICES, ports[len(SERVICES):]))
        self.processes = {}
        for name in SERVICES:
            arguments = [
                "--port", str(self.ports[name]), "--metrics-port", str(metrics[name]), "--data", str(self.data),
                "--event-loops", str(event_loops), "--log-level", "info",
            ]
            if name != "ingest":
                arguments += [
                    "--ingest-host", "127.0.0.1", "--ingest-port", str(self.ports["ingest"]),
                    "--ingest-token-file", str(self.data / "service.token"),
                ]
            self.processes[name] = Process(
                name, arguments + list(extra), self.ports[name], str(self.folder / f"{name}.log"), cpus)
        self.metrics_ports = metrics
        self.channels = {}

    def start(self, names=SERVICES):
        for name in names:
            self.processes[name].start()
            self.processes[name].wait_listening()
            if name == "ingest":
                self.admin_token = self.read_admin_token()
        return self

    def read_admin_token(self):
        path = self.data / "admin.token"
        end = time.monotonic() + 10
        while not (path.exists() and path.read_text().strip()):
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was not written")
            time.sleep(0.01)
        return path.read_text().strip()

    def channel(self, name, token=None, **options):
        key = (name, token, tuple(sorted(options.items())))
        if key not in self.channels:
            self.channels[key] = connect(self.ports[name], token, **options)
        return self.channels[key]

    def ingest(self, token=None):
        return self.messages.ingest_rpc.IngestStub(self.channel("ingest", token or self.admin_token))

    def completeness(self, token):
        return self.messages.ledger_rpc.CompletenessStub(self.channel("ingest", token))

    def privacy(self, token=None):
        return self.messages.privacy_rpc.PrivacyStub(self.channel("ingest", token or self.admin_token))

    def events(self, token=None):
        return self.messages.plan_rpc.EventManagementStub(self.channel("ingest", token or self.admin_token))

    def quarantine(self, token=None):
        channel = self.channel("ingest", token or self.admin_token)
        return self.messages.quarantine_rpc.QuarantineStub(channel)

    def sources(self, token=None):
        return self.messages.sources_rpc.SourcesStub(self.channel("ingest", token or self.admin_token))

    def query(self, token):
        return self.messages.query_rpc.QueryStub(self.channel("query", token))

    def live(self, token):
        return self.messages.live_rpc.LiveStatsStub(self.channel("live-stats", token))

    def profile(self, token):
        return self.messages.profile_rpc.UserProfileStub(self.channel("user-profile", token))

    def create_app(self, app_id, platform=1, **fields):
        app = self.messages.ingest.App(app_id=app_id, name=f"app {app_id}", platform=platform, **fields)
        return self.ingest().CreateApp(self.messages.ingest.CreateAppRequest(app=app), timeout=10)

    def create_token(self, scopes, app_id=""):
        request = self.messages.ingest.CreateTokenRequest(app_id=app_id, scopes=scopes, label="test")
        return self.ingest().CreateToken(request, timeout=10).secret

    def statuses(self, token):
        """How far each consumer is, by service name."""
        return {name: self.status(name, token) for name in CONSUMERS}

    def head_offset(self):
        return self.ingest().GetLogStatus(self.messages.ingest.GetLogStatusRequest(), timeout=5).head_offset

    def status(self, name, token):
        """How far one consumer is."""
        m = self.messages
        if name == "query":
            return self.query(token).GetStatus(m.query.GetQueryStatusRequest(), timeout=5)
        if name == "live-stats":
            return self.live(token).GetStatus(m.live.GetLiveStatusRequest(), timeout=5)
        return self.profile(token).GetStatus(m.profile.GetProfileStatusRequest(), timeout=5)

    def wait_caught_up_one(self, name, token, seconds=60, head=None):
        """Until a consumer has applied what the log holds now."""
        head = self.head_offset() if head is None else head
        end = time.monotonic() + seconds
        while True:
            try:
                last = self.status(name, token)
                if last.next_offset >= head:
                    return head
            except grpc.RpcError as error:
                last = error
            if time.monotonic() > end:
                raise AssertionError(f"{name} has not come to offset {head} within {seconds} s: {last}")
            time.sleep(0.02)

    def wait_caught_up(self, token, seconds=60):
        """Until all three consumers have applied what the log holds now; the log's end."""
        head = self.head_offset()
        for name in CONSUMERS:
            self.wait_caught_up_one(name, token, seconds, head)
        return head

    def stop(self, keep=False):
        for channel in self.channels.values():
            channel.close()
        for process in self.processes.values():
            process.kill()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
