"""Replay: the consumers' stores, deleted and built anew from offset 0, hold what they held."""

import sqlite3
import time

from . import shop
from .harness import equal, test, true
from .lone import stamp_pages
from .stores import SEALING, query_store, tables_of, wait_sealed
from .suite import CONSUMERS, Suite

SCOPES = ["ingest:write", "query:read", "live:read", "profile:read"]
GRANULARITIES = (1, 4)
FILES = {"user-profile": "profile.sqlite", "live-stats": "live.sqlite", "query": "query.sqlite"}


def crc32c_tables():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc32c_tables()


def crc32c(data):
    """CRC-32C, as version 1 of the log's rows has it over the payload."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def stores(suite):
    """What the three stores hold; the services are down."""
    held = {name: tables_of(suite.data / FILES[name]) for name in CONSUMERS if name != "query"}
    held["query"] = query_store(suite.data / FILES["query"])
    return held


def answers(suite, token):
    """Answers that stand on all of query's rows: every metric of every day, by several breakdowns."""
    m = suite.messages
    whole = m.common.DateRange(begin_date=shop.day(3).isoformat(), end_date=shop.day(0).isoformat())
    found = []
    for granularity in GRANULARITIES:
        for breakdown in ("", "page_path", "province", "scene", "gender"):
            request = m.query.GetTrendRequest(app_id=shop.APP, range=whole, granularity=granularity, breakdown=breakdown)
            answer = suite.query(token).GetTrend(request, timeout=60)
            found.append(answer.SerializeToString(deterministic=True))
    return found


def halt(suite):
    for name in CONSUMERS:
        suite.processes[name].terminate()


def rebuild(suite, token):
    """Deletes the stores and lets the services build them from the log."""
    for name in CONSUMERS:
        for path in suite.data.glob(FILES[name] + "*"):
            path.unlink()
    suite.start(CONSUMERS)
    suite.wait_caught_up(token)
    wait_sealed(suite.metrics_ports["query"])


def make_version_1(suite):
    """Half of the rows of one record get the checksum that version 1 had. How many rows there are by version and kind."""
    path = suite.data / "ingest.sqlite"
    database = sqlite3.connect(path)
    rows = database.execute("SELECT first_offset, payload FROM log WHERE kind <> 8 ORDER BY first_offset").fetchall()
    for first, payload in rows[::2]:
        database.execute("UPDATE log SET checksum = ? WHERE first_offset = ?", [crc32c(payload), first])
    database.commit()
    versions = dict(database.execute("SELECT (checksum >> 56) || CASE kind WHEN 8 THEN ' shared' ELSE '' END, count(*) FROM log GROUP BY 1"))
    database.close()
    stamp_pages(path)
    return versions


@test("replay: stores that are built anew from offset 0 equal those that followed, also from rows of both versions")
def replay(world):
    suite = Suite(world.messages)
    try:
        suite.processes["query"].arguments += SEALING
        suite.start()
        suite.create_app(shop.APP)
        token = suite.create_token(SCOPES, shop.APP)
        collect = suite.ingest(token)
        pending = []
        for user in range(shop.USERS):
            steps = shop.story(user)
            pending.append(collect.Collect.future(shop.batch(world.messages, user, steps, numbered=user % 2 == 0), timeout=10))
            # Half of them come one by one, the others share rows of the log.
            if user % 10 < 5 or user % 10 == 9:
                for answer in pending:
                    answer.result()
                pending = []
            if user % 10 == 0:
                time.sleep(0.05)
            if user % 25 == 24:
                # Between any two commits or in a merge: it goes on from what it has.
                suite.processes["query"].kill()
                suite.start(["query"])
        suite.wait_caught_up(token)
        wait_sealed(suite.metrics_ports["query"])
        first_answers = answers(suite, token)
        halt(suite)
        first = stores(suite)
        true(sum(count for tables in first.values() for count, _ in tables.values()) > 100, "stores that hold something")
        # A block of columns for each sealed day at least.
        days = first["query"]["segment"][0]
        true(0 < days <= first["query"]["segment_column"][0], f"sealed days: {first['query']}")
        rebuild(suite, token)
        equal(answers(suite, token), first_answers, "query's answers")
        halt(suite)
        equal(stores(suite), first, "the stores")
        suite.processes["ingest"].terminate()
        versions = make_version_1(suite)
        true(all(versions.get(one, 0) > 5 for one in ("0", "2", "2 shared")), f"rows of all forms: {versions}")
        suite.start(["ingest"])
        rebuild(suite, token)
        equal(answers(suite, token), first_answers, "query's answers from both versions")
        halt(suite)
        equal(stores(suite), first, "the stores from both versions")
    finally:
        suite.stop()
