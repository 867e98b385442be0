"""When a cron is due next on the clocks of a time zone.

Clocks that are changed neither lose nor double anything. A named time of day comes once a day: at
the end of the gap where clocks skip it, and the first time where they show it twice. An hour of `*`
means every hour that passes, however clocks name it.
"""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from shared.errors import Detail, InvalidInput

_FIELDS = 5
_SECOND = timedelta(seconds=1)


def next_due(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first time after a moment at which the cron is due, in UTC.

    Args:
        cron: minute, hour, day of month, month, day of week.
        time_zone: IANA name of the clock that the cron speaks of.
        after: an aware moment; a time equal to it is not after it.

    Raises:
        InvalidInput: there is no such time zone, the cron is none, or its day never comes.
    """
    zone, moment = _zone(time_zone), after.astimezone(UTC).replace(microsecond=0)
    _require_five_fields(cron)
    find = _next_of_every_hour if cron.split()[1] == "*" else _next_time_of_day
    try:
        return find(cron, zone, moment)
    except CroniterBadDateError:
        raise _wrong("cron", f"The cron `{cron}` names a day that never comes.") from None
    except CroniterBadCronError:
        raise _wrong_cron(cron) from None


def _next_time_of_day(cron: str, zone: ZoneInfo, after: datetime) -> datetime:
    times = croniter(cron, after.astimezone(zone).replace(tzinfo=None))
    while (due := _first_moment(times.get_next(datetime), zone)) <= after:
        pass
    return due


def _next_of_every_hour(cron: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Clocks run evenly between two changes: look up to the next change, then behind it."""
    due = _next_at_offset(cron, _offset(zone, after), after)
    while _offset(zone, due) != _offset(zone, after):
        after = _change(zone, after, due)
        due = _next_at_offset(cron, _offset(zone, after), after - _SECOND)
    return due


def _next_at_offset(cron: str, offset: timedelta, after: datetime) -> datetime:
    """As if clocks were never changed."""
    shown = (after + offset).replace(tzinfo=None)
    due: datetime = croniter(cron, shown).get_next(datetime)
    return due.replace(tzinfo=UTC) - offset


def _first_moment(shown: datetime, zone: ZoneInfo) -> datetime:
    """When clocks show a time first; the moment of the change for a time that they skip."""
    moment = shown.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == shown:
        return moment
    before = shown.replace(tzinfo=zone, fold=1).astimezone(UTC)  # by the offset after the gap
    return _change(zone, before, moment)


def _change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime:
    """The first second after `start` of another offset, which that of `end` is."""
    offset = _offset(zone, start)
    seconds = range(int((end - start).total_seconds()) + 1)
    found = bisect_left(seconds, True, key=lambda at: _offset(zone, start + at * _SECOND) != offset)
    return start + found * _SECOND


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        message = f"There is no time zone `{name}`: give an IANA name such as Europe/Berlin."
        raise _wrong("time_zone", message) from None


def _require_five_fields(cron: str) -> None:
    """What the library knows beyond crontab(5), such as a minute drawn anew each time, is out."""
    fields = cron.lower().split()
    parts = [part for field in fields for part in field.split(",")]
    if len(fields) != _FIELDS or any(part[:1] in ("r", "h", "") for part in parts):
        raise _wrong_cron(cron)


def _wrong_cron(cron: str) -> InvalidInput:
    return _wrong(
        "cron",
        f"`{cron}` is no cron: give minute, hour, day of month, month and day of week, such as "
        "`0 2 * * *` for 02:00 every day.",
    )


def _wrong(field: str, message: str) -> InvalidInput:
    detail = Detail(f"/{field}", f"invalid_{field}", message)
    return InvalidInput(message, errors=(detail,))
