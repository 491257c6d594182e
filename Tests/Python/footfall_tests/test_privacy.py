"""Consent and privacy at the door, from python."""

import pathlib
import socket
import threading

import grpc

from . import shop
from .harness import equal, fails, test, true, until
from .suite import connect
from .test_ledger import Desk, by_reason, records

CODE = grpc.StatusCode


def set_consent(desk, state, user="u", purpose="analytics", token=None, app=""):
    m = desk.messages.privacy
    request = m.SetConsentRequest(app_id=app, open_id=user, purpose=purpose, state=state)
    return desk.suite.privacy(token or desk.token).SetConsent(request, timeout=10)


def get_consent(desk, user="u", token=None, app=""):
    request = desk.messages.privacy.GetConsentRequest(app_id=app, open_id=user)
    return desk.suite.privacy(token or desk.token).GetConsent(request, timeout=10)


def set_rules(desk, **rules):
    m = desk.messages.privacy
    request = m.SetPrivacyRulesRequest(rules=m.PrivacyRules(app_id=desk.app, **rules))
    return desk.suite.privacy().SetPrivacyRules(request, timeout=10)


@test("privacy: a user who takes consent back is refused by index, and is taken again once it is given")
def consent(world):
    desk = Desk(world, "consent")
    m = world.messages.privacy
    first = desk.request([1, 2])
    equal(desk.collect(first, timeout=10).accepted, 2, "accepted")
    answer = set_consent(desk, m.CONSENT_STATE_WITHDRAWN)
    equal((answer.purpose, answer.state), ("analytics", m.CONSENT_STATE_WITHDRAWN), "the state")
    refused = desk.send([3, 4])
    equal(refused.accepted, 0, "accepted")
    equal([(one.index, one.field, one.reason) for one in refused.rejected],
          [(0, "context.open_id", "no_consent"), (1, "context.open_id", "no_consent")], "rejected")
    again = desk.collect(first, timeout=10)
    equal((again.accepted, again.duplicates), (2, 2), "the retry of what is in the log")
    equal(desk.send([1], user="other", device="other").accepted, 1, "another user's")
    set_consent(desk, m.CONSENT_STATE_GRANTED)
    equal(desk.send([5]).accepted, 1, "accepted")
    total = desk.ledger().total
    equal(by_reason(total.rejected), {"no_consent": 2}, "rejected by reason")
    equal((total.missing, total.accepted), (0, 4), "missing and accepted")
    held = get_consent(desk)
    equal([one.state for one in held.history], [m.CONSENT_STATE_GRANTED, m.CONSENT_STATE_WITHDRAWN], "history")
    true(held.events_are_taken, "events are taken")
    true(all(one.token_id and one.token_id in desk.token for one in held.history), "who changed it")
    equal({one.purpose for one in held.states}, {"analytics", "marketing", "personalization"}, "purposes")
    kinds = [record.WhichOneof("body") for record in records(desk)]
    equal(kinds.count("consent"), 2, "records of consent")
    record = m.ConsentRecord.FromString(next(r.consent for r in records(desk) if r.WhichOneof("body") == "consent"))
    equal((record.app_id, record.open_id, record.state), ("consent", "u", m.CONSENT_STATE_WITHDRAWN), "the record")
    # The other services pass the records by.
    world.suite.wait_caught_up(world.suite.create_token(["query:read", "live:read", "profile:read"]))


@test("privacy: an app that requires consent takes nobody's events before")
def require_consent(world):
    desk = Desk(world, "consent-first")
    m = world.messages.privacy
    set_rules(desk, consent_default=m.CONSENT_DEFAULT_REQUIRE_GRANTED)
    equal([one.reason for one in desk.send([1]).rejected], ["no_consent"], "rejected")
    true(not get_consent(desk).events_are_taken, "events are not taken")
    set_consent(desk, m.CONSENT_STATE_GRANTED)
    ingest = world.suite.processes["ingest"]
    ingest.kill()
    ingest.start().wait_listening()
    equal(desk.collect(desk.request([1]), timeout=10, wait_for_ready=True).accepted, 1, "accepted after kill -9")


