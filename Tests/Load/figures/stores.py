"""The stores that ingest is compared with, each on the service's core and on the same disk, durable before it acknowledges."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time

from footfall_tests.suite import free_ports

from .client import CLIENT_CPU, PROGRAMS, SERVER_CPU, Wrong, check

POSTGRES = pathlib.Path("/usr/lib/postgresql/15/bin")
# What a careful administrator would set for many small durable transactions.
POSTGRES_SETTINGS = {
    "listen_addresses": "", "max_connections": "100", "shared_buffers": "1GB", "synchronous_commit": "on", "fsync": "on",
    "wal_sync_method": "fdatasync", "wal_buffers": "64MB", "max_wal_size": "16GB", "checkpoint_timeout": "30min",
    "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": "0", "track_activities": "off",
    "track_counts": "off", "jit": "off", "commit_delay": "100", "commit_siblings": "8",
}


def send(kind, target, batches, clients, batch_events, users):
    """Sends the batches; what the sender prints, by name."""
    command = ["taskset", "-c", CLIENT_CPU, str(PROGRAMS / "stores"), kind, "--target", str(target), "--clients",
               str(clients), "--batches", str(batches), "--batch-events", str(batch_events), "--users", str(users)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if result.returncode != 0:
        raise Wrong(f"{kind}: {result.stderr.strip()}")
    return {name: float(value) for name, value in (line.split() for line in result.stdout.splitlines())}


def processor_seconds(processes):
    """Processor time of processes, user and system, in seconds; those of children that they have waited for included."""
    ticks = 0
    for process in processes:
        try:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(parent):
    """A process and its children."""
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent] + [int(child) for child in children]


class Peer:
    """One store over a folder beside the service's data."""

    def __init__(self, folder):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="peer-", dir=folder))
        self.child = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, batches, clients, batch_events, users):
        """Batches per second, and the share of its core that the store used."""
        before, begin = processor_seconds(family(self.child.pid)), time.monotonic()
        result = send(self.kind, self.target, batches, clients, batch_events, users)
        # Its children end with their connections; the parent has waited for them.
        time.sleep(0.2)
        used = processor_seconds(family(self.child.pid)) - before
        result["processor_share"] = used / (time.monotonic() - begin - 0.2)
        return result


class Postgres(Peer):
    """PostgreSQL 15, run by the user `postgres` where we are root."""

    kind = "postgres"

    @staticmethod
    def missing():
        """Why it cannot run; None: it can."""
        if not (POSTGRES / "initdb").exists():
            return "on Debian: apt-get install postgresql-15"
        if not (PROGRAMS / "stores").exists():
            return "its sender is not built; on Debian: apt-get install libpq-dev"
        return None

    def command(self, *arguments):
        return (["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []) + [str(one) for one in arguments]

    def start(self):
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        # `postgres` must be able to come to its folder.
        os.chmod(self.folder.parent, 0o711)
        data = self.folder / "data"
        subprocess.run(self.command(POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "load", "-E", "UTF8"), check=True,
                       stdout=subprocess.DEVNULL, cwd="/")
        self.target = f"host={self.folder} user=load dbname=postgres"
        settings = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        log = open(self.folder / "log", "wb")
        self.child = subprocess.Popen(
            ["taskset", "-c", SERVER_CPU] + ([
                "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else [])
            + [str(POSTGRES / "postgres"), "-D", str(data), "-k", str(self.folder)] + settings,
            stdout=log, stderr=log, cwd="/")
        end = time.monotonic() + 30
        while subprocess.run([str(POSTGRES / "pg_isready"), "-q", "-h", str(self.folder)]).returncode != 0:
            check(self.child.poll() is None and time.monotonic() < end,
                  f"postgres does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def events(self):
        answer = subprocess.run(
            ["psql", "-h", str(self.folder), "-U", "load", "-d", "postgres", "-Atc", "SELECT count(*) FROM event"],
            capture_output=True, text=True, check=True)
        return int(answer.stdout)


class JetStream(Peer):
    """NATS JetStream on a file store. 2.10 and later sync before the acknowledgement by `sync_always`. Older ones (Debian 12
    has 2.9) acknowledge what they have handed to the kernel and sync every two minutes; there the store's folder gets ext4's
    attribute `S`, by which each write is on the disk when the call returns."""

    kind = "jetstream"

    @staticmethod
    def missing():
        if shutil.which("nats-server") is None:
            return "on Debian: apt-get install nats-server"
        if not (PROGRAMS / "stores").exists():
            return "its sender is not built; on Debian: apt-get install libpq-dev"
        return None

    def __init__(self, folder, syncs):
        super().__init__(folder)
        text = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=True).stdout
        self.version = tuple(int(part) for part in re.search(r"(\d+)\.(\d+)\.(\d+)", text).groups())
        self.has_setting = self.version >= (2, 10, 0)
        self.syncs = syncs
        self.how = "handed to the kernel, synced later"
        if syncs:
            self.how = "sync_always" if self.has_setting else "every write synchronous (chattr +S)"

    def start(self):
        store = self.folder / "store"
        store.mkdir()
        if self.syncs and not self.has_setting:
            subprocess.run(["chattr", "+S", str(store)], check=True)
        self.target = free_ports(1)[0]
        always = ", sync_interval: always" if self.syncs and self.has_setting else ""
        (self.folder / "conf").write_text(
            f'host: 127.0.0.1\nport: {self.target}\njetstream {{ store_dir: "{store}"{always} }}\n')
        log = open(self.folder / "log", "wb")
        self.child = subprocess.Popen(
            ["taskset", "-c", SERVER_CPU, "nats-server", "-c", str(self.folder / "conf")], stdout=log, stderr=log,
            env=os.environ | {"GOMAXPROCS": "1"})
        end = time.monotonic() + 30
        while "Server is ready" not in (self.folder / "log").read_text():
            check(self.child.poll() is None and time.monotonic() < end,
                  f"nats-server does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def sync_calls(self, batches, clients, batch_events, users):
        """How many fsync, fdatasync and sync_file_range calls it makes for so many batches, and whether its files carry `S`."""
        if shutil.which("strace") is None:
            return None
        counts = self.folder / "strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range,pwrite64,write", "-o", str(counts), "-p",
             str(self.child.pid)], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        send(self.kind, self.target, batches, clients, batch_events, users)
        tracer.terminate()
        tracer.wait()
        calls = {}
        for line in counts.read_text().splitlines():
            parts = line.split()
            if len(parts) >= 5 and parts[-1] in ("fsync", "fdatasync", "sync_file_range", "pwrite64", "write"):
                calls[parts[-1]] = int(parts[3])
        block = next(self.folder.glob("store/**/msgs/*.blk"))
        attributes = subprocess.run(["lsattr", str(block)], capture_output=True, text=True).stdout.split(" ")[0]
        return calls, "S" in attributes

    def messages(self):
        """How many messages the stream holds, as its files tell after a clean end."""
        check(self.child.poll() is None, "nats-server is gone")
        import socket
        with socket.create_connection(("127.0.0.1", self.target)) as connection:
            stream = connection.makefile("rwb")
            stream.readline()
            stream.write(b'CONNECT {"verbose":false}\r\nSUB count 1\r\nPUB $JS.API.STREAM.INFO.EVENTS count 0\r\n\r\n')
            stream.flush()
            while not stream.readline().startswith(b"MSG"):
                pass
            return int(re.search(rb'"messages":(\d+)', stream.readline()).group(1))
