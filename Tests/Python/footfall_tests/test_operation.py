"""What the people who run the services need: channelz, TLS, names of calls, the access log, metrics."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .harness import equal, fails, test, true, until
from .suite import BINARIES, ROOT, SERVICES, Process, connect, free_ports
from .test_standard import reflection


class Channelz:
    """grpc.channelz.v1.Channelz of one service, known by reflection alone."""

    def __init__(self, world, name, token):
        self.channel = world.suite.channel(name, token)
        self.service = DescriptorPool(reflection(self.channel, "v1")).FindServiceByName("grpc.channelz.v1.Channelz")

    def call(self, method, **request):
        descriptor = self.service.FindMethodByName(method)
        request_class = message_factory.GetMessageClass(descriptor.input_type)
        answer_class = message_factory.GetMessageClass(descriptor.output_type)
        stub = self.channel.unary_unary(
            f"/grpc.channelz.v1.Channelz/{method}", request_serializer=request_class.SerializeToString,
            response_deserializer=answer_class.FromString)
        return stub(json_format.ParseDict(request, request_class()), timeout=10)


def open_channel(world):
    """Consumers know the administrator's token a moment after they have begun to follow ingest."""
    for name in SERVICES:
        channelz = Channelz(world, name, world.suite.admin_token)
        until(lambda: answers(channelz), what=f"{name} knows the administrator")


def answers(channelz):
    try:
        channelz.call("GetServers")
        return True
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAUTHENTICATED:
            raise
        return False


@test("channelz: each service shows its server, its sockets page by page, and its channel to ingest")
def channelz(world):
    open_channel(world)
    for name in SERVICES:
        channelz = Channelz(world, name, world.suite.admin_token)
        before = channelz.call("GetServers").server
        equal(len(before), 1, f"servers of {name}")
        server = before[0]
        for _ in range(5):
            channelz.call("GetServers")
        after = channelz.call("GetServer", server_id=server.ref.server_id).server
        true(after.data.calls_started >= server.data.calls_started + 6, f"{name}: calls started: {after.data}")
        true(after.data.calls_succeeded >= server.data.calls_succeeded + 6, f"{name}: calls succeeded: {after.data}")
        true(abs(after.data.last_call_started_timestamp.seconds - time.time()) < 60, f"{name}: time: {after.data}")

        others = [connect(world.suite.ports[name]) for _ in range(3)]
        for other in others:
            health_pb2_grpc.HealthStub(other).Check(health_pb2.HealthCheckRequest(), timeout=10)
        everything = channelz.call("GetServerSockets", server_id=server.ref.server_id)
        true(everything.end, f"{name}: all sockets fit one page")
        ids = [ref.socket_id for ref in everything.socket_ref]
        true(len(ids) >= 4 and ids == sorted(ids), f"{name}: sockets: {ids}")
        pages, start = [], 0
        while True:
            page = channelz.call("GetServerSockets", server_id=server.ref.server_id, start_socket_id=start, max_results=2)
            true(len(page.socket_ref) <= 2, f"{name}: a page of {len(page.socket_ref)}")
            pages += [ref.socket_id for ref in page.socket_ref]
            if page.end:
                break
            start = pages[-1] + 1
        equal(pages, ids, f"{name}: pages of two")
        sockets = [channelz.call("GetSocket", socket_id=number).socket for number in ids]
        for socket in sockets:
            equal(socket.local.tcpip_address.port, world.suite.ports[name], f"{name}: local port")
            equal(bytes(socket.remote.tcpip_address.ip_address), b"\x7f\x00\x00\x01", f"{name}: remote address")
            true(socket.data.remote_flow_control_window.value > 0, f"{name}: window: {socket.data}")
        busiest = max(sockets, key=lambda socket: socket.data.streams_started)
        true(busiest.data.streams_succeeded >= 6 and busiest.data.messages_received >= 6, f"{name}: {busiest.data}")
        for other in others:
            other.close()

        channels = channelz.call("GetTopChannels").channel
        if name == "ingest":
            equal(len(channels), 0, "channels of ingest")
            continue
        targets = [channel.data.target for channel in channels]
        true(f"127.0.0.1:{world.suite.ports['ingest']}" in targets, f"{name}: targets: {targets}")
        channel = channels[targets.index(f"127.0.0.1:{world.suite.ports['ingest']}")]
        true(channel.data.calls_started >= 1, f"{name}: {channel.data}")
        subchannel = channelz.call("GetSubchannel", subchannel_id=channel.subchannel_ref[0].subchannel_id).subchannel
        socket = channelz.call("GetSocket", socket_id=subchannel.socket_ref[0].socket_id).socket
        equal(socket.remote.tcpip_address.port, world.suite.ports["ingest"], f"{name}: port of ingest")
        true(socket.data.messages_received >= 1, f"{name}: {socket.data}")


