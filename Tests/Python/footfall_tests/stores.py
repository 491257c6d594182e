"""What the consumers' files hold, as hashes that can be compared."""

import hashlib
import sqlite3
import time
import urllib.request

# Numbers of rows and segments tell when they were written. What of query is compared, its segments by app, day and column:
QUERY = {
    "app": "SELECT * FROM app",
    "position": "SELECT * FROM position",
    "row_block": "SELECT app, row_count FROM row_block",
    "segment": "SELECT app, day, begin_ms, version, row_count, context_columns, last_ms, fields, in_force, contexts, "
               "context_mask, exclusion, flag_counts, active_mask, is_compressed FROM segment",
    "segment_column": "SELECT app, day, number, segment_column.checksum, data FROM segment JOIN segment_column ON segment = id",
    "user_times": "SELECT * FROM user_times",
}
PHYSICAL = {"sqlite_sequence", "dictionary", *QUERY}


def digest(rows):
    rows = sorted(repr(row) for row in rows)
    return len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()


def tables_of(path, without=()):
    """Every table of a file, as the hash of its rows."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: digest(database.execute(f'SELECT * FROM "{name}"')) for name in names if name not in without}
    finally:
        database.close()


def query_store(path):
    """query's file whose rows are all sealed: what depends on the log."""
    found = tables_of(path, PHYSICAL)
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found.update({name: digest(database.execute(sql)) for name, sql in QUERY.items()})
        # Dictionaries, however they are cut into pieces.
        whole = {}
        for app, kind, entries in database.execute("SELECT app, kind, entries FROM dictionary ORDER BY app, kind, first_code"):
            whole[app, kind] = whole.get((app, kind), b"") + entries
        found["dictionary"] = digest(whole.items())
        return found
    finally:
        database.close()


def metric(port, name):
    """One figure of a service's metrics."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


# How query is started so that `wait_sealed` comes to its end.
SEALING = ["--seal-rows", "1", "--compress-after-seconds", "0"]


def wait_sealed(port, seconds=60):
    """Until query, started with `SEALING`, has merged all rows, compressed all days and deleted the segments that it
    replaced."""
    end = time.monotonic() + seconds
    while metric(port, "footfall_query_unsealed_rows") + metric(port, "footfall_query_uncompressed_days") > 0:
        if time.monotonic() > end:
            raise AssertionError(f"rows are not sealed within {seconds} s")
        time.sleep(0.05)
    # Two looks of the merge: the first one puts in force, the next one deletes.
    time.sleep(0.8)