@test("privacy: forbidden values are told, counted, and not in the log")
def removal(world):
    desk = Desk(world, "removal")
    m, i = world.messages.privacy, world.messages.ingest
    set_rules(desk, denied_fields=["mobile", "city"], patterns=[m.PRIVACY_PATTERN_PHONE, m.PRIVACY_PATTERN_EMAIL])
    request = desk.request([1, 2])
    request.context.city = "Hangzhou"
    for name, value in (("mobile", "none"), ("note", "call 138 1234 5678"), ("sku", "a-1")):
        field = request.events[0].fields.add(name=name)
        field.value.string_value = value
    answer = desk.collect(request, timeout=10)
    equal(answer.accepted, 2, "accepted")
    equal(
        [(one.index if one.HasField("index") else None, one.field, one.rule) for one in answer.removed_fields],
        [(None, "context.city", "denied"), (0, "fields.mobile", "denied"), (0, "fields.note", "phone")], "removed")
    stored = [i.CollectRequest.FromString(record.batch) for record in records(desk) if record.batch]
    equal([[field.name for field in event.fields] for event in stored[0].events], [["sku"], []], "stored fields")
    equal(stored[0].context.city, "", "city")
    equal(by_reason(desk.ledger().total.removed), {"denied": 2, "phone": 1}, "removed by rule")
    again = desk.collect(request, timeout=10)
    equal((again.accepted, again.duplicates), (2, 2), "the retry")
    set_rules(desk)
    again = desk.collect(request, timeout=10)
    equal((again.accepted, again.duplicates, len(again.quarantined)), (2, 2, 0), "the retry under other rules")
    world.suite.wait_caught_up(world.suite.create_token(["query:read", "live:read", "profile:read"]))


@test("privacy: rules are answered as set, and each refusal names its field")
def rules(world):
    desk = Desk(world, "rules")
    m = world.messages.privacy
    made = set_rules(desk, denied_fields=["mobile"], lateness_ms=3_600_000, oversize=m.OVERSIZE_POLICY_REMOVE)
    get = desk.suite.privacy(desk.token).GetPrivacyRules
    equal(get(m.GetPrivacyRulesRequest(), timeout=5), made, "the rules, by a token of the app")
    late = desk.request([1])
    late.events[0].time_ms -= 3_700_000
    equal([one.reason for one in desk.collect(late, timeout=10).quarantined], ["late"], "older than the app's bound")
    for field, bad in {
        "denied_fields[0]": {"denied_fields": ["open_id"]},
        "denied_fields[1]": {"denied_fields": ["a", "B"]},
        "patterns[0]": {"patterns": [77]},
        "custom_patterns[0].form": {"custom_patterns": [m.CustomPattern(name="a", form="#")]},
        "lateness_ms": {"lateness_ms": 1},
        "oversize": {"oversize": 9},
        "consent_default": {"consent_default": 9},
    }.items():
        fails(CODE.INVALID_ARGUMENT, lambda bad=bad: set_rules(desk, **bad), field)
    request = m.SetPrivacyRulesRequest(rules=m.PrivacyRules(app_id="rules"))
    fails(CODE.PERMISSION_DENIED, lambda: desk.suite.privacy(desk.token).SetPrivacyRules(request, timeout=5), "admin")
    request.rules.app_id = "no-such-app"
    fails(CODE.NOT_FOUND, lambda: desk.suite.privacy().SetPrivacyRules(request, timeout=5), "no-such-app")
    request.rules.app_id = ""
    fails(CODE.INVALID_ARGUMENT, lambda: desk.suite.privacy().SetPrivacyRules(request, timeout=5), "app_id")


