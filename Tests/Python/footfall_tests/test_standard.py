"""The standard services: reflection (v1 and v1alpha), health, and the end on SIGTERM of each service."""

import threading
import time
import types
import urllib.request

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from . import shop
from .harness import equal, fails, test, true
from .suite import SERVICES, Suite
from .test_services import loaded

FULL_NAMES = {
    "ingest": "footfall.ingest.v1.Ingest", "user-profile": "footfall.profile.v1.UserProfile",
    "query": "footfall.query.v1.Query", "live-stats": "footfall.live.v1.LiveStats",
}


def reflection(channel, version):
    """A database of descriptors by a version of the protocol; the messages of both are the same on the wire."""
    database = ProtoReflectionDescriptorDatabase(channel)
    database._stub = types.SimpleNamespace(ServerReflectionInfo=channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString))
    return database


class Dynamic:
    """Calls a service that is known by reflection alone, with requests and answers as JSON values."""

    def __init__(self, world, name, version):
        self.channel = world.suite.channel(name, world.shop.token)
        self.pool = DescriptorPool(reflection(self.channel, version))
        self.service = self.pool.FindServiceByName(FULL_NAMES[name])

    def call(self, method, request, streaming=False):
        descriptor = self.service.FindMethodByName(method)
        request_class = message_factory.GetMessageClass(descriptor.input_type)
        answer_class = message_factory.GetMessageClass(descriptor.output_type)
        make = self.channel.unary_stream if streaming else self.channel.unary_unary
        stub = make(f"/{self.service.full_name}/{method}", request_serializer=request_class.SerializeToString,
                    response_deserializer=answer_class.FromString)
        answer = stub(json_format.ParseDict(request, request_class()), timeout=10)
        if streaming:
            first = next(answer)
            answer.cancel()
            answer = first
        return json_format.MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@test("reflection: v1 and v1alpha list the services of each process")
def list_services(world):
    loaded(world)
    for name in SERVICES:
        channel = world.suite.channel(name)
        for version in ("v1", "v1alpha"):
            services = set(reflection(channel, version).get_services())
            true({FULL_NAMES[name], "grpc.health.v1.Health"} <= services, f"{name} by {version}: {sorted(services)}")
        fails(grpc.StatusCode.NOT_FOUND, lambda: unknown_symbol(channel))


def unknown_symbol(channel):
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    answer = next(call(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such")]), timeout=10))
    error = Answered(answer.error_response.error_code, answer.error_response.error_message)
    raise error


class Answered(grpc.RpcError):
    """Reflection tells an error inside its answer."""

    def __init__(self, number, message):
        codes = {code.value[0]: code for code in grpc.StatusCode}
        self.code, self.details = lambda: codes[number], lambda: message


@test("reflection: the same calls, with nothing known but the address and the token")
def dynamic_calls(world):
    loaded(world)
    for version in ("v1", "v1alpha"):
        dates = {"begin_date": shop.day(2).isoformat(), "end_date": shop.day(1).isoformat()}
        ingest = Dynamic(world, "ingest", version)
        steps = shop.story(0)[:1]
        batch = json_format.MessageToDict(shop.batch(world.messages, 0, steps), preserving_proto_field_name=True)
        answer = ingest.call("Collect", batch)
        equal((answer["accepted"], answer["duplicates"]), (1, 1), f"{version}: Collect")
        query = Dynamic(world, "query", version)
        answer = query.call("GetTrend", {"app_id": shop.APP, "range": dates, "granularity": "GRANULARITY_ALL"})
        equal(int(answer["points"][0]["metrics"]["event_cnt"]), world.shop.events, f"{version}: GetTrend")
        answer = query.call("GetFunnel", {
            "app_id": shop.APP, "range": dates, "steps": [{"events": ["$launch"]}, {"events": ["purchase"]}]})
        equal([int(step["users"]) for step in answer["steps"]], [60, 10], f"{version}: GetFunnel")
        answer = Dynamic(world, "user-profile", version).call(
            "GetProfile", {"app_id": shop.APP, "open_id": shop.open_id(1)})
        equal(int(answer["event_cnt"]), len(shop.story(1)), f"{version}: GetProfile")
        live = Dynamic(world, "live-stats", version)
        begin = shop.at(shop.day(1), 15, 0)
        answer = live.call("GetSeries", {
            "app_id": shop.APP, "begin_ms": begin, "end_ms": begin + 20 * 60_000, "bucket_minutes": 10})
        equal(sum(int(point["visit_pv"]) for point in answer["points"]), 20, f"{version}: GetSeries")
        true("points" in live.call("Watch", {"app_id": shop.APP}, streaming=True), f"{version}: Watch")


@test("health: Check is SERVING for each process and its service, NOT_FOUND for others; Watch tells at once")
def health(world):
    loaded(world)
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in SERVICES:
        stub = health_pb2_grpc.HealthStub(world.suite.channel(name))
        for service in ("", FULL_NAMES[name]):
            equal(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status, serving, name)
        fails(grpc.StatusCode.NOT_FOUND, lambda: stub.Check(health_pb2.HealthCheckRequest(service="no.Such"), timeout=5))
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=5)
        equal(next(watch).status, serving, f"{name}: Watch")
        watch.cancel()
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="no.Such"), timeout=5)
        equal(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, f"{name}: Watch of a stranger")
        watch.cancel()