@test("channelz: only for administrators; unknown numbers are NOT_FOUND")
def channelz_refused(world):
    open_channel(world)
    for name in SERVICES:
        channelz = Channelz(world, name, world.suite.admin_token)
        for method in ("GetServer", "GetChannel", "GetSubchannel", "GetSocket"):
            field = method[3:].lower() + "_id"
            fails(grpc.StatusCode.NOT_FOUND, lambda: channelz.call(method, **{field: 999_999_999}), field)
        anonymous = Channelz(world, name, None)
        fails(grpc.StatusCode.UNAUTHENTICATED, lambda: anonymous.call("GetServers"))
    reader = world.suite.create_token(["query:read"])
    fails(grpc.StatusCode.PERMISSION_DENIED, lambda: Channelz(world, "ingest", reader).call("GetServers"))


@test("request id: a caller gets its own back, and one of ours where a call failed")
def request_id(world):
    stub = health_pb2_grpc.HealthStub(world.suite.channel("ingest"))

    def check(service, *metadata):
        future = stub.Check.future(health_pb2.HealthCheckRequest(service=service), timeout=10, metadata=metadata)
        error = future.exception()
        return error, dict(future.initial_metadata()), dict(future.trailing_metadata())

    error, initial, trailing = check("", ("x-request-id", "mine-1"))
    equal((error, initial.get("x-request-id")), (None, "mine-1"), "a call that succeeds")
    error, initial, trailing = check("")
    true(error is None and "x-request-id" not in {**initial, **trailing}, "nothing where nobody asked")
    error, initial, trailing = check("unknown", ("x-request-id", "mine-2"))
    equal(trailing.get("x-request-id"), "mine-2", "a call that fails")
    error, initial, trailing = check("unknown", ("x-request-id", "x" * 129))
    true(re.fullmatch("[0-9a-f]{32}", trailing.get("x-request-id", "")), f"a name that is too long: {trailing}")


