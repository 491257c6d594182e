"""The official interop cases, each client against each server."""

from . import cases, peers
from .negative import CASES as NEGATIVE_CASES
from .negative import NegativeServer
from .tap import Tap

PLAIN = (
    "empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
    "custom_metadata", "status_code_and_message", "special_status_message", "unimplemented_method",
    "unimplemented_service", "cancel_after_begin", "cancel_after_first_response", "timeout_on_sleeping_server",
    "pick_first_unary", "concurrent_large_unary", "rpc_soak", "channel_soak")

# Through a tap: on which side, and the flags of each call's messages with and without the probe.
COMPRESSED = {
    "client_compressed_unary": ("requests", [[0], [1], [0]], [[1], [0]]),
    "client_compressed_streaming": ("requests", [[0], [1, 0]], [[1, 0]]),
    "server_compressed_unary": ("responses", [[1], [0]], [[1], [0]]),
    "server_compressed_streaming": ("responses", [[1, 0]], [[1, 0]]),
}

PAIRS = (
    ("grpcio", "footfall"), ("grpc-c++", "footfall"), ("footfall", "grpcio"), ("footfall", "grpc-c++"),
    ("footfall", "footfall"),
    # Among strangers, as a test of the tests.
    ("grpcio", "grpcio"), ("grpcio", "grpc-c++"), ("grpc-c++", "grpcio"), ("grpc-c++", "grpc-c++"),
)

DO_NOT_APPLY = {
    "cacheable_unary": "HTTP GET for caching proxies, which no gRPC library offers any more; our server takes POST only",
    "orca_per_rpc": "load reports of xDS, which we do not build",
    "orca_oob": "load reports of xDS, which we do not build",
    "compute_engine_creds": "needs Google's cloud",
    "compute_engine_channel_credentials": "needs Google's cloud",
    "google_default_credentials": "needs Google's cloud",
    "jwt_token_creds": "needs Google's cloud",
    "oauth2_auth_token": "needs Google's cloud",
    "per_rpc_creds": "needs Google's cloud",
}

# What a peer cannot do or say.
NOT_EXPRESSIBLE = {
    ("grpcio", "data_frame_padding"): "grpcio's core refuses padded DATA (\"unsupported data flags: 0x08\")",
    ("grpcio", "client_compressed_streaming"): "grpcio cannot leave one message of a compressed stream uncompressed",
}
NO_PROBE = "grpcio shows a message's compressed flag to no server: the cases run without their probe"


def iterations(case, short):
    if case in ("rpc_soak", "channel_soak"):
        return 20 if short else 1000
    return 100 if short and case == "concurrent_large_unary" else 1000


def run_case(client, case, port, count, probes):
    if client == "grpcio":
        return cases.Client(port, count, probes).run(case)
    return peers.run_client(client, case, port, count, probes)


def run_compressed(client, case, server, count):
    side, with_probe, without = COMPRESSED[case]
    probes = server.kind != "grpcio"
    tap = Tap(server.port)
    try:
        reason = run_case(client, case, tap.port, count, probes)
    finally:
        tap.close()
    flags = Tap.flags(getattr(tap, side))
    expected = with_probe if probes else without
    if reason is None and flags != expected:
        return f"compressed flags of the {side}: {expected} expected, {flags} came"
    return reason


def run(report, short):
    for client, server_kind in PAIRS:
        who = f"{client} -> {server_kind}"
        wanted = [case for case in PLAIN + tuple(COMPRESSED) if report.wants(who, case)]
        if not wanted:
            continue
        server = peers.Server(server_kind)
        try:
            for case in wanted:
                count = iterations(case, short)
                if (client, case) in NOT_EXPRESSIBLE:
                    continue
                if case in COMPRESSED:
                    report.case(who, case, lambda: run_compressed(client, case, server, count))
                else:
                    report.case(who, case, lambda: run_case(client, case, server.port, count, True))
            report.case(who, "server_still_runs", lambda: None if server.running else server.log_tail())
        finally:
            server.kill()


def run_negative(report):
    for client in ("footfall", "grpcio"):
        for case in NEGATIVE_CASES:
            if (client, case) in NOT_EXPRESSIBLE:
                continue
            report.case(f"{client} -> raw frames", case, lambda: negative(client, case))


def negative(client, case):
    server = NegativeServer(case)
    reason = run_case(client, case, server.port, 1, True)
    return reason or server.verify()


def explain():
    """What is not run, and why."""
    for case, reason in DO_NOT_APPLY.items():
        print(f"n/a     {'all':28} {case}: {reason}")
    for (client, case), reason in NOT_EXPRESSIBLE.items():
        print(f"n/a     {client + ' -> all':28} {case}: {reason}")
    print(f"n/a     {'all -> grpcio':28} probe of client_compressed_*: {NO_PROBE}")