@test("metrics: each process answers Prometheus text on its metrics port")
def metrics(world):
    loaded(world)
    for name in SERVICES:
        url = f"http://127.0.0.1:{world.suite.metrics_ports[name]}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            equal(answer.status, 200, name)
            text = answer.read().decode()
        samples = [line for line in text.splitlines() if line and not line.startswith("#")]
        true(samples, f"{name}: no sample in {text[:200]!r}")
        for line in samples:
            float(line.rsplit(" ", 1)[1])


@test("start: consumers that start before ingest wait, and count everything once it is there")
def consumers_first(world):
    suite = Suite(world.messages)
    try:
        for name in ("query", "live-stats", "user-profile"):
            suite.processes[name].start().wait_listening()
        time.sleep(0.5)
        for name in ("query", "live-stats", "user-profile"):
            true(suite.processes[name].running, f"{name} ended:\n{suite.processes[name].log_tail()}")
        suite.start(["ingest"])
        suite.create_app(shop.APP)
        token = suite.create_token(["ingest:write", "query:read", "live:read", "profile:read"], shop.APP)
        suite.ingest(token).Collect(shop.batch(world.messages, 0, shop.story(0)), timeout=10)
        suite.wait_caught_up(token)
        m = world.messages
        answer = suite.query(token).GetTrend(m.query.GetTrendRequest(
            app_id=shop.APP, granularity=4,
            range=m.common.DateRange(begin_date=shop.day(2).isoformat(), end_date=shop.day(1).isoformat())), timeout=10)
        equal(answer.points[0].metrics.event_cnt, len(shop.story(0)), "event_cnt")
        answer = suite.profile(token).GetProfile(
            m.profile.GetProfileRequest(app_id=shop.APP, open_id=shop.open_id(0)), timeout=10)
        equal(answer.event_cnt, len(shop.story(0)), "event_cnt of the profile")
        drain_all(suite)
    finally:
        suite.stop()


def drain_all(suite):
    """SIGTERM to each service, consumers last: NOT_SERVING or gone at once, exit status 0."""
    for name in SERVICES:
        seen = []
        watch = health_pb2_grpc.HealthStub(suite.channel(name)).Watch(
            health_pb2.HealthCheckRequest(service=""), timeout=30)
        equal(next(watch).status, health_pb2.HealthCheckResponse.SERVING, name)
        reader = threading.Thread(target=read_states, args=(watch, seen))
        reader.start()
        equal(suite.processes[name].terminate(), 0, f"{name}: exit status\n{suite.processes[name].log_tail()}")
        reader.join(timeout=10)
        equal(seen[:1], [health_pb2.HealthCheckResponse.NOT_SERVING], f"{name}: what Watch told last")


def read_states(watch, seen):
    try:
        for answer in watch:
            seen.append(answer.status)
    except grpc.RpcError:
        pass  # The process is gone: the end of the states.


@test("start: a service refuses an unknown flag and a bad value with a message that names it, and prints its help")
def flags(world):
    import subprocess

    from .suite import BINARIES

    for name in SERVICES:
        for arguments, mention in ((["--no-such-flag"], "no-such-flag"), (["--port", "70000"], "port")):
            result = subprocess.run([BINARIES / name] + arguments, capture_output=True, text=True, timeout=20)
            true(result.returncode != 0, f"{name} {arguments} must fail")
            true(mention in result.stderr, f"{name} {arguments} must name it: {result.stderr!r}")
        result = subprocess.run([BINARIES / name, "--help"], capture_output=True, text=True, timeout=20)
        equal(result.returncode, 0, f"{name} --help")
        true("--data" in result.stdout and "FOOTFALL_DATA" in result.stdout, f"{name} --help: {result.stdout[:300]!r}")


@test("start: two processes on one data file: the second refuses to start")
def locked(world):
    import subprocess

    from .suite import BINARIES, free_ports

    loaded(world)
    for name in SERVICES:
        process = world.suite.processes[name]
        arguments = list(process.arguments)
        ports = free_ports(2)
        arguments[arguments.index("--port") + 1] = str(ports[0])
        arguments[arguments.index("--metrics-port") + 1] = str(ports[1])
        result = subprocess.run([BINARIES / name] + arguments, capture_output=True, text=True, timeout=20)
        true(result.returncode != 0, f"a second {name} started")
        true(process.running, f"{name} died of the second")
