"""Stands between a client and a server and notes the compressed flag of each message, whatever their libraries show."""

import socket
import threading

from . import frames
from .frames import DATA, HEADERS, PREFACE


class Side:
    """The messages of one direction, by stream."""

    def __init__(self, skip):
        self.buffer = b""
        self.skip = skip
        self.streams = {}
        self.flags = {}

    def feed(self, piece):
        self.buffer += piece
        if self.skip:
            cut = min(self.skip, len(self.buffer))
            self.buffer, self.skip = self.buffer[cut:], self.skip - cut
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            stream = int.from_bytes(self.buffer[5:9], "big")
            one = frames.Frame(self.buffer[3], self.buffer[4], stream, self.buffer[9:9 + length])
            self.buffer = self.buffer[9 + length:]
            if one.type == HEADERS:
                self.flags.setdefault(stream, [])
            if one.type == DATA:
                self.note(stream, frames.unpadded(one))

    def note(self, stream, piece):
        rest = self.streams.get(stream, b"") + piece
        while len(rest) >= 5 and len(rest) >= 5 + int.from_bytes(rest[1:5], "big"):
            self.flags.setdefault(stream, []).append(rest[0])
            rest = rest[5 + int.from_bytes(rest[1:5], "big"):]
        self.streams[stream] = rest


class Tap:
    """Listens on `port` and passes everything on to the server."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.requests, self.responses = [], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self.requests.append(Side(len(PREFACE)))
            self.responses.append(Side(0))
            for source, target, side in ((client, server, self.requests[-1]), (server, client, self.responses[-1])):
                threading.Thread(target=self.pass_on, args=(source, target, side), daemon=True).start()

    @staticmethod
    def pass_on(source, target, side):
        try:
            while piece := source.recv(1 << 16):
                side.feed(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # One side has gone: the other sees it by its own socket.

    @staticmethod
    def flags(sides):
        """The flags of each call's messages, in the order of the calls."""
        return [side.flags[stream] for side in sides for stream in sorted(side.flags)]

    def close(self):
        self.listener.close()
