"""Load on ingest: durable batches on one core, beside PostgreSQL and NATS JetStream at the same events."""

import os
import pathlib
import statistics
import sys
import time
import urllib.request

from .client import check, figure, goal, load, print_checksum
from .services import APP, BATCH_EVENTS, COLLECT, Running, counted_users, disk_bytes, percentile
from .stores import JetStream, Postgres, processor_seconds

CLIENTS, USERS = 64, 20_000
# The groups that ingest commits under this load are about so large: it is what the disk is measured with.
SYNC_SAMPLES = 600


def sync_latencies(folder, count, size):
    """What the disk itself takes: `count` writes of `size` bytes, each followed by fdatasync, in seconds. Like SQLite's
    write-ahead log the file grows to 4 MiB and is then written from its start again."""
    path = pathlib.Path(folder) / "sync-test"
    taken, block = [], os.urandom(size)
    with open(path, "wb", buffering=0) as stream:
        for number in range(count):
            if stream.tell() + size > 4 << 20:
                stream.seek(0)
            stream.write(block)
            begin = time.perf_counter()
            os.fdatasync(stream.fileno())
            taken.append(time.perf_counter() - begin)
    path.unlink()
    return taken


class Usage:
    """What a process has used so far: processor seconds, and bytes written to the disk of its data."""

    def __init__(self, process, folder):
        identifier = process.child.pid
        self.seconds = processor_seconds([identifier])
        self.written = device_bytes(folder)
        if self.written is None:
            counters = dict(line.split(": ") for line in pathlib.Path(f"/proc/{identifier}/io").read_text().splitlines())
            self.written = int(counters["write_bytes"])


def device_bytes(folder):
    """What the folder's disk was given since it was there; None where that is not known. A process's own counter takes a run of pages
    that the kernel holds as one for written where one page of it is."""
    device = os.stat(folder).st_dev
    try:
        counters = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    except OSError:
        return None
    return int(counters[6]) * 512


