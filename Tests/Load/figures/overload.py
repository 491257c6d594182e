"""Ingest under more load than it can take: what it accepts, how soon it refuses, how soon all is well again."""

import statistics
import threading
import time

from .client import check, figure, goal, load, print_checksum
from .services import BATCH_EVENTS, COLLECT, Running

APP, OTHER = "load", "small"
CONNECTIONS, LANES, USERS = 64, 100, 20_000
# Batches that each connection has on its way where the peak is looked for: with fewer a slow disk leaves the processor idle, with twice
# as many some would be refused.
PEAK_LANES = 8


def batches(running, *arguments, app=APP, token=None, connections=CONNECTIONS, lanes=LANES, run="load"):
    return load("collect", running.suite.ports["ingest"], COLLECT, "--connections", connections, "--lanes", lanes,
                "--batch-events", BATCH_EVENTS, "--app", app, "--run", run, "--users", USERS, "--four-fields", *arguments,
                token=token or running.token)


def open_loop(running, rate, seconds, run, **options):
    return batches(running, "--rate", f"{rate:.1f}", "--seconds", seconds, "--refusals", run=run, **options)


class Memory(threading.Thread):
    """The most resident memory of a process that was seen."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.most, self.is_over = process, 0, threading.Event()

    def run(self):
        while not self.is_over.wait(0.1):
            self.most = max(self.most, self.process.memory()[0])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.join()


def slices(result, kind):
    values = []
    while f"slice_{len(values)}_{kind}" in result:
        values.append(result[f"slice_{len(values)}_{kind}"])
    return values


def run(world, short):
    seconds = 2 if short else 8
    with Running(world, ["ingest"], pinned=True) as running:
        suite = running.suite
        process = suite.processes["ingest"]
        with Memory(process) as memory:
            peak = measured_peak(running, "first", short)
            figure("overload_peak_events_per_second", round(peak * BATCH_EVENTS), "1/s")
            normal, runs = normal_load(running, peak, seconds)
            # A short look at the peak on a machine with other work says too little of it.
            check(short or normal["refused"] == 0, f"{normal['refused']:.0f} batches were refused at half of the peak, {runs} times")
            figure("overload_normal_runs", runs, "runs")
            figure("overload_normal_p99_milliseconds", normal["p99_microseconds"] / 1000, "ms")
            for factor in (2,) if short else (2, 5, 10):
                one(running, factor, normal, short)
            share(running, measured_peak(running, "share", short), seconds, short)
        figure("overload_memory_megabytes", memory.most / 1e6, "MB")
        status = suite.ingest().GetLogStatus(world.messages.ingest.GetLogStatusRequest(), timeout=10)
        check(status.quarantined_events == 0, f"{status.quarantined_events} events were quarantined")
        check(process.terminate() == 0, "ingest did not end well")
        if not short:
            goal("overload_memory_megabytes", memory.most / 1e6, most=512)


def peak_once(running, name, short):
    """Batches a second that it can take now."""
    return batches(running, "--seconds", 1 if short else 2, lanes=PEAK_LANES, run=f"peak-{name}")["calls_per_second"]


def measured_peak(running, name, short):
    return statistics.median(peak_once(running, f"{name}{number}", short) for number in range(1 if short else 3))


def normal_load(running, peak, seconds):
    """Half of the peak, and how many runs it took until nothing was refused, three at most: what a disk that stands still for a
    fifth of a second now and then, as shared ones do, cannot take is refused rightly."""
    for runs in range(1, 4):
        result = open_loop(running, peak / 2, seconds, f"normal{runs}")
        if result["refused"] == 0:
            break
    return result, runs


def in_turns(running, factor, short):
    """The load and the peak in turns, because a shared machine is by a third faster or slower from one second to the next: each load
    is compared with the peaks on both sides of it. (peak, result of the load) of each turn."""
    peak, turns = peak_once(running, f"x{factor}-0", short), []
    for number in range(1, 2 if short else 4):
        load_now = lambda: open_loop(running, peak * factor, 2 if short else 8, f"x{factor}-{number}")
        result, _ = counted(running, load_now)
        after = peak_once(running, f"x{factor}-{number}", short)
        turns.append(((peak + after) / 2, result))
        peak = after
    return turns


def accepted(result):
    return result["calls"] - result["refused"]


def counted(running, load_now):
    """The result of a load, and its events, as many of which the log holds as were acknowledged."""
    head = running.suite.head_offset()
    result = load_now()
    stored, taken = running.suite.head_offset() - head, int(accepted(result)) * BATCH_EVENTS
    check(stored == taken, f"{taken} events were acknowledged, the log holds {stored}")
    return result, stored


def one(running, factor, normal, short):
    turns = in_turns(running, factor, short)
    results = [result for _, result in turns]
    peak = statistics.median(peak for peak, _ in turns)
    after, stored = counted(running, lambda: open_loop(running, peak / 2, 3 if short else 10, f"after{factor}"))
    middle = lambda figure_of: statistics.median(figure_of(result) for result in results)
    ratios = [accepted(result) / result["seconds"] / peak for peak, result in turns]
    refusals = middle(lambda one: one["refusal_p99_microseconds"]) / 1000
    name = f"overload_{factor}x"
    figure(f"{name}_peak_events_per_second", round(peak * BATCH_EVENTS), "1/s")
    figure(f"{name}_offered_events_per_second", round(middle(lambda one: one["due"] / one["seconds"]) * BATCH_EVENTS), "1/s")
    figure(f"{name}_sent_share", middle(lambda one: 1 - one["unsent"] / one["due"]), "of the offered")
    figure(f"{name}_accepted_vs_peak", statistics.median(ratios), "x")
    figure(f"{name}_accepted_vs_peak_lowest", min(ratios), "x")
    figure(f"{name}_accepted_p99_milliseconds", middle(lambda one: one["p99_microseconds"]) / 1000, "ms")
    figure(f"{name}_refused_share", middle(lambda one: one["refused"] / one["calls"]), "of the sent")
    figure(f"{name}_refusal_p50_milliseconds", middle(lambda one: one["refusal_p50_microseconds"]) / 1000, "ms")
    figure(f"{name}_refusal_p99_milliseconds", refusals, "ms")
    figure(f"{name}_refusal_p99_milliseconds_highest", max(one["refusal_p99_microseconds"] for one in results) / 1000, "ms")
    figure(f"{name}_recovery_seconds", recovery(after, normal), "s")
    print_checksum(name, f"{stored}-events")
    if not short:
        goal(f"{name}_accepted_vs_peak", statistics.median(ratios), least=0.9)
        goal(f"{name}_refusal_p99_milliseconds", refusals, most=5)
        goal(f"{name}_recovery_seconds", recovery(after, normal), most=10)


def recovery(after, normal):
    """Seconds until nothing is refused any more and answers come as they did before."""
    bound = 3 * max(slices(normal, "p99_microseconds") + [normal["p99_microseconds"]])
    bad = [number for number, (refused, latency) in enumerate(
        zip(slices(after, "refused"), slices(after, "p99_microseconds"))) if refused > 0 or latency > bound]
    return bad[-1] + 1 if bad else 0


def share(running, peak, seconds, short):
    """An app that offers five times of what can be taken, beside one that offers a fifth: the small one is not kept out."""
    suite = running.suite
    suite.create_app(OTHER)
    token = suite.create_token(["ingest:write"], OTHER)
    results = {}

    def small():
        results["small"] = open_loop(
            running, peak / 5, seconds, "small", app=OTHER, token=token, connections=8, lanes=LANES)

    thread = threading.Thread(target=small)
    thread.start()
    time.sleep(0.2)
    results["large"] = open_loop(running, peak * (2 if short else 5), max(seconds - 0.4, 1), "large")
    thread.join()
    one = results["small"]
    kept = (one["calls"] - one["refused"]) / one["due"]
    figure("overload_small_app_accepted_share", kept, "of its offered")
    figure("overload_small_app_refused_share", one["refused"] / one["calls"], "of its sent")
    print_checksum("overload_share", f"{one['bad'] + results['large']['bad']:.0f}-wrong")
    if not short:
        goal("overload_small_app_accepted_share", kept, least=0.9)
