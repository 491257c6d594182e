"""The 14 questions in SQL, as well as we can put them: several ways where it is not plain which is the fastest.

Table: an event per row, codes for everything (peers/rows.c). `ts`: ms since the first local midnight; `day`: local day;
`sid`: opens numbered in the order in which they begin, so that those that begin in the last 30 days are `sid >= FIRST`.
Each entry: (tables to try, query).
"""

DAY_MS = 86_400_000
FIRST_DAY, LAST_DAY, HOUR_DAY = 30, 59, 45
FUNNELS = {"funnel4": ([1, 4, 6, 10], DAY_MS), "funnel10": ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 7 * DAY_MS)}
MODELS = (0, 1, 2)
QUESTIONS = ("dau uniques retention pages event_rare event_common funnel4 funnel4_by_source funnel10 paths sessions sum "
             "tiers hourly").split()
# Sort orders of the peers' tables.
ORDERS = {"by_event": "ev, day, uid, ts", "by_day": "day, uid, ts", "by_user": "uid, ts", "by_open": "sid, ts"}

STAY_BOUNDS = (2, 5, 10, 20, 30, 50, 100)


def bucket(value, bounds):
    """The key of a distribution: bounds included, one more beyond them."""
    return "case " + " ".join(f"when {value} <= {bound} then {key}" for key, bound in enumerate(bounds, 1)) + (
        f" else {len(bounds) + 1} end")


DEPTH_BOUNDS = (1, 2, 3, 4, 5, 10)


def chained(table, steps, window):
    """Of each event of a step: the latest step 1 of a chain that has come to each step, by windows over the user's events."""
    frame = "(partition by uid order by ts rows between unbounded preceding and current row)"
    codes = ", ".join(map(str, steps))
    sql = (f"select uid, ts, ev, scene, max(case when ev = {steps[0]} then ts end) over {frame} f1 from {table} "
           f"where day >= {FIRST_DAY} and ev in ({codes})")
    for number in range(2, len(steps) + 1):
        before = f"f{number - 1}"
        sql = (f"select *, max(case when ev = {steps[number - 1]} and ts - {before} <= {window} then {before} end) "
               f"over {frame} f{number} from ({sql})")
    return sql


def level(count):
    return "case " + " ".join(f"when max(f{k}) is not null then {k}" for k in range(count, 0, -1)) + " else 0 end"


def end_of_chain(count):
    """When a user's furthest step was reached first."""
    return "case " + " ".join(
        f"when max(f{k}) is not null then min(case when f{k} is not null then ts end)" for k in range(count, 0, -1)) + " end"


def both(distinct, hour, first):
    """What both dialects say in the same words."""
    return {
        "dau": [("by_day by_user", f"select day, {distinct} from T where day >= {FIRST_DAY} group by day")],
        "uniques": [("by_day by_user", f"select {distinct} from T where day >= {FIRST_DAY}")],
        "retention": [("by_day by_user", f"""
            with active as (select distinct uid, day from T),
              new as (select uid, min(day) first from active group by uid having min(day) >= {FIRST_DAY})
            select first, day, count(*) from active join new using (uid) group by first, day""")],
        "event_rare": [("by_event by_day", f"""
            select day, scene, count(*), {distinct} from T where day >= {FIRST_DAY} and ev = 4 and model in {MODELS}
            group by day, scene""")],
        "event_common": [("by_event by_day", f"""
            select day, scene, count(*), {distinct} from T where day >= {FIRST_DAY} and ev = 0 and model in {MODELS}
            group by day, scene""")],
        "sum": [("by_event", f"select day, scene, sum(amount) from T where day >= {FIRST_DAY} and ev in (6, 10) group by day, scene"),
                ("by_day by_event", f"select day, scene, sum(amount) from T where day >= {FIRST_DAY} and amount > 0 group by day, scene")],
        "tiers": [("by_day by_user", f"""
            select case when first = {LAST_DAY} then 0 when last > {LAST_DAY - 7} then 1 when last > {LAST_DAY - 30} then 2
              else 3 end tier, count(*)
            from (select uid, min(day) first, max(day) last from T group by uid) group by tier""")],
        "hourly": [("by_day by_user", f"select {hour} h, {distinct} from T where day = {HOUR_DAY} group by h")],
        # Views, users, stay, entries, exits, bounces of each page. The frame is the whole open.
        "pages": [("by_open by_day", f"""
            select page, count(*), {distinct}, sum(case when ts < last then nx - ts else 0 end),
              sum(case when ts = first and sid >= {first} then 1 else 0 end),
              sum(case when ts = last and sid >= {first} then 1 else 0 end),
              sum(case when first = last and sid >= {first} then 1 else 0 end)
            from (select sid, uid, page, ts, ev, lead(ts, 1) over (partition by sid order by ts) nx,
                min(case when ev = 0 then ts end) over (partition by sid) first,
                max(case when ev = 0 then ts end) over (partition by sid) last
              from T where day >= {FIRST_DAY})
            where ev = 0 group by page"""), ("by_open by_day", f"""
            select page, count(*), {distinct}, sum(case when ts < last then nx - ts else 0 end),
              sum(case when ts = first and e.sid >= {first} then 1 else 0 end),
              sum(case when ts = last and e.sid >= {first} then 1 else 0 end),
              sum(case when first = last and e.sid >= {first} then 1 else 0 end)
            from (select sid, uid, page, ts, ev, lead(ts, 1) over (partition by sid order by ts) nx
                from T where day >= {FIRST_DAY}) e
              join (select sid, min(ts) first, max(ts) last from T where day >= {FIRST_DAY} and ev = 0 group by sid) o
                on e.sid = o.sid
            where ev = 0 group by page""")],
    }


