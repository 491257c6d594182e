"""What was acknowledged: the truth that the services are compared with."""

import threading


class Journal:
    """Counts acknowledged events by user, and writes one line per acknowledged batch for a look afterwards."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.file = open(path, "w", buffering=1 << 16)
        self.events_of_user = {}
        self.batches = self.events = self.duplicates = self.retries = self.in_flight = 0
        self.errors = {}
        self.wrong = []

    def began(self):
        with self.lock:
            self.in_flight += 1

    def ended(self):
        with self.lock:
            self.in_flight -= 1

    def acknowledged(self, request, answer):
        """A batch is on disk. An answer that does not take all of it is a failure of the suite."""
        count = len(request.events)
        with self.lock:
            if answer.accepted != count or answer.rejected or answer.quarantined or answer.error.code:
                self.wrong.append(f"{request.context.open_id}: {count} events sent, answered {answer}")
                return
            user = request.context.open_id
            self.events_of_user[user] = self.events_of_user.get(user, 0) + count
            self.batches += 1
            self.events += count
            self.duplicates += answer.duplicates
            first = request.events[0]
            self.file.write(f"{user} {first.sequence or first.event_id} {count} {answer.duplicates}\n")

    def failed(self, code):
        """A batch was not acknowledged; it will be sent again."""
        with self.lock:
            self.retries += 1
            self.errors[code] = self.errors.get(code, 0) + 1
