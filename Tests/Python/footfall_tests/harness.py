"""Registers tests, runs them by name, and says what was expected where one fails."""

import sys
import time
import traceback

import grpc

TESTS = []


class Skipped(Exception):
    """Raised by a test whose input is not there."""


def test(name):
    """Registers a function as the test `name`, a sentence."""

    def register(function):
        TESTS.append((name, function))
        return function

    return register


def equal(actual, expected, what="value"):
    """Fails unless the two are equal."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def true(condition, what):
    """Fails unless the condition holds."""
    if not condition:
        raise AssertionError(what)


def fails(code, call, *mentions):
    """Fails unless `call` ends with the gRPC status `code` and a message that holds each of `mentions`."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        equal(error.code(), code, f"status (message: {error.details()!r})")
        for mention in mentions:
            true(mention in error.details(), f"the message must name {mention!r}: {error.details()!r}")
        return error
    raise AssertionError(f"expected {code}, got an answer: {answer!r}"[:500])


def until(condition, seconds=15, what="condition"):
    """Asks until `condition()` is true; its last value is the answer."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def run_all(world, text):
    """Runs the tests whose names hold `text`; prints each; true if none failed."""
    passed, failed, skipped = 0, 0, 0
    for name, function in TESTS:
        if text.lower() not in name.lower():
            continue
        begin = time.monotonic()
        try:
            function(world)
        except Skipped as reason:
            skipped += 1
            print(f"skipped  {name}: {reason}", flush=True)
        except Exception as error:  # A test may fail in any way; the others go on.
            failed += 1
            print(f"FAILED   {name}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc(limit=-3, file=sys.stderr)
        else:
            passed += 1
            print(f"passed   {name} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0 and passed > 0
