"""Runs one attack on many connections at once; one that was cut comes back after about a second, each when it likes. Prints one
line of JSON.

    python -m attack.attacker NAME PORT CONNECTIONS SECONDS
"""

import asyncio
import json
import os
import random
import sys
import time

from .attacks import ATTACKS, Peer

PAUSE_SECONDS = 0.5, 1.5


async def repeat(attack, port, number, end, wrong):
    runs = right = 0
    while runs == 0 or time.monotonic() < end:
        peer = Peer(port, number)
        runs += 1
        try:
            ended = await attack.function(peer)
        except OSError as error:
            ended = False
            peer.text = repr(error).encode()
        right += bool(ended)
        if not ended:
            wrong.append(
                f"connection {number}: closed {peer.closed}, GOAWAY {peer.goaway} {peer.text[:60]!r}, "
                f"resets {dict(list(peer.reset_streams.items())[:3])}, answers {len(peer.answered)}")
        if hasattr(peer, "task"):
            peer.close()
        await asyncio.sleep(min(random.uniform(*PAUSE_SECONDS), max(0.0, end - time.monotonic())))
    return runs, right


async def main():
    attack, port, count = ATTACKS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    end = time.monotonic() + float(sys.argv[4])
    wrong = []
    results = await asyncio.gather(*(repeat(attack, port, number, end, wrong) for number in range(count)))
    print(json.dumps({
        "runs": sum(one[0] for one in results), "right": sum(one[1] for one in results), "wrong": wrong[:5]}))


# The client beside it shall have the processor whenever it wants it: what is measured is the server. Niceness is not enough: a
# process may finish its slice of milliseconds first.
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
asyncio.run(main())
