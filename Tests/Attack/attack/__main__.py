"""Runs the attacks: see Tests/Attack/run."""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from footfall_tests.suite import BINARIES, Process, free_ports

from . import frames
from .attacks import ATTACKS, MIB

SERVER_CPU, CLIENT_CPU = "0", str(min(1, (os.cpu_count() or 1) - 1))
RATE = 500
# Timers that the attacks wait for.
LIMITS = ["preface-ms=600", "settings-ms=1500", "header-block-ms=600", "message-idle-ms=800", "write-stall-ms=700",
          "sweep-ms=50"]
# More handlers than this never run, whoever asks: `ServerLimits.runningHandlersMax` of each connection.
HANDLERS_PER_CONNECTION = 128


class World:
    def __init__(self, options):
        self.options = options
        self.passed, self.failures = 0, []
        self.folder = tempfile.mkdtemp(prefix="footfall-attack-")

    def check(self, condition, name, what):
        if condition:
            self.passed += 1
        else:
            self.failures.append(f"{name}: {what}")
            print(f"FAIL {name}: {what}", file=sys.stderr, flush=True)

    def figure(self, name, value, unit):
        print(f"figure {name} {value:.6g} {unit}", flush=True)

    def server(self, *limits):
        port = free_ports(1)[0]
        log = os.path.join(self.folder, f"server-{port}.log")
        return Process("EchoServer", [str(port), "1"] + list(limits), port, log, cpus=SERVER_CPU).start().wait_listening()


def statistics(port):
    """What the server says of itself: one plain call."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(frames.PREFACE + frames.settings() + frames.call(1, "/echo.Echo/Statistics", b""))
        buffer, body = bytearray(), b""
        while True:
            received = one.recv(1 << 16)
            if not received:
                raise RuntimeError("the server closed instead of telling its statistics")
            buffer += received
            for kind, flags, stream, payload in frames.parse(buffer):
                if kind == frames.DATA and stream == 1:
                    body += payload
                if kind == frames.HEADERS and flags & frames.END_STREAM:
                    return {name: int(value) for name, value in (
                        line.split() for line in body[5:].decode().splitlines())}


class Memory:
    """Watches a process's resident memory; `peak` in bytes."""

    def __init__(self, process):
        self.path = f"/proc/{process.child.pid}/statm"
        self.before = self.peak = self.now()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def now(self):
        with open(self.path) as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def watch(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.now())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def python(module, *arguments, nice=0):
    command = ["nice", "-n", str(nice), "taskset", "-c", CLIENT_CPU, sys.executable, "-m", module]
    command += [str(one) for one in arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process, seconds=60):
    out, _ = process.communicate(timeout=seconds)
    if process.returncode != 0:
        raise RuntimeError(f"a client ended with status {process.returncode}")
    return json.loads(out.splitlines()[-1])


def honest(port, seconds, *more):
    return python("attack.honest", port, RATE, seconds, *more)


def run(world, attack, counts):
    server = world.server(*LIMITS)
    try:
        for connections in counts:
            beside_attack(world, attack, connections, server)
        name = attack.name
        world.check(server.running, name, f"the server died: {server.log_tail()}")
        world.check(server.terminate() == 0, name, "the server did not end by itself")
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        world.check(
            False, attack.name,
            f"{error}; the server {'runs' if server.running else 'has died'}: {server.log_tail()[-600:]}")
    finally:
        server.kill()


def beside_attack(world, attack, connections, server):
    short = world.options.short
    seconds = 0.3 if short else 4
    name = f"{attack.name}_{connections}"
    baseline = None if short else result(honest(server.port, 3))
    before = statistics(server.port)
    with Memory(server) as memory:
        # Attackers are other machines: what their process takes of this processor must not keep the client from its own.
        attacker = python("attack.attacker", attack.name, server.port, connections, seconds, nice=10)
        # The attack is under way before the client begins.
        time.sleep(0.15 if short else 0.5)
        client = honest(server.port, 0.2 if short else seconds - 1)
        beside, attacked = result(client), result(attacker)
    after = statistics(server.port)
    judge(world, name, attack, connections, baseline, beside, attacked, before, after, memory)


