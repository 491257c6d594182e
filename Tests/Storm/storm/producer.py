"""Senders that never give up: what is not acknowledged is sent again, unchanged, until it is."""

import random
import threading
import time

import grpc

from footfall_tests.suite import connect

USERS_PER_PRODUCER = 25
BATCH_EVENTS_MAX = 6
BURST_MAX = 4
PAUSE_SECONDS_MAX = 0.02
CALL_SECONDS = 5
PAGES = ("pages/index", "pages/list", "pages/product", "pages/cart")
NAMES = ("$page_view", "$page_view", "$share", "add_to_cart", "purchase")


class Producer(threading.Thread):
    """Sends batches of its own users in bursts; every second one numbers its events, the others give each an id."""

    def __init__(self, number, seed, messages, port, token, app, journal):
        super().__init__(name=f"producer-{number}", daemon=True)
        self.random = random.Random(seed * 1000 + number)
        self.number, self.messages, self.app, self.journal = number, messages, app, journal
        self.numbered = number % 2 == 0
        self.sequences = [0] * USERS_PER_PRODUCER
        self.channel = connect(port, token)
        self.stub = messages.ingest_rpc.IngestStub(self.channel)
        self.stopping = threading.Event()
        self.failure = None

    def batch(self):
        """A new batch of one of its users."""
        m = self.messages.ingest
        user = self.random.randrange(USERS_PER_PRODUCER)
        name = f"u-{self.number}-{user}"
        now = int(time.time() * 1000)
        request = m.CollectRequest(
            app_id=self.app, sent_ms=now,
            context=m.Context(open_id=name, scene=1001, province=f"province {user % 5}", gender=("male", "female")[user % 2]))
        if self.numbered:
            request.device_id = f"d-{self.number}-{user}"
        for _ in range(self.random.randint(1, BATCH_EVENTS_MAX)):
            self.sequences[user] += 1
            event = request.events.add(name=self.random.choice(NAMES), time_ms=now, page_path=self.random.choice(PAGES))
            if self.numbered:
                event.sequence = self.sequences[user]
            else:
                event.event_id = f"{name}-{self.sequences[user]}"
        return request

    def run(self):
        try:
            while not self.stopping.is_set():
                self.deliver([self.batch() for _ in range(self.random.randint(1, BURST_MAX))])
                time.sleep(self.random.uniform(0, PAUSE_SECONDS_MAX))
        except Exception as error:  # The driver must hear of it, whatever it is.
            self.failure = error

    def deliver(self, waiting):
        """Sends batches at the same time until all are acknowledged. Even after `stop`: nothing is left in doubt."""
        while waiting:
            waiting = self.send(waiting)
            if waiting:
                time.sleep(self.random.uniform(0.01, 0.05))

    def send(self, requests):
        """One attempt; what is to be sent again."""
        again = []
        calls = []
        for request in requests:
            self.journal.began()
            calls.append((request, self.stub.Collect.future(request, timeout=CALL_SECONDS)))
        for request, call in calls:
            try:
                self.journal.acknowledged(request, call.result())
            except grpc.RpcError as error:
                self.retry(request, error, again)
            finally:
                self.journal.ended()
        return again

    def retry(self, request, error, again):
        """Notes a failed batch for another attempt; a refusal that no repetition mends is the suite's failure."""
        code = error.code()
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED,
                    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED):
            raise RuntimeError(f"a good batch was refused: {code} {error.details()}")
        self.journal.failed(code.name)
        again.append(request)

    def stop(self):
        self.stopping.set()


class StreamProducer(Producer):
    """The same over CollectStream: a stream per burst, answered batch by batch."""

    def send(self, requests):
        for number, request in enumerate(requests):
            request.batch = number + 1
            self.journal.began()
        unanswered = list(requests)
        again = []
        try:
            for answer in self.stub.CollectStream(iter(requests), timeout=CALL_SECONDS):
                self.journal.acknowledged(requests[answer.batch - 1], answer)
                unanswered.remove(requests[answer.batch - 1])
            if unanswered:
                self.journal.failed("ENDED_EARLY")
                again = unanswered
        except grpc.RpcError as error:
            for request in unanswered:
                self.retry(request, error, again)
        finally:
            for _ in requests:
                self.journal.ended()
        return again
