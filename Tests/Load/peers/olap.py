"""chDB or DuckDB as the peer of query: loads the rows of peers/rows.c, or answers one of the 14 questions.

    olap.py chdb|duckdb load FOLDER
    olap.py chdb|duckdb ask FOLDER QUESTION WAY TABLE REPEATS

Runs in an environment of its own (figures/olap_peers.py) and prints one line of JSON.
"""

import json
import pathlib
import resource
import sys
import time

import olap_sql

THREADS = 2
COLUMNS = [
    ("ts", "UInt64"), ("day", "UInt16"), ("uid", "UInt32"), ("sid", "UInt32"), ("ev", "UInt8"), ("page", "UInt16"),
    ("scene", "UInt8"), ("prov", "UInt8"), ("city", "UInt16"), ("gender", "UInt8"), ("model", "UInt8"),
    ("network", "UInt8"), ("host", "UInt8"), ("amount", "UInt32"), ("product", "UInt16"), ("text", "UInt16"),
    ("seq", "UInt32")]


class ChDB:
    def __init__(self, folder):
        from chdb.session import Session
        self.folder = folder
        self.session = Session(str(folder / "chdb"))

    def load(self):
        """A table per sort order, and a file from which DuckDB loads."""
        names = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
        rows = f"file('{self.folder}/rows.bin', RowBinary, '{names}')"
        settings = f"settings max_threads = {THREADS}, max_insert_threads = {THREADS}"
        self.session.query("create database if not exists olap")
        self.session.query(f"insert into function file('{self.folder}/rows.parquet', Parquet) select * from {rows} {settings}")
        sizes = {}
        for table, order in olap_sql.ORDERS.items():
            self.session.query(f"create table olap.{table} ({names}) engine = MergeTree order by ({order})")
            self.session.query(f"insert into olap.{table} select * from {rows} {settings}")
            self.session.query(f"optimize table olap.{table} final")
            sizes[table] = int(self.session.query(
                f"select sum(bytes_on_disk) from system.parts where database = 'olap' and table = '{table}' and active", "CSV").bytes())
        return sizes

    def ask(self, sql, table):
        sql = sql.replace("from T", f"from olap.{table}")
        lines = self.session.query(f"{sql} settings max_threads = {THREADS}", "JSONCompactEachRow").bytes()
        return [json.loads(line) for line in lines.splitlines()]

    questions = staticmethod(olap_sql.chdb)


class DuckDB:
    def __init__(self, folder):
        import duckdb
        self.folder = folder
        path = folder / "duckdb.db"
        self.connection = duckdb.connect(str(path), read_only=path.exists())
        self.connection.execute(f"set threads = {THREADS}")

    def load(self):
        for table, order in olap_sql.ORDERS.items():
            self.connection.execute(f"create table {table} as select * from '{self.folder}/rows.parquet' order by {order}")
            self.connection.execute("checkpoint")
        return {"all": (self.folder / "duckdb.db").stat().st_size}

    def ask(self, sql, table):
        return self.connection.execute(sql.replace("from T", f"from {table}")).fetchall()

    questions = staticmethod(olap_sql.duckdb)


def plain(value):
    """Lists stay lists, numbers become whole."""
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else int(value)


def main():
    kind, action, folder = {"chdb": ChDB, "duckdb": DuckDB}[sys.argv[1]], sys.argv[2], pathlib.Path(sys.argv[3])
    if action == "load":
        print(json.dumps(kind(folder).load()))
        return
    question, way, table, repeats = sys.argv[4], int(sys.argv[5]), sys.argv[6], int(sys.argv[7])
    facts = json.loads((folder / "facts.json").read_text())
    sql = kind.questions(facts["first_open"], facts["source_keys"])[question][way][1]
    begin = time.perf_counter()
    if sys.argv[1] == "chdb":
        import chdb.session
    else:
        import duckdb
    loaded = time.perf_counter()
    peer = kind(folder)
    rows = peer.ask(sql, table)
    end = time.perf_counter()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        peer.ask(sql, table)
        taken.append(time.perf_counter() - start)
    print(json.dumps({
        "rows": plain(rows), "cold": end - begin, "cold_loaded": end - loaded, "warm": taken,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


main()
