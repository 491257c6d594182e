"""chDB and DuckDB beside query: their environment, their tables, and the fastest way that either has to answer a question."""

import fcntl
import json
import pathlib
import shutil
import subprocess
import sys

from footfall_tests.suite import ROOT

from .client import check

ENVIRONMENT = ROOT / ".build" / "olap"
PACKAGES = ["chdb", "duckdb"]
PROGRAM = ROOT / "Tests" / "Load" / "peers" / "olap.py"
KINDS = ("chdb", "duckdb")

sys.path.insert(0, str(PROGRAM.parent))
import olap_sql  # noqa: E402


def python():
    """The peers' own interpreter; made on first use."""
    program = ENVIRONMENT / "bin" / "python"
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    with open(ENVIRONMENT.parent / "olap.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        imports = [str(program), "-c", "import chdb, duckdb"]
        if not program.exists() or subprocess.run(imports, stderr=subprocess.DEVNULL).returncode != 0:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True, stdout=sys.stderr)
            subprocess.run([str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + PACKAGES,
                           check=True, stdout=sys.stderr)
    return str(program)


class Peer:
    """One of them over the rows in a folder."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, pathlib.Path(folder)
        self.program = python()
        self.best = {}

    def call(self, *arguments):
        command = [self.program, str(PROGRAM), self.kind, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        check(result.returncode == 0, f"{self.kind} {' '.join(map(str, arguments[2:]))}: {result.stderr[-2000:]}")
        return json.loads(result.stdout)

    def load(self):
        """Bytes of each table; those of an earlier run where it finished."""
        done = self.folder / f"{self.kind}.json"
        if not done.exists():
            for path in self.folder.glob("duckdb.db*" if self.kind == "duckdb" else "chdb"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            done.write_text(json.dumps(self.call("load", self.folder)))
        return json.loads(done.read_text())

    def ways(self, question, facts):
        """Queries by their number and the tables on which each is tried."""
        questions = {"chdb": olap_sql.chdb, "duckdb": olap_sql.duckdb}[self.kind](facts["first_open"], facts["source_keys"])
        return [(number, table) for number, (tables, _) in enumerate(questions[question]) for table in tables.split()]

    def ask(self, question, way, repeats):
        return self.call("ask", self.folder, question, *way, repeats)

    def answer(self, question, facts, repeats, rounds):
        """Rows and times, of the fastest way: all are tried, the fastest is measured on in processes of its own."""
        tried = {way: self.ask(question, way, 2) for way in self.ways(question, facts)}
        rows = {json.dumps(sorted(one["rows"])) for one in tried.values()}
        check(len(rows) == 1, f"{self.kind} {question}: its ways give {len(rows)} answers")
        best = min(tried, key=lambda way: min(tried[way]["warm"]))
        results = [self.ask(question, best, repeats) for _ in range(rounds)]
        return {
            "rows": results[0]["rows"], "way": best, "warm": [one for result in results for one in result["warm"]],
            "cold": [result["cold"] for result in results], "cold_loaded": [result["cold_loaded"] for result in results],
            "memory": max(result["memory"] for result in results)}

    def quick_answer(self, question, facts):
        """Rows and times of the first way, asked once more."""
        way = self.ways(question, facts)[0]
        result = self.ask(question, way, 1)
        return result | {"way": way, "cold": [result["cold"]], "cold_loaded": [result["cold_loaded"]]}
