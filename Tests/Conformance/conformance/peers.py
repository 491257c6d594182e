"""The clients and servers as processes."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
SWIFT = pathlib.Path(os.environ.get("FOOTFALL_BINARIES", ROOT / ".build" / "release"))
CPP = ROOT / ".build" / "conformance"

SERVERS = {
    "footfall": [str(SWIFT / "InteropServer")],
    "grpcio": [sys.executable, "-m", "conformance.server"],
    "grpc-c++": [str(CPP / "interop-server")],
}
CLIENTS = {"footfall": [str(SWIFT / "InteropClient")], "grpc-c++": [str(CPP / "interop-client")]}
LOADS = {
    "footfall": lambda seconds, port, following: CLIENTS["footfall"] + [
        "--load", str(seconds), "--port", str(port), "--next-port", str(following)],
    "grpc-c++": lambda seconds, port, following: CLIENTS["grpc-c++"] + [
        "--load", str(seconds), "--port", str(port), "--next-port", str(following)],
    "grpcio": lambda seconds, port, following: [
        sys.executable, "-m", "conformance.load", str(seconds), str(port), str(following)],
}


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server on a port of its own, listening when this returns."""

    def __init__(self, kind, *more):
        self.kind, self.port = kind, free_port()
        self.log = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            SERVERS[kind] + [str(self.port)] + list(more), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.wait_listening()

    def wait_listening(self, seconds=20):
        end = time.monotonic() + seconds
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self.child.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.kind} does not listen on {self.port}:\n{self.log_tail()}") from None
            time.sleep(0.005)

    @property
    def running(self):
        return self.child.poll() is None

    def log_tail(self):
        self.log.seek(0)
        return self.log.read()[-2000:].decode(errors="replace")

    def terminate(self, seconds=20):
        """SIGTERM; the exit status."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=seconds)

    def kill(self):
        if self.running:
            self.child.kill()
        self.child.wait()
        self.log.close()


def run_client(kind, case, port, iterations, probes, seconds=120):
    """Runs one case of a client; the answer is why it failed, None: it passed."""
    command = CLIENTS[kind] + ["--case", case, "--port", str(port), "--iterations", str(iterations)]
    if not probes:
        command.append("--no-probe")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"did not end within {seconds} s"
    if done.returncode == 0:
        return None
    text = " ".join(done.stdout.decode(errors="replace").split())
    return f"exit status {done.returncode}: {text[-500:]}"