def judge(world, name, attack, connections, baseline, beside, attacked, before, after, memory):
    world.check(
        attacked["right"] == attacked["runs"], name,
        f"{attacked['right']} of {attacked['runs']} connections ended as they must: {'; '.join(attacked['wrong'][:3])}")
    causes = {cause: after[f"end_{cause}"] - before[f"end_{cause}"] for cause in attack.cause}
    world.check(not causes or sum(causes.values()) > 0, name, f"the causes were not counted: {causes}")
    world.check(
        after["handlers_peak"] <= HANDLERS_PER_CONNECTION * connections, name,
        f"{after['handlers_peak']} handlers ran at once")
    grown, allowed = memory.peak - memory.before, attack.base + attack.each * connections
    world.check(grown <= allowed, name, f"memory grew by {grown / MIB:.1f} MiB, allowed {allowed / MIB:.1f}")
    world.check(not attack.judges_client or beside["good"] >= 0.9 * beside["calls"], name, f"the client: {beside}")
    world.figure(f"attack_{name}_memory", grown / MIB, "MiB")
    if not world.options.short:
        world.check(
            not attack.judges_client or beside["p99_ms"] <= 2 * baseline["p99_ms"], name,
            f"the client's p99 {beside['p99_ms']:.2f} ms, quiet {baseline['p99_ms']:.2f} ms")
        world.figure(f"attack_{name}_p99_ratio", beside["p99_ms"] / baseline["p99_ms"], "ratio")
        world.figure(f"attack_{name}_good_share", beside["good"] / beside["calls"], "ratio")


def honest_cancels(world):
    """A client that cancels 50 calls/s is not cut."""
    name, seconds = "honest_cancels", 10 if world.options.short else 60
    server = world.server()
    try:
        told = result(honest(server.port, seconds, 50), seconds + 30)
        world.check(told["lost"] == 0 and not told["goaway"], name, f"the client was cut: {told}")
        world.check(told["cancelled"] >= 50 * seconds * 0.95, name, f"too few were cancelled: {told}")
        world.check(told["good"] == told["calls"], name, f"calls were lost: {told}")
    finally:
        server.kill()


def descriptors(world):
    """With 64 descriptors and 500 connections the server neither spins nor dies, and serves again."""
    name = "descriptors"
    port = free_ports(1)[0]
    log = os.path.join(world.folder, "descriptors.log")
    server = Process("EchoServer", [str(port), "1"], port, log, cpus=SERVER_CPU).start()
    try:
        server.wait_listening()
        resource.prlimit(server.child.pid, resource.RLIMIT_NOFILE, (64, 64))
        crowd = []
        for _ in range(500):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            crowd.append(one)
        time.sleep(0.2)
        used = processor_seconds(server)
        time.sleep(1)
        share = processor_seconds(server) - used
        world.check(share < 0.5, name, f"{share:.2f} s of processor in one second")
        for one in crowd:
            one.close()
        end = time.monotonic() + 5
        told = None
        while told is None and time.monotonic() < end:
            try:
                told = statistics(port)
            except (OSError, RuntimeError):
                time.sleep(0.1)
        world.check(told is not None, name, "the server does not serve again")
    finally:
        server.kill()


def processor_seconds(server):
    with open(f"/proc/{server.child.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


OTHERS = {"honest_cancels": honest_cancels, "descriptors": descriptors}


def main():
    parser = argparse.ArgumentParser(prog="Tests/Attack/run")
    parser.add_argument("--short", action="store_true", help="a few seconds, no judgement of times")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS) + list(OTHERS), help="these attacks only")
    parser.add_argument("--connections", nargs="+", type=int, help="this many connections only")
    options = parser.parse_args()
    if not (BINARIES / "EchoServer").exists():
        sys.exit(f"attack: {BINARIES}/EchoServer is missing")
    world = World(options)
    counts = options.connections or ([1, 16] if options.short else [1, 16, 256])
    # Beside the attacks where no times are judged.
    others = [
        threading.Thread(target=other, args=(world,)) for name, other in OTHERS.items()
        if not options.only or name in options.only]
    for other in others:
        other.start()
        if not options.short:
            other.join()
    try:
        for name, attack in ATTACKS.items():
            if options.only and name not in options.only:
                continue
            run(world, attack, counts)
        for other in others:
            other.join()
    finally:
        shutil.rmtree(world.folder, ignore_errors=True)
    print(f"{world.passed} passed, {len(world.failures)} failed", flush=True)
    sys.exit(1 if world.failures else 0)


main()
