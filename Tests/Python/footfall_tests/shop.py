"""A small shop whose figures can be counted by hand, and the counting."""

import datetime
import zoneinfo

APP = "shop"
ZONE = zoneinfo.ZoneInfo("Asia/Shanghai")
USERS = 60
PROVINCES = ("Zhejiang", "Guangdong", "Beijing")
SECOND = 1000


def day(back):
    """The date `back` days ago in the app's time zone."""
    return datetime.datetime.now(ZONE).date() - datetime.timedelta(days=back)


def at(date, hour, minute):
    """ms since 1970 of a wall-clock time in the app's time zone."""
    return int(datetime.datetime(date.year, date.month, date.day, hour, minute, tzinfo=ZONE).timestamp() * 1000)


class Step:
    """One event of a user's story."""

    def __init__(self, time_ms, name, page="", **fields):
        self.time_ms, self.name, self.page, self.fields = time_ms, name, page, fields


def open_id(user):
    return f"user-{user:03}"


def gender(user):
    return "female" if user % 2 else "male"


def province(user):
    return PROVINCES[user % 3]


def story(user):
    """What a user does: a visit the day before yesterday, and the first 20 users another one yesterday."""
    begin = at(day(2), 10, user)
    steps = [Step(begin, "$launch"), Step(begin + SECOND, "$page_view", "pages/index")]
    if user % 2 == 0:
        steps.append(Step(begin + 11 * SECOND, "$page_view", "pages/product", product_id="sku-1", price=19.9))
    if user % 3 == 0:
        steps.append(Step(begin + 20 * SECOND, "add_to_cart", product_id="sku-1", quantity=user))
    if user % 6 == 0:
        steps.append(Step(begin + 30 * SECOND, "purchase", product_id="sku-1", paid=True))
    if user % 10 == 0:
        steps.append(Step(begin + 40 * SECOND, "$share", "pages/index"))
    if user < 20:
        begin = at(day(1), 15, user)
        steps.append(Step(begin, "$launch"))
        steps.append(Step(begin + SECOND, "$page_view", "pages/index"))
        steps.append(Step(begin + 8 * SECOND, "$page_leave", "pages/index", stay_ms=5 * SECOND))
    return steps


def field(messages, name, value):
    one = messages.common.Field(name=name)
    if isinstance(value, bool):
        one.value.boolean_value = value
    elif isinstance(value, int):
        one.value.integer_value = value
    elif isinstance(value, float):
        one.value.double_value = value
    else:
        one.value.string_value = value
    return one


def batch(messages, user, steps, app=APP, numbered=True, first=1):
    """A CollectRequest of a user's steps: numbered by the device, or with an event_id each."""
    m = messages.ingest
    request = m.CollectRequest(
        app_id=app,
        context=m.Context(
            open_id=open_id(user), country="CN", province=province(user), gender=gender(user), scene=1001,
            device_model="Mate 60", os_name="Android", platform="wechat"))
    if numbered:
        request.device_id = f"device-{user:03}"
    for index, step in enumerate(steps):
        event = request.events.add(name=step.name, time_ms=step.time_ms, page_path=step.page)
        event.fields.extend(field(messages, name, value) for name, value in step.fields.items())
        if numbered:
            event.sequence = first + index
        else:
            event.event_id = f"{open_id(user)}-{first + index}"
    return request


class Counted:
    """The ten metrics of a set of users over [begin, end), counted the slow way. Each visit of `story` is one open."""

    def __init__(self, begin, end, users=range(USERS)):
        self.visit_total = self.session_cnt = self.visit_pv = self.visit_uv = self.visit_uv_new = 0
        self.share_pv = self.share_uv = self.event_cnt = 0
        stay_ms, depth = 0, 0
        for user in users:
            steps = story(user)
            inside = [step for step in steps if begin <= step.time_ms < end]
            self.visit_total += any(step.time_ms < end for step in steps)
            self.visit_uv += bool(inside)
            self.visit_uv_new += begin <= steps[0].time_ms < end
            self.event_cnt += len(inside)
            self.visit_pv += sum(step.name == "$page_view" for step in inside)
            shares = sum(step.name == "$share" for step in inside)
            self.share_pv += shares
            self.share_uv += shares > 0
            for visit in visits(inside):
                self.session_cnt += 1
                depth += len({step.page for step in visit if step.name == "$page_view"})
                stay_ms += stay(visit)
        self.stay_time_uv = stay_ms / 1000 / self.visit_uv if self.visit_uv else 0
        self.stay_time_session = stay_ms / 1000 / self.session_cnt if self.session_cnt else 0
        self.visit_depth = depth / self.session_cnt if self.session_cnt else 0


def visits(steps):
    """Cuts a user's steps at each $launch."""
    cut = []
    for step in steps:
        if step.name == "$launch":
            cut.append([])
        cut[-1].append(step)
    return cut


def stay(visit):
    """The stay of a visit's pages in ms: what the leave says, else the time to the next event; 0 for the last page, where
    nobody left it."""
    pages = [index for index, step in enumerate(visit) if step.name == "$page_view"]
    total = 0
    for index in pages:
        following = visit[index + 1] if index + 1 < len(visit) else None
        if following and following.name == "$page_leave":
            total += following.fields["stay_ms"]
        elif following and index != pages[-1]:
            total += following.time_ms - visit[index].time_ms
    return total