class Secrets:
    """Certificates for localhost, made now."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "openssl.cnf").write_text(
            "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=test\n[ca]\nbasicConstraints=critical,CA:TRUE\n"
            "[leaf]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")

    def path(self, name):
        return str(self.folder / name)

    def bytes(self, name):
        return (self.folder / name).read_bytes()

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)

    def make(self, name, by=None):
        """NAME.pem and NAME.key: of somebody who signs, or signed `by` another."""
        common = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf",
                  "-subj", f"/CN={name}", "-keyout", f"{name}.key"]
        if by is None:
            self.run("req", "-x509", *common, "-extensions", "ca", "-days", "1", "-out", f"{name}.pem")
            return self
        self.run("req", *common, "-out", f"{name}.csr")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
                 "-extfile", "openssl.cnf", "-extensions", "leaf", "-days", "1", "-out", f"{name}.pem")
        return self


@contextlib.contextmanager
def running(*processes):
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.kill()


def secure(port, **credentials):
    return grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(**credentials))


def check(channel):
    try:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status
    finally:
        channel.close()


@test("TLS: python calls a service by it, a consumer follows ingest by it, clients must show a certificate, a new one is read")
def tls(world):
    folder = tempfile.mkdtemp(prefix="footfall-tls-")
    secrets = Secrets(folder).make("ca").make("server", "ca").make("client", "ca").make("ca2").make("renewed", "ca2")
    port, metrics, port2, metrics2 = free_ports(4)
    server = ["--tls-certificate-file", secrets.path("server.pem"), "--tls-key-file", secrets.path("server.key"),
              "--tls-client-ca-file", secrets.path("ca.pem")]
    shared = ["--data", secrets.path("data"), "--event-loops", "1"]
    ingest = Process("ingest", ["--port", str(port), "--metrics-port", str(metrics), *shared, *server], port,
                     secrets.path("ingest.log"))
    live = Process(
        "live-stats",
        ["--port", str(port2), "--metrics-port", str(metrics2), *shared, "--ingest-port", str(port), "--ingest-ca-file",
         secrets.path("ca.pem"), "--ingest-tls-certificate-file", secrets.path("client.pem"), "--ingest-tls-key-file",
         secrets.path("client.key")], port2, secrets.path("live.log"))
    identity = {"private_key": secrets.bytes("client.key"), "certificate_chain": secrets.bytes("client.pem")}
    try:
        with running(ingest, live):
            ingest.wait_listening()
            live.wait_listening()
            equal(check(secure(port, root_certificates=secrets.bytes("ca.pem"), **identity)), 1, "with all it needs")
            for credentials in ({"root_certificates": secrets.bytes("ca.pem")},
                                {"root_certificates": secrets.bytes("ca2.pem"), **identity}):
                fails(grpc.StatusCode.UNAVAILABLE, lambda: check(secure(port, **credentials)))
            fails(grpc.StatusCode.UNAVAILABLE, lambda: check(connect(port)))
            until(lambda: "following the log" in pathlib.Path(secrets.path("live.log")).read_text(),
                  what="live-stats follows ingest by TLS")
            shutil.copy(secrets.path("renewed.key"), secrets.path("server.key"))
            shutil.copy(secrets.path("renewed.pem"), secrets.path("server.pem"))
            until(lambda: trusted(port, root_certificates=secrets.bytes("ca2.pem"), **identity),
                  what="the new certificate")
            text = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10).read().decode()
            for line in (r'footfall_tls_handshakes_total\{result="ok"\} [1-9]',
                         r'footfall_tls_handshakes_total\{result="failed"\} [1-9]',
                         r'footfall_tls_reloads_total\{result="ok"\} [1-9]',
                         r"footfall_tls_certificate_expiry_seconds [1-9]"):
                true(re.search(f"^{line}", text, re.M), f"metrics lack {line}")
            # Here every metric of the RPC layer has a value: the document names them all.
            for name in re.findall(r"`((?:footfall|process)_[a-z_]+)`", (ROOT / "docs" / "rpc.md").read_text()):
                true(f"\n# TYPE {name} " in f"\n{text}", f"docs/rpc.md names {name}, the metrics do not")
        os.chmod(secrets.path("server.key"), 0o644)
        done = subprocess.run([BINARIES / "ingest", *shared, *server, "--port", "0", "--metrics-port", "0"],
                              capture_output=True, text=True, timeout=20)
        equal(done.returncode, 1, "status with a key that everybody may read")
        true("readable by everybody" in done.stderr, done.stderr)
        done = subprocess.run([BINARIES / "ingest", "--tls-certificate-file", "x"], capture_output=True, text=True, timeout=20)
        equal(done.returncode, 2, "status with a certificate without key")
        true("--tls-key-file" in done.stderr, done.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trusted(port, **credentials):
    try:
        return check(secure(port, **credentials)) == 1
    except grpc.RpcError:
        return False


@test("access log: a share of 1 gives each call one line, whatever a stranger sends")
def access_log(world):
    folder = tempfile.mkdtemp(prefix="footfall-log-")
    port, metrics = free_ports(2)
    log = pathlib.Path(folder) / "log"
    process = Process(
        "ingest", ["--port", str(port), "--metrics-port", str(metrics), "--data", f"{folder}/data", "--event-loops", "1",
                   "--access-log-sample", "1"], port, str(log))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    try:
        with running(process):
            process.wait_listening()
            channel = connect(port)
            stub = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=10, metadata=(
                ("x-request-id", "log-me"), ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")))
            fails(grpc.StatusCode.NOT_FOUND, lambda: stub.Check(
                health_pb2.HealthCheckRequest(service="a\nerror ingest: forged\x1b[31m"), timeout=10))
            channel.close()
            until(lambda: "log-me" in log.read_text() and "status=NOT_FOUND" in log.read_text(), what="two lines")
            lines = [line for line in log.read_text().splitlines() if "/grpc.health.v1.Health/Check" in line]
            line = next(line for line in lines if "request_id=log-me" in line)
            for part in ("status=OK", f"trace_id={trace}", "request_bytes=0", "response_bytes=2", "token=-", "peer=127.0.0.1:"):
                true(part in line, f"{part} in {line}")
            true("forged" not in log.read_text() or "\nerror ingest: forged" not in log.read_text(), "a forged line")
            text = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10).read().decode()
            labels = r'\{service="grpc.health.v1.Health",method="Check"\}'
            for name, value in (("request_messages", "[2-9]"), ("response_messages", "[1-9]"), ("response_bytes", "[2-9]")):
                true(re.search(rf"^footfall_rpc_{name}_total{labels} {value}", text, re.M), f"metrics lack {name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