def duckdb(first, keys):
    """Questions in DuckDB's words."""
    result = both("count(distinct uid)", "(ts // 3600000) % 24", first)
    for name, (steps, window) in FUNNELS.items():
        result[name] = [("by_event by_user by_day", f"""
            select lvl, count(*) from (select uid, {level(len(steps))} lvl from ({chained('T', steps, window)}) group by uid)
            where lvl > 0 group by lvl""")]
    steps, window = FUNNELS["funnel4"]
    result["funnel4_by_source"] = [("by_event by_user by_day", f"""
        with f as (select uid, {level(4)} lvl, {end_of_chain(4)} reached from ({chained('T', steps, window)}) group by uid
            having max(f1) is not null)
        select scene, lvl, count(*) from (
          select f.uid, any_value(lvl) lvl, arg_min(scene, ts) scene
          from f join (select uid, ts, scene from T where day >= {FIRST_DAY} and ev = {steps[0]}) s
            on f.uid = s.uid and s.ts <= reached and s.ts >= reached - {window}
          group by f.uid)
        group by scene, lvl""")]
    result["sessions"] = [("by_open by_day", f"""
        with o as (select uid, {keys}[scene + 1] source, {bucket('stay // 1000', STAY_BOUNDS)} stays,
            {bucket('depth', DEPTH_BOUNDS)} depths from (
          select min(uid) uid, min(scene) scene, sum(nx - ts) filter (where ev = 0)
              - arg_max(nx - ts, ts) filter (where ev = 0) stay, count(distinct page) filter (where ev = 0) depth
          from (select sid, uid, scene, page, ts, ev, lead(ts, 1, ts) over (partition by sid order by ts) nx
              from T where sid >= {first})
          group by sid))
        select case when source is not null then 1 when stays is not null then 2 else 3 end,
          coalesce(source, stays, depths), count(*), count(distinct uid) from o
        group by grouping sets ((source), (stays), (depths))""")]
    result["paths"] = [("by_open by_day by_event", f"""
        select path, count(*) c, count(distinct uid) from (
          select uid, list_filter(l, lambda x, i: i = 1 or x <> l[i - 1])[1:5] path
          from (select any_value(uid) uid, list(page order by ts) l from T where sid >= {first} and ev = 0 group by sid))
        group by path order by c desc, path limit 50"""), ("by_open by_day by_event", f"""
        select path, count(*) c, count(distinct uid) from (
          select any_value(uid) uid, list(page order by ts) path from (
            select sid, uid, page, ts, row_number() over (partition by sid order by ts) n from (
              select sid, uid, page, ts, lag(page) over (partition by sid order by ts) before
              from T where sid >= {first} and ev = 0)
            where before is null or page <> before)
          where n <= 5 group by sid)
        group by path order by c desc, path limit 50""")]
    return result


