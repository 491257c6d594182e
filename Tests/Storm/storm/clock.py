"""The wall clock of ingest is set, forward and back, while it is under load."""

import random
import struct
import time

from .lone_storm import Load, build_preload, lone_ingest, say

SECOND = 1_000_000_000
STEPS = {"1 s": SECOND, "1 h": 3_600 * SECOND, "1 d": 86_400 * SECOND, "10 years": 3_652 * 86_400 * SECOND}


def set_clock(file, offset):
    file.seek(0)
    file.write(struct.pack("<q", offset))
    file.flush()


def send_again(load, chance, old):
    """Batches of long ago are duplicates, whatever the clock says."""
    found = []
    for request in chance.sample(old, min(20, len(old))):
        answer = load.stub.Collect(request, timeout=10)
        if answer.accepted != len(request.events) or answer.duplicates != len(request.events):
            found.append(f"a batch that was known answers {answer}")
    return found


def own_batches(load, count, number):
    m = load.lone.messages.ingest
    now = int(time.time() * 1000)
    made = []
    for index in range(count):
        user = f"clock-{number}-{index}"
        request = m.CollectRequest(app_id="storm", sent_ms=now, context=m.Context(open_id=user), device_id=user)
        for sequence in range(1, 4):
            request.events.add(name="$page_view", time_ms=now + sequence, page_path="pages/index", sequence=sequence)
        answer = load.stub.Collect(request, timeout=10)
        load.journal.acknowledged(request, answer)
        made.append(request)
    return made


def run(messages, options, seed, percentile):
    rounds = 8 if options.short else options.rounds or 100
    print(f"seed {seed}, {rounds} steps", flush=True)
    chance = random.Random(seed)
    found, old = [], []
    with lone_ingest(messages, keep=options.keep) as lone:
        library = build_preload(lone.folder)
        with open(lone.folder / "clock", "wb") as file:
            set_clock(file, 0)
            lone.process.terminate()
            lone.process.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(lone.folder / "clock")}
            lone.start()
            load = Load(lone, seed)
            load.stub = lone.ingest(lone.create_token(["ingest:write"], "storm"))
            offset, received = 0, set()
            for number in range(rounds):
                old += own_batches(load, 5, number)
                name, step = chance.choice(list(STEPS.items()))
                offset = 0 if abs(offset) > 2 * STEPS["10 years"] else offset + chance.choice((-1, 1)) * step
                set_clock(file, offset)
                load.wait_for_batch()
                found += send_again(load, chance, old)
                head = lone.status().head_offset
                # The order is that of the offsets, and nothing was taken for late or for the future.
                load.audit.read(head)
                if lone.status().quarantined_events:
                    found.append(f"{lone.status().quarantined_events} events were kept aside after a step of {name}")
                    break
                if chance.random() < 0.1:
                    lone.process.kill()
                    lone.start()
            shown = lone.status()
            set_clock(file, 0)
            found += load.finish()
            times = received_times(lone)
        if max(times) - min(times) < STEPS["1 h"] // 1_000_000:
            found.append("the clock of ingest did not move: the storm has shown nothing")
        if not all(one.lag_ms < 1 << 62 for one in shown.subscribers):
            found.append(f"a lag that cannot be: {shown.subscribers}")
        print(f"receipt times from {min(times)} to {max(times)} ms")
        print(f"figure clock_steps {rounds} steps")
        print(f"figure clock_events {len(load.journal.acked)} events", flush=True)
    return say(found)


def received_times(lone):
    m = lone.messages.ingest
    head = lone.status().head_offset
    times, call = [], lone.events().Subscribe(m.SubscribeRequest(from_offset=0, subscriber="times"), timeout=60)
    for message in call:
        times += [record.received_ms for record in message.records]
        if message.next_offset >= head:
            break
    call.cancel()
    return times
