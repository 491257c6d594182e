"""The 14 questions over 60 days of a million users, beside chDB and DuckDB; catch-up from an empty store."""

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import grpc

from footfall_tests.suite import connect

from .client import PROGRAMS, Wrong, check, figure, goal, load, median, print_checksum
from .olap_peers import KINDS, Peer, olap_sql
from .olap_questions import DAYS, Questions, comparable
from .services import APP, COLLECT, Running, disk_bytes

USERS, SHORT_USERS = 1_000_000, 10_000
# Least against chDB, warm.
GOALS = {"dau": 10, "uniques": 10, "retention": 10, "pages": 8, "event_rare": 3, "event_common": 3, "funnel4": 8,
         "funnel4_by_source": 8, "funnel10": 8, "paths": 8}
# The answers of one question differ in bytes that say nothing, a field that the message does not have, so that none comes
# out of a cache of answers.
UNKNOWN_FIELD = b"\xc0\x3e"


def collect_history(running, users, events=0):
    """Sends a history to ingest; what the client says."""
    return load("history", running.suite.ports["ingest"], COLLECT, "--connections", 32, "--lanes", 8, "--app", APP, "--users",
                users, "--days", DAYS, "--events", events, token=running.token, pinned=False, timeout=7_200)


def peak_memory(process):
    for line in pathlib.Path(f"/proc/{process.child.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def metric(suite, name):
    """A figure that query tells; its page may open a little after its port."""
    wait_until(lambda: listens(suite.metrics_ports["query"]), "query's metrics are not there", 30)
    text = urllib.request.urlopen(f"http://127.0.0.1:{suite.metrics_ports['query']}/metrics", timeout=5).read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def catch_up(running, marks=()):
    """Query from an empty store to the log's end: seconds from the start of the process, its peak of memory, and both at the
    offsets of `marks`."""
    suite = running.suite
    head = suite.head_offset()
    process = suite.processes["query"]
    begin, seen, marks = time.monotonic(), [], sorted(marks)
    process.start().wait_listening()
    # By its metrics: it knows the token for a call only once it has come to where the log has it.
    while (offset := metric(suite, "footfall_consumer_next_offset")) < head:
        check(process.running and time.monotonic() - begin < 7_200, f"query does not catch up:\n{process.log_tail()}")
        while marks and offset >= marks[0]:
            seen.append((marks.pop(0), time.monotonic() - begin, peak_memory(process)))
        time.sleep(0.05)
    seconds = time.monotonic() - begin
    last = -1
    while (rows := metric(suite, "footfall_query_unsealed_rows")) != last:
        last = rows
        time.sleep(0.5)
    return {"seconds": seconds, "sealed_seconds": time.monotonic() - begin, "memory": peak_memory(process), "unsealed": last,
            "marks": seen + [(one, seconds, peak_memory(process)) for one in marks]}


class Folder:
    """Where the history's rows and the peers' tables lie: with FOOTFALL_OLAP_FOLDER they, and the log, are taken again."""

    def __init__(self, world, users, kind="olap"):
        kept = os.environ.get("FOOTFALL_OLAP_FOLDER")
        self.path = pathlib.Path(kept or world.folder) / f"{kind}-{users}"
        self.path.mkdir(parents=True, exist_ok=True)
        self.is_kept = kept is not None
        self.users = users

    def make_rows(self):
        done = self.path / "facts.json"
        if not done.exists():
            subprocess.run([str(PROGRAMS / "rows"), "--users", str(self.users), "--days", str(DAYS), "--out", str(self.path)],
                           check=True, stdout=subprocess.DEVNULL)
            scenes = source_keys()
            names = self.names()
            done.write_text(json.dumps({
                "first_open": int(names["open"][olap_sql.FIRST_DAY]),
                "source_keys": [scenes[names["scene"][code]] for code in range(len(names["scene"]))],
                "events": (self.path / "rows.bin").stat().st_size // 41}))
        return json.loads(done.read_text())

    def names(self):
        """Kind -> code -> name."""
        names = {}
        for line in (self.path / "names.tsv").read_text().splitlines():
            kind, code, name = line.split("\t")
            names.setdefault(kind, {})[int(code)] = name
        return names

    def link_log(self, suite):
        """Lets the suite's data lie here; whether the log of an earlier run is there, whole."""
        if not self.is_kept:
            return False
        data = self.path / "data"
        data.mkdir(exist_ok=True)
        for path in data.glob("query.sqlite*"):
            path.unlink()
        suite.data.symlink_to(data)
        return (self.path / "log-is-whole").exists()

    def note_log(self):
        (self.path / "log-is-whole").touch()


class Kept(Running):
    """Ingest over the folder's log."""

    def __init__(self, world, folder):
        super().__init__(world, ["ingest"])
        self.folder = folder

    def begin(self):
        self.has_log = self.folder.link_log(self.suite)
        super().begin()


def source_keys():
    """Scene -> source key, by the table that the services have."""
    from footfall_tests.suite import ROOT
    keys = {}
    for path in (ROOT / "Shared" / "Events" / "Resources").glob("scenes*.csv"):
        for line in path.read_text().splitlines()[1:]:
            platform, scene, key = line.split(",")[:3]
            if platform == "wechat":
                keys[scene] = int(key)
    return keys


class Asking:
    """Asks query one question after another, by gRPC."""

    def __init__(self, running, questions):
        self.suite, self.token, self.questions = running.suite, running.token, questions
        self.asked = 0

    def call(self, channel, question):
        """Seconds, and the answer's bytes."""
        path, request, _ = self.questions.request(question)
        self.asked += 1
        encoded = request.SerializeToString() + UNKNOWN_FIELD + bytes([self.asked & 127 | 128, self.asked >> 7 & 127])
        method = channel.unary_unary(path)
        begin = time.perf_counter()
        answer = method(encoded, timeout=120)
        return time.perf_counter() - begin, answer

    def rows(self, question, answer):
        _, _, kind = self.questions.request(question)
        return self.questions.rows(question, kind.FromString(answer))

    def warm(self, question, repeats):
        """Rows and times; the first answer does not count."""
        channel = self.suite.channel("query", self.token)
        _, answer = self.call(channel, question)
        taken = [self.call(channel, question)[0] for _ in range(repeats)]
        return {"rows": self.rows(question, answer), "warm": taken}

    def cold(self, question, rounds):
        """Seconds from the start of the process to the first answer; the file is in the page cache."""
        process, taken = self.suite.processes["query"], []
        for _ in range(rounds):
            process.kill()
            begin = time.perf_counter()
            process.start()
            wait_port(process)
            channel = connect(process.port, self.token)
            self.call(channel, question)
            taken.append(time.perf_counter() - begin)
            channel.close()
        return taken


def wait_port(process):
    end = time.monotonic() + 60
    while not listens(process.port):
        check(process.running and time.monotonic() < end, f"query does not start:\n{process.log_tail()}")
        time.sleep(0.0005)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def checksum(rows):
    return hashlib.md5(json.dumps(rows).encode()).hexdigest()[:12]


def olap(world, short):
    """Every question of the prototype, warm and cold, with equal answers from chDB and DuckDB."""
    folder = Folder(world, SHORT_USERS if short else USERS)
    facts = folder.make_rows()
    peers = [Peer(kind, folder.path) for kind in KINDS]
    sizes = {peer.kind: peer.load() for peer in peers}
    with Kept(world, folder) as running:
        suite, has_log = running.suite, running.has_log
        if not has_log:
            sent = collect_history(running, folder.users)
            check(sent["events"] == facts["events"], f"{sent['events']:.0f} events sent, {facts['events']} rows")
            figure("olap_import_events_per_second", round(sent["events"] / sent["seconds"]), "1/s")
            folder.note_log()
        report_store(running, facts["events"], sizes, short)
        asking = Asking(running, Questions(APP, world.messages, folder.names()))
        names = os.environ.get("FOOTFALL_OLAP_QUESTIONS", "").split() or olap_sql.QUESTIONS
        missing = [name for name in names if not one_question(asking, name, peers, facts, short)]
        check(not missing, f"not answered: {' '.join(missing)}")


def one_question(asking, name, peers, facts, short):
    """Whether query answers it."""
    repeats, rounds = (2, 1) if short else (9, 3)
    try:
        own = asking.warm(name, repeats)
    except grpc.RpcError as error:
        print(f"missing {name}: {error.code().name}: {error.details()}", file=sys.stderr, flush=True)
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return False
        raise
    own["cold"] = asking.cold(name, rounds)
    results = {peer.kind: peer.quick_answer(name, facts) if short else peer.answer(name, facts, 5, rounds) for peer in peers}
    expected = comparable(name, own["rows"])
    for kind, result in results.items():
        check(comparable(name, result["rows"]) == expected,
              f"{name}: {kind} answers otherwise\n{difference(expected, comparable(name, result['rows']))}")
    print_checksum(f"olap_{name}", checksum(expected))
    print_times(name, own, results)
    for kind, result in results.items():
        figure(f"olap_{name}_vs_{kind}", median(result["warm"]) / median(own["warm"]), "x")
    figure(f"olap_{name}_cold_vs_chdb", median(results["chdb"]["cold"]) / median(own["cold"]), "x")
    figure(f"olap_{name}_cold_vs_chdb_loaded", median(results["chdb"]["cold_loaded"]) / median(own["cold"]), "x")
    figure(f"olap_{name}_milliseconds", median(own["warm"]) * 1000, "ms")
    if not short:
        report_goals(name, own, results)
    return True


def report_goals(name, own, results):
    against = {kind: median(result["warm"]) / median(own["warm"]) for kind, result in results.items()}
    goal(f"olap_{name}_vs_chdb", against["chdb"], least=GOALS.get(name, 1))
    goal(f"olap_{name}_vs_duckdb", against["duckdb"], least=1)
    goal(f"olap_{name}_cold_vs_chdb", median(results["chdb"]["cold"]) / median(own["cold"]), least=2)
    if name == "funnel4":
        goal("olap_funnel4_milliseconds", median(own["warm"]) * 1000, most=25)


def print_times(name, own, results):
    """Least and median of each, for people."""
    words = [f"{name}:"]
    for kind, result in [("footfall", own), *results.items()]:
        way = f" ({result['way'][1]}, {result['way'][0]})" if "way" in result else ""
        words.append(f"{kind}{way} warm {min(result['warm']) * 1000:.2f}/{median(result['warm']) * 1000:.2f} "
                     f"cold {min(result['cold']) * 1000:.0f}/{median(result['cold']) * 1000:.0f} ms;")
    print(" ".join(words), file=sys.stderr, flush=True)


def difference(own, other):
    """The first rows that only one of them has."""
    mine = [row for row in own if row not in other][:5]
    theirs = [row for row in other if row not in own][:5]
    return f"only in query: {mine}\nonly there: {theirs}"


def used_bytes(suite):
    """Bytes of query's file less those of pages that hold nothing."""
    with contextlib.closing(sqlite3.connect(f"file:{suite.data}/query.sqlite?mode=ro", uri=True)) as store:
        pages, unused, size = [store.execute(f"PRAGMA {name}").fetchone()[0]
                               for name in ("page_count", "freelist_count", "page_size")]
    return (pages - unused) * size


def report_store(running, events, sizes, short):
    """Catches up, then lets every day be compressed: speed, memory, bytes per event before and after."""
    suite, process = running.suite, running.suite.processes["query"]
    usual = list(process.arguments)
    process.arguments = usual + ["--compress-after-seconds", str(31_536_000)]
    followed = catch_up(running)
    wait_until(lambda: metric(suite, "footfall_query_unsealed_rows") == 0, "query leaves rows unsealed")
    raw = used_bytes(suite) / events
    check(process.terminate() == 0, "query did not end well")
    process.arguments = usual + ["--compress-after-seconds", "0"]
    process.start().wait_listening()
    wait_until(lambda: metric(suite, "footfall_query_uncompressed_days") == 0, "query leaves days uncompressed", 600)
    wait_steady(lambda: used_bytes(suite))
    check(process.terminate() == 0, "query did not end well")
    sealed = used_bytes(suite) / events
    process.arguments = usual
    process.start().wait_listening()
    running.suite.wait_caught_up_one("query", running.token)
    figure("olap_catchup_events_per_second", round(events / followed["seconds"]), "1/s")
    figure("olap_catchup_memory_megabytes", followed["memory"] / 1e6, "MB")
    figure("olap_bytes_per_event_raw", raw, "B")
    figure("olap_bytes_per_event_sealed", sealed, "B")
    for table, size in sizes["chdb"].items():
        figure(f"olap_chdb_bytes_per_event_{table}", size / events, "B")
    if not short:
        goal("olap_catchup_events_per_second", events / followed["seconds"], least=500_000)
        goal("olap_catchup_memory_megabytes", followed["memory"] / 1e6, most=512 * 1.048576)
        goal("olap_bytes_per_event_raw", raw, most=8)
        goal("olap_bytes_per_event_sealed", sealed, most=5)


def wait_until(holds, complaint, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        check(time.monotonic() < end, complaint)
        time.sleep(0.1)


def wait_steady(value, seconds=3):
    """Until it has not changed for so long: dictionaries are compressed behind the last day."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.2)
        if (now := value()) != last:
            last, since = now, time.monotonic()


def catchup(world, short):
    """Time and memory of catch-up by how far it has come in one log, to 50 million events."""
    millions = 0.2 if short else float(os.environ.get("FOOTFALL_CATCHUP_MILLIONS", "50"))
    events = int(millions * 1e6)
    folder = Folder(world, int(events / 21) + 1, "catchup")
    with Kept(world, folder) as running:
        if not running.has_log:
            sent = collect_history(running, folder.users, events)
            (folder.path / "events").write_text(f"{sent['events']:.0f}")
            folder.note_log()
        events = int((folder.path / "events").read_text())
        followed = catch_up(running, [one * 1_000_000 for one in (5, 10, 20, 50, 100) if one * 1_000_000 < events])
        print("events      seconds  events/s  peak MB", file=sys.stderr)
        for offset, seconds, memory in followed["marks"] + [(events, followed["seconds"], followed["memory"])]:
            print(f"{offset:<11} {seconds:<8.1f} {offset / seconds:<9.0f} {memory / 1e6:.0f}", file=sys.stderr)
        rate = events / followed["seconds"]
        figure(f"olap_catchup_{millions:g}m_events_per_second", round(rate), "1/s")
        figure(f"olap_catchup_{millions:g}m_memory_megabytes", followed["memory"] / 1e6, "MB")
        figure(f"olap_catchup_{millions:g}m_bytes_per_event", disk_bytes(running.suite.data, "query.sqlite") / events, "B")
        users = running.suite.query(running.token).GetTrend(whole_history(running), timeout=120).points[0].metrics
        check(users.event_cnt == events, f"{events} events in the log, query has {users.event_cnt}")
        print_checksum(f"olap_catchup_{millions:g}m", f"{users.event_cnt}-events-{users.visit_uv}-users")
        if not short:
            goal("olap_catchup_events_per_second", rate, least=500_000)


def whole_history(running):
    m = running.world.messages
    days = m.common.DateRange(begin_date="2026-05-01", end_date="2026-12-31")
    return m.query.GetTrendRequest(app_id=APP, range=days, granularity=4)