def chdb(first, keys):
    """Questions in ClickHouse's words."""
    result = both("uniqExact(uid)", "intDiv(ts, 3600000) % 24", first)
    result["retention"].append(("by_user by_day", f"""
        select first, d, count() from (select min(day) first, groupUniqArray(day) days from T group by uid
          having first >= {FIRST_DAY})
        array join days as d group by first, d"""))
    for name, (steps, window) in FUNNELS.items():
        result[name] = [("by_event by_user by_day", f"""
            select lvl, count() from ({levels(steps, window)}) where lvl > 0 group by lvl""")]
    steps, window = FUNNELS["funnel4"]
    fold = arrays_of_chains(steps, window)
    result["funnel4_by_source"] = [("by_event by_user by_day", f"""
        select scene, lvl, count() from (
          select lvl, if(lvl = 1, first, {fold}) scene from (
            select uid, windowFunnel({window})(ts, {conditions(steps)}) lvl, argMinIf(scene, ts, ev = {steps[0]}) first,
              arraySort(groupArray((ts, ev, scene))) events
            from T where day >= {FIRST_DAY} and ev in ({', '.join(map(str, steps))}) group by uid)
          where lvl > 0)
        group by scene, lvl"""), ("by_event by_user", f"""
        with levels as (select uid, windowFunnel({window})(ts, {conditions(steps)}) lvl,
            argMinIf(scene, ts, ev = {steps[0]}) first
          from T where day >= {FIRST_DAY} and ev in ({', '.join(map(str, steps))}) group by uid having lvl > 0)
        select scene, lvl, sum(c) from (
          select first scene, lvl, count() c from levels where lvl = 1 group by scene, lvl
          union all
          select scene, lvl, count() c from (
            select lvl, {fold} scene from (
              select uid, windowFunnel({window})(ts, {conditions(steps)}) lvl, arraySort(groupArray((ts, ev, scene))) events
              from T where day >= {FIRST_DAY} and ev in ({', '.join(map(str, steps))})
                and uid in (select uid from levels where lvl > 1) group by uid))
          group by scene, lvl)
        group by scene, lvl""")]
    arrays = f"""
        select any(uid) uid, sid, arraySort(groupArray((ts, ev, page))) a, a.1 tt, a.2 ee, a.3 pp,
          arrayPushBack(arrayPopFront(tt), 0) nn, indexOf(ee, 0) begin, length(ee) + 1 - indexOf(arrayReverse(ee), 0) end"""
    result["pages"].append(("by_open by_day", f"""
        select p, count(), uniqExact(uid), sum(if(i < end, n - t, 0)), sum(i = begin and sid >= {first}),
          sum(i = end and sid >= {first}), sum(begin = end and sid >= {first})
        from ({arrays} from T where day >= {FIRST_DAY} group by sid)
        array join tt as t, ee as e, pp as p, nn as n, arrayEnumerate(tt) as i where e = 0 group by p"""))
    stay = bucket("intDiv(stay, 1000)", STAY_BOUNDS)
    result["sessions"] = [("by_open by_day", f"""
        select k.1, k.2, count(), uniqExact(uid) from (
          select uid, [(1, toUInt32({keys}[scene + 1])), (2, toUInt32({stay})),
            (3, toUInt32({bucket('depth', DEPTH_BOUNDS)}))] ks
          from ({chdb_opens(kind, first)}))
        array join ks as k group by k""") for kind in (0, 1)]
    result["paths"] = [("by_open by_day by_event", f"""
        select arraySlice(arrayCompact(arrayMap(x -> x.2, a)), 1, 5) path, count() c, uniqExact(uid) from (
          select any(uid) uid, arraySort(groupArray((ts, page))) a from T where sid >= {first} and ev = 0 group by sid)
        group by path order by c desc, path limit 50""")]
    return result


def chdb_opens(kind, first):
    if kind == 0:
        return f"""
            select min(uid) uid, min(scene) scene, uniqExactIf(page, ev = 0) depth,
              toInt64(sumIf(nx - ts, ev = 0)) - toInt64(argMaxIf(nx - ts, ts, ev = 0)) stay
            from (select sid, uid, scene, page, ts, ev, lead(ts, 1, ts) over (partition by sid order by ts) nx
                from T where sid >= {first})
            group by sid"""
    return f"""
        select uid, scene, length(arrayDistinct(arrayFilter((p, e) -> e = 0, pp, ee))) depth,
          arraySum((n, t, e, i) -> if(e = 0 and i < end, n - t, 0), nn, tt, ee, arrayEnumerate(tt)) stay
        from (select any(uid) uid, any(scene) scene, arraySort(groupArray((ts, ev, page))) a, a.1 tt, a.2 ee, a.3 pp,
            arrayPushBack(arrayPopFront(tt), 0) nn, length(ee) + 1 - indexOf(arrayReverse(ee), 0) end
          from T where sid >= {first} group by sid)"""


def conditions(steps):
    return ", ".join(f"ev = {step}" for step in steps)


def levels(steps, window):
    return (f"select uid, windowFunnel({window})(ts, {conditions(steps)}) lvl from T where day >= {FIRST_DAY} "
            f"and ev in ({', '.join(map(str, steps))}) group by uid")


def arrays_of_chains(steps, window):
    """The scene of the first chain that reaches the furthest step, from a user's sorted events. State: the latest step 1 of
    a chain of each length, the furthest step so far and when it was reached."""
    numbers = range(1, len(steps) + 1)
    reached = [f"if(x.2 = {steps[0]}, toInt64(x.1), s.1)"]
    for k in numbers[1:]:
        reached.append(f"if(x.2 = {steps[k - 1]} and s.{k - 1} >= 0 and toInt64(x.1) - s.{k - 1} <= {window}, s.{k - 1}, s.{k})")
    furthest = f"toInt64(x.1)"
    # A step is reached first where its state is set and the furthest step so far was lower.
    lower = len(steps) + 1
    now = "multiIf(" + ", ".join(
        f"{reached[k - 1]} >= 0, {k}" for k in reversed(numbers)) + ", 0)"
    state = ", ".join(reached) + f", if({now} > s.{lower}, toInt64({now}), s.{lower}), if({now} > s.{lower}, {furthest}, s.{lower + 1})"
    begin = ", ".join(["toInt64(-1)"] * len(steps)) + ", toInt64(0), toInt64(0)"
    end = f"arrayFold((s, x) -> ({state}), events, ({begin})).{lower + 1}"
    return f"arrayFirst(x -> x.2 = {steps[0]} and toInt64(x.1) >= {end} - {window}, events).3"
