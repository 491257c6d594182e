"""What one call costs in instructions, allocations and system calls: counted, so that a noisy machine does not matter.

Instructions and allocations come from callgrind, system calls from strace. Two lengths of the same load are counted and
subtracted, so that connecting and starting up fall out.
"""

import collections
import os
import pathlib
import re
import signal
import subprocess
import time

from footfall_tests.suite import BINARIES, free_ports

from .client import PROGRAMS, check, figure
from .rpc import ECHO, FULL, FULL_LOOP, full_files

THRESHOLDS = pathlib.Path(__file__).resolve().parents[1] / "counted.tsv"
SHORT, LONG = 1_000, 3_000
ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"}


class Watched:
    """A server under a tool; `command` comes before its own."""

    def __init__(self, program, command, folder):
        # valgrind of Debian 12 does not read the debug information of Swift 6.3; the names of functions stay.
        stripped = os.path.join(folder, program)
        if not os.path.exists(stripped):
            subprocess.run(["objcopy", "--strip-debug", BINARIES / program, stripped], check=True)
        self.port = free_ports(1)[0]
        self.log = os.path.join(folder, f"{program}-{self.port}.log")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                command + [stripped, str(self.port), "1"], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True)
        self.wait_ready()

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def wait_ready(self):
        end = time.monotonic() + 60
        while "ready: " not in self.text():
            check(self.child.poll() is None and time.monotonic() < end, f"does not start: {self.text()[-2000:]}")
            time.sleep(0.05)

    def ask(self, mode, path, calls, *arguments):
        """A load of so many calls, all answered right."""
        token = re.search(r"^token: (\S+)$", self.text(), re.M)
        command = [str(PROGRAMS / "client"), mode, "--port", str(self.port), "--path", path, "--calls", str(calls)]
        command += ["--token", token[1]] if token else []
        result = subprocess.run(command + [str(one) for one in arguments], capture_output=True, text=True, timeout=120)
        check(result.returncode == 0, f"{path}: {result.stderr.strip()}")

    def kill(self):
        # The server too: strace leaves the one that it watches running.
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class Callgrind(Watched):
    """Each load ends with a dump of what it cost."""

    def __init__(self, program, folder):
        self.out = os.path.join(folder, f"callgrind-{program}")
        super().__init__(
            program,
            ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={self.out}", "--combine-dumps=no",
             "--separate-threads=no"], folder)
        self.dumps = 0

    def cost(self, mode, path, calls, *arguments):
        self.dump()
        self.ask(mode, path, calls, *arguments)
        return parse_dump(self.dump())

    def dump(self):
        self.dumps += 1
        result = subprocess.run(
            ["callgrind_control", f"--dump=d{self.dumps}", str(self.child.pid)], capture_output=True, text=True)
        check(result.returncode == 0, f"callgrind_control: {result.stderr.strip()} {result.stdout.strip()}")
        return f"{self.out}.{self.dumps}"


def parse_dump(path):
    """Instructions and calls of the allocators in one dump of callgrind."""
    names, counts, called = {}, collections.Counter(), None
    with open(path) as lines:
        for line in lines:
            if line.startswith("cfn="):
                number, _, name = line[4:].strip().partition(" ")
                names.setdefault(number, name)
                called = names[number]
            elif line.startswith("fn="):
                number, _, name = line[3:].strip().partition(" ")
                names.setdefault(number, name)
            elif line.startswith("calls=") and called in ALLOCATORS:
                counts["allocations"] += int(line[6:].split()[0])
            elif line.startswith(("totals: ", "summary: ")):
                counts["instructions"] = int(line.split()[1])
    return counts


class Strace(Watched):
    """Counts system calls of all threads, by the lines of its trace."""

    def __init__(self, program, folder):
        self.out = os.path.join(folder, f"strace-{program}")
        super().__init__(program, ["strace", "-f", "-qq", "-o", self.out], folder)

    def cost(self, mode, path, calls, *arguments):
        before = self.lines()
        # One call at a time: how many share a turn of the loop would be a matter of luck.
        self.ask(mode, path, calls, "--connections", 1, "--lanes", 1, *arguments)
        return collections.Counter(system_calls=self.lines() - before)

    def lines(self):
        with open(self.out, "rb") as lines:
            # An interrupted call takes two lines.
            return sum(b"resumed>" not in line for line in lines)


def per_call(server, mode, path, *arguments):
    """The difference of two lengths, by the calls they differ by. The first load of all warms the server."""
    server.ask(mode, path, SHORT // 2, *arguments)
    few, many = (server.cost(mode, path, calls, *arguments) for calls in (SHORT, LONG))
    return {name: (many[name] - few[name]) / (LONG - SHORT) for name in many}


def works(world):
    """Name, server and load of what is counted."""
    files = full_files(world)
    return {
        "EchoServer": [("loop", "echo", ECHO), ("async", "echo", "/echo.Echo/UnaryAsync")],
        "MethodServer": [("full", "replay", FULL_LOOP, *files), ("full_async", "replay", FULL, *files)],
    }


def count_all(world):
    counts = {}
    for tool in (Callgrind, Strace):
        for program, loads in works(world).items():
            server = tool(program, world.folder)
            try:
                for name, *load in loads:
                    for what, value in per_call(server, *load).items():
                        counts[f"{name}_{what}"] = value
            finally:
                server.kill()
    return counts


def thresholds():
    rows = (line.split("\t") for line in THRESHOLDS.read_text().splitlines() if line and not line.startswith("#"))
    return {name: float(most) for name, most in rows}


def run(world, short):
    limits = thresholds()
    counts = count_all(world)
    for name, value in counts.items():
        figure(f"counted_{name}", round(value, 2), "1/call")
    check(counts.keys() == limits.keys(), f"{THRESHOLDS.name} speaks of other work: {counts.keys() ^ limits.keys()}")
    over = [f"{name} {counts[name]:.2f} > {most:g}" for name, most in limits.items() if counts[name] > most]
    check(not over, f"more work in a call than Tests/Load/{THRESHOLDS.name} allows: {', '.join(over)}")