def metric(suite, name):
    """A figure of ingest without labels."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{suite.metrics_ports['ingest']}/metrics", timeout=5).read().decode()
    for line in text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def one_round(world, batches, short):
    """All batches into an empty log."""
    with Running(world, ["ingest"], pinned=True) as running:
        suite, process = running.suite, running.suite.processes["ingest"]
        warm = collect(running, 50 if short else 500, "warm")
        head, groups = suite.head_offset(), metric(suite, "footfall_log_transactions_total")
        before = Usage(process, suite.data)
        result = collect(running, batches, "load")
        after, groups = Usage(process, suite.data), metric(suite, "footfall_log_transactions_total") - groups
        events = batches * BATCH_EVENTS
        check(suite.head_offset() - head == events, f"the log holds {suite.head_offset() - head} of {events} events")
        status = suite.ingest().GetLogStatus(world.messages.ingest.GetLogStatusRequest(), timeout=10)
        check(status.quarantined_events == 0, f"{status.quarantined_events} events were quarantined")
        single = collect(running, 50 if short else 1_000, "single", clients=1)
        half = half_load(running, result["calls_per_second"] / 2, 1 if short else 4)
        result |= {
            "stored": events, "bytes_per_event": (after.written - before.written) / events,
            "group_bytes": int((after.written - before.written) / groups), "batches_per_group": batches / groups,
            "processor_per_event": (after.seconds - before.seconds) / events * 1e6,
            "payload_per_event": status.payload_bytes / status.head_offset, "single": single, "half": half,
            "syncs": [],
        }
        size = max(result["group_bytes"], 4_096)
        result["syncs"] = sync_latencies(suite.data, 50 if short else SYNC_SAMPLES, size)
        if short:
            found_by_query(running, [warm, result, single, half])
        check(process.terminate() == 0, "ingest did not end well")
        result["disk_per_event"] = disk_bytes(suite.data, "ingest.sqlite") / (
            events + (warm["calls"] + single["calls"] + half["calls"]) * BATCH_EVENTS)
        return result


def found_by_query(running, runs):
    """Another service reads every event and every user out of the log."""
    events = int(sum(one["calls"] for one in runs)) * BATCH_EVENTS
    running.suite.start(["query"])
    users, counted = int(sum(one["users"] for one in runs)), counted_users(running, events)
    check(users == counted, f"{users} users sent, query counts {counted}")


def collect(running, batches, run, clients=CLIENTS):
    return running.collect(batches, "--four-fields", connections=clients, lanes=1, run=run)


def half_load(running, rate, seconds):
    """The clients send by the clock, half of what they could: what an acknowledgement takes where nobody waits for nobody."""
    return load("collect", running.suite.ports["ingest"], COLLECT, "--connections", CLIENTS, "--lanes", 4, "--batch-events",
                BATCH_EVENTS, "--app", APP, "--run", "half", "--users", USERS, "--four-fields", "--rate", f"{rate:.1f}", "--seconds",
                seconds, token=running.token)


def ingest(world, short):
    """Durable ingest on one core; every answer after fdatasync, every event found again."""
    batches = 1_500 if short else 100_000
    rounds = [one_round(world, batches, short)]
    peers = {} if short else run_peers(world.folder, batches)
    if not short:
        rounds += [one_round(world, batches, short) for _ in range(2)]
    middle = lambda name: statistics.median(one[name] for one in rounds)
    rate = middle("calls_per_second") * BATCH_EVENTS
    syncs = [one for result in rounds for one in result["syncs"]]
    sync_p99 = percentile(syncs, 0.99)
    ratio = middle("p99_microseconds") / 1e6 / sync_p99
    figure("ingest_events_per_second", round(rate), "1/s")
    figure("ingest_ack_p50_milliseconds", middle("p50_microseconds") / 1000, "ms")
    figure("ingest_ack_p99_milliseconds", middle("p99_microseconds") / 1000, "ms")
    figure("disk_fdatasync_p50_milliseconds", percentile(syncs, 0.5) * 1000, "ms")
    figure("disk_fdatasync_p99_milliseconds", sync_p99 * 1000, "ms")
    figure("ingest_ack_p99_vs_fdatasync_p99", ratio, "x")
    figure("ingest_bytes_per_event", middle("bytes_per_event"), "B")
    figure("ingest_cpu_microseconds_per_event", middle("processor_per_event"), "us")
    figure("ingest_payload_bytes_per_event", middle("payload_per_event"), "B")
    figure("ingest_disk_bytes_per_event", middle("disk_per_event"), "B")
    figure("ingest_batches_per_sync", middle("batches_per_group"), "batches")
    # 64 clients that each wait for their answer cannot all have one sooner than their batches are written: at N events a second
    # that takes 1,280 / N s in the mean, 4.3 ms at 300,000.
    half = middle_of(rounds, "half", "p99_microseconds") / 1e6
    figure("ingest_half_load_ack_p99_milliseconds", half * 1000, "ms")
    figure("ingest_half_load_ack_p99_vs_fdatasync_p99", half / sync_p99, "x")
    for share in (50, 99):
        figure(f"ingest_single_ack_p{share}_milliseconds",
               middle_of(rounds, "single", f"p{share}_microseconds") / 1000, "ms")
    for name, result in peers.items():
        peer_rate = result["batches_per_second"] * BATCH_EVENTS
        figure(f"{name}_events_per_second", round(peer_rate), "1/s")
        figure(f"{name}_ack_p99_milliseconds", result["p99_microseconds"] / 1000, "ms")
        figure(f"{name}_processor_share", result["processor_share"], "of one core")
        figure(f"ingest_vs_{name}", rate / peer_rate, "x")
    print_checksum("ingest", "-".join(
        [f"{rounds[0]['stored']}-events"] + [f"{name}-{result['stored']}" for name, result in peers.items()]))
    if not short:
        goal("ingest_events_per_second", rate, least=300_000)
        goal("ingest_ack_p99_vs_fdatasync_p99", ratio, most=4)
        for name, least in (("postgres", 8), ("jetstream", 2)):
            if name in peers:
                goal(f"ingest_vs_{name}", rate / peers[name]["batches_per_second"] / BATCH_EVENTS, least=least)


def middle_of(rounds, run, name):
    return statistics.median(one[run][name] for one in rounds)


def run_peers(folder, batches):
    """The same batches into the other stores. Says on standard error what each really did, and which one is missing."""
    results = {}
    arguments = (batches, CLIENTS, BATCH_EVENTS, USERS)
    if Postgres.missing():
        print(f"no PostgreSQL: {Postgres.missing()}", file=sys.stderr)
    else:
        with Postgres(folder) as peer:
            results["postgres"] = peer.run(*arguments)
            results["postgres"]["stored"] = peer.events()
    if JetStream.missing():
        print(f"no JetStream: {JetStream.missing()}", file=sys.stderr)
        return checked(results, batches)
    for name, syncs in (("jetstream", True), ("jetstream_unsynced", False)):
        with JetStream(folder, syncs) as peer:
            results[name] = peer.run(*arguments)
            results[name]["stored"] = peer.messages() * BATCH_EVENTS
        with JetStream(folder, syncs) as peer:
            calls = peer.sync_calls(500, CLIENTS, BATCH_EVENTS, USERS)
            print(f"{name}: nats-server {'.'.join(map(str, peer.version))}, {peer.how}; "
                  f"system calls for 500 batches and attribute S of its files: {calls}", file=sys.stderr)
    return checked(results, batches)


def checked(results, batches):
    for name, result in results.items():
        check(result["stored"] == batches * BATCH_EVENTS, f"{name} holds {result['stored']} events")
    return results
