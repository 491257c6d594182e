"""Replay: the consumers' stores, deleted and built anew from offset 0, hold what they held."""

import hashlib
import sqlite3
import time

from . import shop
from .harness import equal, test, true
from .lone import stamp_pages
from .suite import CONSUMERS, Suite

SCOPES = ["ingest:write", "query:read", "live:read", "profile:read"]
GRANULARITIES = (1, 4)
FILES = {"user-profile": "profile.sqlite", "live-stats": "live.sqlite", "query": "query.sqlite"}
# When query merges which rows into a segment depends on when they came: it is compared by its answers and by what does not.
PHYSICAL = {"row_block", "segment", "segment_column", "sqlite_sequence", "dictionary"}
DERIVED = {"query": PHYSICAL}


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


def tables_of(path, without=()):
    """Every table of a file, as the hash of its rows in order."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {}
        for name in names:
            if name in without:
                continue
            rows = sorted(repr(row) for row in database.execute(f'SELECT * FROM "{name}"'))
            found[name] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
        return found
    finally:
        database.close()


def dictionary_of(path):
    """query's dictionaries, however they are cut into pieces."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        pieces = database.execute("SELECT app, kind, first_code, entries FROM dictionary ORDER BY app, kind, first_code")
        whole = {}
        for app, kind, _, entries in pieces:
            whole[app, kind] = whole.get((app, kind), b"") + entries
        return {key: hashlib.sha256(value).hexdigest() for key, value in whole.items()}
    finally:
        database.close()


def stores(suite):
    """What the three stores hold; the services are down."""
    held = {name: tables_of(suite.data / FILES[name], DERIVED.get(name, ())) for name in CONSUMERS}
    held["query dictionaries"] = dictionary_of(suite.data / FILES["query"])
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
    time.sleep(0.5)


def make_version_1(suite):
    """Half of the log's rows get the checksum that version 1 had."""
    path = suite.data / "ingest.sqlite"
    database = sqlite3.connect(path)
    rows = database.execute("SELECT first_offset, payload FROM log ORDER BY first_offset").fetchall()
    for first, payload in rows[::2]:
        database.execute("UPDATE log SET checksum = ? WHERE first_offset = ?", [crc32c(payload), first])
    database.commit()
    versions = dict(database.execute("SELECT checksum >> 56, count(*) FROM log GROUP BY 1"))
    database.close()
    stamp_pages(path)
    return versions


@test("replay: stores that are built anew from offset 0 equal those that followed, also from rows of both versions")
def replay(world):
    suite = Suite(world.messages)
    try:
        suite.start()
        suite.create_app(shop.APP)
        token = suite.create_token(SCOPES, shop.APP)
        collect = suite.ingest(token)
        for user in range(shop.USERS):
            steps = shop.story(user)
            collect.Collect(shop.batch(world.messages, user, steps, numbered=user % 2 == 0), timeout=10)
            if user % 10 == 0:
                time.sleep(0.05)
        suite.wait_caught_up(token)
        first_answers = answers(suite, token)
        halt(suite)
        first = stores(suite)
        true(sum(count for tables in first.values() if isinstance(tables, dict)
                 for count in (v[0] for v in tables.values() if isinstance(v, tuple))) > 100, "stores that hold something")
        rebuild(suite, token)
        equal(answers(suite, token), first_answers, "query's answers")
        halt(suite)
        equal(stores(suite), first, "the stores")
        suite.processes["ingest"].terminate()
        versions = make_version_1(suite)
        true(versions.get(0, 0) > 10 and versions.get(2, 0) > 10, f"rows of both versions: {versions}")
        suite.start(["ingest"])
        rebuild(suite, token)
        equal(answers(suite, token), first_answers, "query's answers from both versions")
        halt(suite)
        equal(stores(suite), first, "the stores from both versions")
    finally:
        suite.stop()
