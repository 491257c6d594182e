"""The log against what was acknowledged: every acknowledged event exactly once, as it was sent, none twice."""

import threading
import zlib

import grpc

from .journal import Journal


def key_of(request, event):
    return event.event_id or f"{request.device_id}#{event.sequence}"


def content_of(request, event):
    """What must come back unchanged."""
    return zlib.crc32(event.SerializeToString(deterministic=True), zlib.crc32(request.context.open_id.encode()))


class IdJournal(Journal):
    """Also which events were acknowledged, and when their batches were sent and answered."""

    def __init__(self, path):
        super().__init__(path)
        self.acked = {}

    def acknowledged(self, request, answer):
        super().acknowledged(request, answer)
        if answer.accepted == len(request.events) and not answer.quarantined and not answer.error.code:
            with self.lock:
                for event in request.events:
                    self.acked[key_of(request, event)] = content_of(request, event)


class Audit:
    """Reads the log piece by piece, and remembers what it has seen."""

    def __init__(self, lone, journal):
        self.lone, self.journal = lone, journal
        self.next = 0
        self.seen = {}
        self.wrong = []

    def read(self, to=None, seconds=120):
        """Everything up to the log's end."""
        m = self.lone.messages
        head = self.lone.status().head_offset if to is None else to
        if self.next >= head:
            return self
        call = self.lone.events().Subscribe(
            m.ingest.SubscribeRequest(from_offset=self.next, subscriber="audit"), timeout=seconds)
        try:
            for message in call:
                for record in message.records:
                    self.take(record)
                if self.next >= head:
                    break
        finally:
            call.cancel()
        return self

    def take(self, record):
        if record.first_offset != self.next:
            self.wrong.append(f"the log goes on at {record.first_offset} instead of {self.next}")
        self.next = record.first_offset + record.count
        if record.WhichOneof("body") != "batch":
            return
        request = self.lone.messages.ingest.CollectRequest.FromString(record.batch)
        if len(request.events) != record.count:
            self.wrong.append(f"offset {record.first_offset}: {len(request.events)} events where it says {record.count}")
        for event in request.events:
            key = key_of(request, event)
            if key in self.seen:
                self.wrong.append(f"{key} is in the log twice")
            self.seen[key] = content_of(request, event)

    def compare(self):
        """What is wrong, one sentence each."""
        found = list(self.wrong)
        with self.journal.lock:
            acked = dict(self.journal.acked)
        for key, content in acked.items():
            if key not in self.seen:
                found.append(f"{key} was acknowledged and is not in the log")
            elif self.seen[key] != content:
                found.append(f"{key} is in the log as something else")
        return found + self.journal.wrong
