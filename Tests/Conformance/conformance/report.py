"""One line per case, and the sum."""

import sys
import time
import traceback


class Report:
    """Prints as it goes. `text`: only cases whose line holds it."""

    def __init__(self, text):
        self.text = text.lower()
        self.passed = self.failed = 0

    def wants(self, who, case):
        return self.text in f"{who}  {case}".lower()

    def case(self, who, name, run):
        """Runs a case: it passes where `run` returns None; a text, or whatever it raises, is why it failed."""
        if not self.wants(who, name):
            return
        begin = time.monotonic()
        try:
            reason = run()
        except Exception as error:  # A case may fail in any way; the others go on.
            reason = f"{type(error).__name__}: {error}"
            if not isinstance(error, AssertionError):
                traceback.print_exc(limit=-2, file=sys.stderr)
        if reason is None:
            self.passed += 1
            print(f"ok      {who:28} {name} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {who:28} {name}: {' '.join(str(reason).split())[:1000]}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return self.failed == 0 and self.passed > 0
