"""Write keys: rotation and limits, as an administrator and a sender see them."""

import importlib
import time

import grpc

from . import shop
from .harness import equal, fails, test, true
from .suite import CONSUMERS
from .test_services import SCOPES, loaded

CODE = grpc.StatusCode


def keys(world):
    module = importlib.import_module("footfall.ingest.v1.keys_pb2")
    stub = importlib.import_module("footfall.ingest.v1.keys_pb2_grpc").KeysStub
    return module, stub(world.suite.channel("ingest", world.suite.admin_token))


def batch(world, name, count=20):
    m = world.messages.ingest
    now = int(time.time() * 1000)
    return m.CollectRequest(
        context=m.Context(open_id="keys"), sent_ms=now,
        events=[m.Event(name="$page_view", time_ms=now, page_path="pages/keys", event_id=f"keys-{name}-{number}")
                for number in range(count)])


@test("keys: a key is rotated without a gap: both work, then the first is refused, by every service within 5 s")
def rotation(world):
    loaded(world)
    suite, m = world.suite, world.messages.ingest
    make = lambda: suite.ingest().CreateToken(
        m.CreateTokenRequest(app_id=shop.APP, scopes=SCOPES, label="rotated"), timeout=10)
    first, second = make(), make()
    suite.wait_caught_up(world.shop.token)
    for number, key in enumerate((first, second)):
        equal(suite.ingest(key.secret).Collect(batch(world, f"rotation-{number}", 1), timeout=10).accepted, 1, "accepted")
        suite.statuses(key.secret)
    suite.ingest().RevokeToken(m.RevokeTokenRequest(token_id=first.token.token_id), timeout=10)
    begin = time.monotonic()
    fails(CODE.UNAUTHENTICATED, lambda: suite.ingest(first.secret).Collect(batch(world, "rotation-2", 1), timeout=10))
    for name in CONSUMERS:
        while True:
            try:
                fails(CODE.UNAUTHENTICATED, lambda: suite.status(name, first.secret))
                break
            except AssertionError:
                true(time.monotonic() - begin < 5, f"{name} still takes a key revoked 5 s ago")
                time.sleep(0.05)
    equal(suite.ingest(second.secret).Collect(batch(world, "rotation-3", 1), timeout=10).accepted, 1, "accepted")
    suite.statuses(second.secret)


@test("keys: a key over its limit is refused with RESOURCE_EXHAUSTED and a wait after which it is taken")
def limits(world):
    loaded(world)
    suite, m = world.suite, world.messages.ingest
    module, stub = keys(world)
    key = suite.ingest().CreateToken(
        m.CreateTokenRequest(app_id=shop.APP, scopes=SCOPES, label="limited", limits=m.KeyLimits(events_per_second=40)),
        timeout=10)
    collect = suite.ingest(key.secret).Collect
    for number in range(2):
        equal(collect(batch(world, f"limits-{number}"), timeout=10).accepted, 20, "accepted")
    error = fails(CODE.RESOURCE_EXHAUSTED, lambda: collect(batch(world, "limits-2"), timeout=10),
                  "limits.events_per_second", "40")
    wait = int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])
    true(0 < wait <= 1000, f"a pushback of {wait} ms")
    time.sleep(wait / 1000 + 0.02)
    equal(collect(batch(world, "limits-2"), timeout=10).accepted, 20, "accepted")
    request = module.UpdateTokenRequest(token_id=key.token.token_id, label="free")
    updated = stub.UpdateToken(request, timeout=10)
    equal((updated.label, updated.HasField("limits")), ("free", False), "the updated token")
    for number in range(3, 20):
        equal(collect(batch(world, f"limits-{number}"), timeout=10).accepted, 20, "accepted")
    request.limits.bytes_per_second = 10**12 + 1
    fails(CODE.INVALID_ARGUMENT, lambda: stub.UpdateToken(request, timeout=10), "limits.bytes_per_second", str(10**12))
    request = module.UpdateTokenRequest(token_id="none")
    fails(CODE.NOT_FOUND, lambda: stub.UpdateToken(request, timeout=10), "none")
    other = importlib.import_module("footfall.ingest.v1.keys_pb2_grpc").KeysStub(suite.channel("ingest", key.secret))
    fails(CODE.PERMISSION_DENIED, lambda: other.UpdateToken(request, timeout=10), "admin")
