"""When a cron is due next on the clocks of a time zone.

Clocks that are changed neither lose nor double anything. A named time of day comes once a day: at
the end of the gap where clocks skip it, and the first time where they show it twice. An hour of `*`
means every hour that passes, however clocks name it.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from shared.errors import Detail, InvalidInput

_FIELDS = 5
_YEARS = 9  # no two 29ths of February are further apart


def next_due(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first time after a moment at which the cron is due, in UTC.

    Args:
        cron: minute, hour, day of month, month, day of week.
        time_zone: IANA name of the clock that the cron speaks of.
        after: an aware moment; a time equal to it is not after it.

    Raises:
        InvalidInput: there is no such time zone, the cron is none, or its day never comes.
    """
    zone = _zone(time_zone)
    _require_five_fields(cron)
    try:
        shown = after.astimezone(zone).replace(microsecond=0)
        times = croniter(cron, shown, max_years_between_matches=_YEARS)
        due: datetime = times.get_next(datetime)
        while cron.split()[1] != "*" and _is_shown_again(due, zone):
            due = times.get_next(datetime)
    except CroniterBadDateError:
        raise _wrong("cron", f"The cron `{cron}` names a day that never comes.") from None
    except CroniterBadCronError:
        raise _wrong_cron(cron) from None
    return due.astimezone(UTC)


def _is_shown_again(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether clocks that were put back have shown this time before."""
    return moment.astimezone(UTC).astimezone(zone).fold == 1


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
