"""Schedules in words: from options to what is stored, and from there to a line of a table."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.text import Text

from heed_cli.training_requests import found_from_anywhere, further
from heed_cli.workplace import this_command
from shared.contracts.monitoring import KIND as MONITORING
from shared.contracts.monitoring import MonitoringReport
from shared.contracts.schedules import ScheduleIn
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from shared.schedules.stored import Standing

Written = dict[str, Any]
_THRESHOLD = ("samples", "task_type", "any_task", "in_total")
_RUN = ("kind", "model_name", "recipe")


def merged(before: Written, **options: Any) -> Written:
    """A schedule as it was, with the options that are given in their places."""
    given = {name: value for name, value in options.items() if value is not None}
    counted = {name: given.pop(name) for name in _THRESHOLD if name in given}
    run = {name: given.pop(name) for name in _RUN if name in given}
    values = before | given
    if counted:
        values["threshold"] = (before.get("threshold") or {}) | counted
    if run:
        values |= _asked(before, run)
    return values


def _asked(before: Written, run: Written) -> Written:
    """What is started; parameters of another kind are forgotten."""
    old, watched = before.get("run") or {}, before.get("monitoring")
    kind = run.get("kind", MONITORING if watched else old.get("kind"))
    if kind == MONITORING:
        named = {name: value for name, value in run.items() if name == "model_name"}
        return {"run": None, "monitoring": (watched or {}) | named | run.get("recipe", {})}
    stays = old if kind == old.get("kind") else {}
    return {"run": stays | run | {"command": this_command()}, "monitoring": None}


def checked(values: Written) -> ScheduleIn:
    """The schedule.

    Raises:
        InvalidInput: it makes no sense; the message is one line.
    """
    try:
        return ScheduleIn.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{'.'.join(map(str, first['loc']))} is wrong: " if first["loc"] else ""
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"This schedule cannot be: {where}{said}.") from None


def parameters(given: list[str] | None) -> dict[str, Any] | None:
    """Parameters given as name=value, as whoever trains understands them; None for none.

    Raises:
        InvalidInput: one is not of this form.
    """
    return found_from_anywhere(further(given or [])) or None


def row_of(standing: "Standing") -> list[str | Text]:
    """Name, clock, next time, samples, what it starts, what came of the last time, on or off."""
    schedule, wanted = standing.schedule, standing.wanted
    is_waiting = schedule.enabled and schedule.next_at is not None
    next_at = f"{schedule.next_at:%Y-%m-%d %H:%M} UTC" if is_waiting else ""
    last = (schedule.last_outcome or "").replace("_", " ")
    state = Text("on", "green") if schedule.enabled else Text("off", "red")
    counted = samples(wanted, standing.counted)
    return [schedule.name, clock(wanted), next_at, counted, starts(wanted), last, state]


def clock(wanted: ScheduleIn) -> str:
    """When it is due."""
    return f"{wanted.cron} {wanted.time_zone}" if wanted.cron else "at its threshold"


def samples(wanted: ScheduleIn, counted: int | None = None, noun: str = "") -> str:
    """How many samples it wants, and how many there are."""
    threshold = wanted.threshold
    if threshold is None:
        return ""
    number = str(threshold.samples) if counted is None else f"{counted} of {threshold.samples}"
    which = (noun, "in total") if threshold.in_total else ("new", noun)
    task = "any task" if threshold.any_task else threshold.task_type
    return " ".join(filter(None, (number, *which, task and f"of {task}")))


def starts(wanted: ScheduleIn) -> str:
    """What it starts."""
    return f"{wanted.run.model_name} ({wanted.run.kind})" if wanted.run else MONITORING


def in_words(wanted: ScheduleIn) -> str:
    """What it starts and when, as one clause."""
    enough = samples(wanted, noun="samples")
    if not wanted.cron:
        return f"starts {starts(wanted)} at {enough}"
    return f"starts {starts(wanted)} at {clock(wanted)}" + f" if there are {enough}" * bool(enough)


def told(report: MonitoringReport) -> Iterator[tuple[str, str]]:
    """What else than averages a monitoring found, as names and clauses."""
    volume = report.volume
    yield "looked", f"{report.at:%Y-%m-%d %H:%M} UTC, over {report.days} days"
    yield "posts", f"{volume.last_day} in the last day; {volume.usual_day:.1f} on a usual one"
    for one in report.newest:
        interval = f"95 % interval {one.low:.2f} to {one.high:.2f}"
        yield (
            one.model,
            f"agrees with {one.agreement:.2f} of {one.counted} new {one.of}; {interval}",
        )
    if report.unknown:
        yield "live model", report.unknown
