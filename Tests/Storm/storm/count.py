"""Compares what each service counts with the journal."""

import datetime
import time

MINUTE_MS = 60_000
BUCKETS_MAX = 2_000


def differences(suite, token, app, journal, begin_ms):
    """What is missing or counted twice, one sentence each; none where all is well."""
    m = suite.messages
    suite.wait_caught_up(token, seconds=120)
    found = []

    def compare(what, actual, expected):
        if actual != expected:
            found.append(f"{what}: {expected} acknowledged, {actual} counted ({actual - expected:+})")

    status = suite.ingest().GetLogStatus(m.ingest.GetLogStatusRequest(), timeout=10)
    compare("ingest, quarantined events", status.quarantined_events, 0)
    today = datetime.date.today()
    whole = m.common.DateRange(begin_date=(today - datetime.timedelta(days=1)).isoformat(),
                               end_date=(today + datetime.timedelta(days=1)).isoformat())
    trend = suite.query(token).GetTrend(m.query.GetTrendRequest(app_id=app, range=whole, granularity=4), timeout=60)
    compare("query, event_cnt", trend.points[0].metrics.event_cnt, journal.events)
    compare("query, visit_uv", trend.points[0].metrics.visit_uv, len(journal.events_of_user))
    begin = begin_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
    end = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS + 2 * MINUTE_MS
    live = 0
    while begin < end:
        until = min(end, begin + BUCKETS_MAX * MINUTE_MS)
        series = suite.live(token).GetSeries(
            m.live.GetSeriesRequest(app_id=app, begin_ms=begin, end_ms=until), timeout=60)
        live += sum(point.event_cnt for point in series.points)
        begin = until
    compare("live-stats, event_cnt", live, journal.events)
    profile = suite.profile(token)
    for user, events in sorted(journal.events_of_user.items()):
        one = profile.GetProfile(m.profile.GetProfileRequest(app_id=app, open_id=user), timeout=10)
        compare(f"user-profile, event_cnt of {user}", one.event_cnt, events)
    return found
