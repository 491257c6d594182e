"""Ingest alone, with settings of its own, and a log that can be looked at and damaged while it is down."""

import os
import pathlib
import shutil
import sqlite3
import struct
import tempfile
import time

from grpc_health.v1 import health_pb2, health_pb2_grpc

from .suite import Process, connect, free_ports


PAGE_CHECK_BYTES = 8
MASK = (1 << 64) - 1


def page_checksum(page, number):
    """As Shared/CPageChecks/page_checks.c has it."""
    words = struct.unpack(f"<{(len(page) - PAGE_CHECK_BYTES) // 8}Q", page[:-PAGE_CHECK_BYTES])
    a, b = 0x9E3779B97F4A7C15 ^ number, ~number & MASK
    for index in range(0, len(words) - 1, 2):
        a = (a ^ words[index]) * 0xFF51AFD7ED558CCD & MASK
        b = (b ^ words[index + 1]) * 0xC4CEB9FE1A85EC53 & MASK
        a = (a << 29 | a >> 35) & MASK
        b = (b << 31 | b >> 33) & MASK
    if len(words) % 2:
        a = (a ^ words[-1]) * 0xFF51AFD7ED558CCD & MASK
    a ^= a >> 32
    b ^= b >> 29
    return (a * 0x9E3779B97F4A7C15 + b) & MASK


def stamp_pages(path):
    """Gives every page of a file the checksum that it should have."""
    content = bytearray(path.read_bytes())
    size = struct.unpack(">H", content[16:18])[0]
    if content[20] != PAGE_CHECK_BYTES:
        raise RuntimeError(f"{path}: its pages carry no checksums")
    for start in range(0, len(content), size):
        page = content[start:start + size]
        content[start + size - PAGE_CHECK_BYTES:start + size] = struct.pack("<Q", page_checksum(page, start // size + 1))
    path.write_bytes(content)


class LoneIngest:
    """One ingest over a data folder of its own. A context: what it started is gone at the end."""

    def __init__(self, messages, *settings, folder=None, environment=None, wrapper=()):
        self.messages = messages
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="footfall-ingest-"))
        self.data = self.folder / "data"
        self.port, self.metrics_port = free_ports(2)
        arguments = ["--port", str(self.port), "--metrics-port", str(self.metrics_port), "--data", str(self.data),
                     "--event-loops", "1", *settings]
        self.process = Process("ingest", arguments, self.port, str(self.folder / "ingest.log"))
        self.process.environment = environment or {}
        self.process.wrapper = list(wrapper)
        self.channels, self.current = [], {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, seconds=20):
        self.process.start()
        self.process.wait_listening(seconds)
        # Those of before wait for a while after a failed attempt; who holds one goes on with it.
        self.current = {}
        self.admin_token = self.token_file("admin.token")
        self.service_token = self.token_file("service.token")
        return self

    def token_file(self, name):
        path = self.data / name
        end = time.monotonic() + 10
        while not (path.exists() and path.read_text().strip()):
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was not written")
            time.sleep(0.01)
        return path.read_text().strip()

    def channel(self, token):
        """One per token and start: a server takes only so many connections of one address."""
        if token not in self.current:
            self.current[token] = connect(self.port, token)
            self.channels.append(self.current[token])
        return self.current[token]

    def ingest(self, token=None):
        return self.messages.ingest_rpc.IngestStub(self.channel(token or self.admin_token))

    def events(self, token=None):
        return self.messages.ingest_rpc.EventLogStub(self.channel(token or self.service_token))

    def control(self, token=None):
        return self.messages.log_rpc.LogControlStub(self.channel(token or self.admin_token))

    def health(self, service=""):
        stub = health_pb2_grpc.HealthStub(self.channel(None))
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status

    def create_app(self, app_id):
        app = self.messages.ingest.App(app_id=app_id, name=app_id, platform=1)
        return self.ingest().CreateApp(self.messages.ingest.CreateAppRequest(app=app), timeout=10)

    def create_token(self, scopes, app_id=""):
        request = self.messages.ingest.CreateTokenRequest(app_id=app_id, scopes=scopes, label="test")
        return self.ingest().CreateToken(request, timeout=10).secret

    def status(self):
        return self.ingest().GetLogStatus(self.messages.ingest.GetLogStatusRequest(), timeout=10)

    def batch(self, app, user, ids, time_ms=None, text=""):
        """One batch of one user, an event for each id."""
        m = self.messages
        now = int(time.time() * 1000) if time_ms is None else time_ms
        request = m.ingest.CollectRequest(app_id=app, context=m.ingest.Context(open_id=user))
        for one in ids:
            event = request.events.add(name="view", time_ms=now, event_id=one)
            if text:
                event.fields.add(name="text", value=m.common.FieldValue(string_value=text))
        return request

    def tamper(self, *statements):
        """Changes the log's file while ingest is down, checksums of its pages and all: (SQL, values) each."""
        path = self.data / "ingest.sqlite"
        database = sqlite3.connect(path)
        for sql, values in statements:
            database.execute(sql, values)
        database.commit()
        database.close()
        stamp_pages(path)

    def select(self, sql, values=()):
        """Rows of the log's file; ingest must be down."""
        database = sqlite3.connect(f"file:{self.data / 'ingest.sqlite'}?mode=ro", uri=True)
        try:
            return database.execute(sql, values).fetchall()
        finally:
            database.close()

    def restart(self, between=lambda: None):
        self.process.terminate()
        between()
        return self.start()

    def stop(self, keep=False):
        for channel in self.channels:
            channel.close()
        self.channels, self.current = [], {}
        self.process.kill()
        if self.own_folder and not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