@test("privacy: what is no consent is refused, and a token reaches its own app only")
def consent_refusals(world):
    desk = Desk(world, "consent-refusals")
    m = world.messages.privacy
    granted = m.CONSENT_STATE_GRANTED
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, granted, user=""), "open_id", "128")
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, granted, user="x" * 129), "open_id", "129")
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, granted, purpose="Ads"), "purpose", "Ads")
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, 0), "state", "0")
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, 9), "state", "9")
    fails(CODE.INVALID_ARGUMENT, lambda: get_consent(desk, user=""), "open_id")
    world.suite.create_app("consent-foreign")
    fails(CODE.PERMISSION_DENIED, lambda: set_consent(desk, granted, app="consent-foreign"), "consent-foreign")
    fails(CODE.PERMISSION_DENIED, lambda: get_consent(desk, app="consent-foreign"), "consent-foreign")
    request = m.GetPrivacyRulesRequest(app_id="consent-foreign")
    fails(CODE.PERMISSION_DENIED, lambda: desk.suite.privacy(desk.token).GetPrivacyRules(request, timeout=5))
    admin = world.suite.admin_token
    fails(CODE.INVALID_ARGUMENT, lambda: set_consent(desk, granted, token=admin), "app_id")
    fails(CODE.NOT_FOUND, lambda: set_consent(desk, granted, token=admin, app="no-such-app"), "no-such-app")
    writer = world.suite.create_token(["ingest:write"], "consent-refusals")
    fails(CODE.PERMISSION_DENIED, lambda: set_consent(desk, granted, token=writer), "profile:write")
    fails(CODE.PERMISSION_DENIED, lambda: get_consent(desk, token=writer), "profile:read")
    # 61 purposes of the app's own are taken, the next is one too many.
    for number in range(61):
        set_consent(desk, granted, purpose=f"p{number}")
    fails(CODE.RESOURCE_EXHAUSTED, lambda: set_consent(desk, granted, purpose="one_more"), "purposes", "64")
    set_consent(desk, granted, purpose="p3", user="another")


class Relay:
    """Passes a connection on to a service, from an address of its own."""

    def __init__(self, address, port):
        self.address, self.target = address, port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target), source_address=(self.address, 0))
            except OSError:
                return
            self.sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, target), daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        for one in self.sockets:
            one.close()


@test("privacy: the address of a caller is in no file, whatever it sends")
def no_address(world):
    desk = Desk(world, "address")
    address = "127.77.66.55"
    relay = Relay(address, world.suite.ports["ingest"])
    channel = connect(relay.port, desk.token)
    stub = world.messages.ingest_rpc.IngestStub(channel)
    bad = desk.request([2])
    bad.events[0].name = "Bad Name"
    equal(stub.Collect(desk.request([1]), timeout=10).accepted, 1, "accepted")
    stub.Collect(bad, timeout=10)
    fails(CODE.INVALID_ARGUMENT, lambda: stub.Collect(world.messages.ingest.CollectRequest(), timeout=10))
    # A call that ends with an error of ours, and a peer that speaks no HTTP/2: both are lines of the log.
    channel.close()
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64):
        with socket.create_connection(("127.0.0.1", world.suite.ports["ingest"]), source_address=(address, 0)) as peer:
            peer.sendall(nonsense)
            peer.settimeout(10)
            try:
                while peer.recv(4096):
                    pass
            except OSError:
                pass
    relay.close()
    files = [path for path in world.suite.folder.rglob("*") if path.is_file()]
    true(any(path.name == "ingest.sqlite" for path in files), "the log is among the files")
    until(lambda: "peer=p-" in world.suite.processes["ingest"].log_tail(), what="a line about the caller is in the log")
    for path in files:
        content = pathlib.Path(path).read_bytes()
        for form in (address.encode(), socket.inet_aton(address)):
            true(form not in content, f"{form!r} is in {path.name}")
