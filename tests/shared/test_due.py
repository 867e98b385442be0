"""When a cron is due, on clocks that are changed."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from shared.errors import InvalidInput
from shared.schedules.due import next_due

BERLIN = "Europe/Berlin"


def due(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next few due times, as the clocks of the zone show them, with their offset."""
    moment, found = datetime.fromisoformat(after), []
    for _ in range(count):
        moment = next_due(cron, zone, moment)
        found.append(f"{moment.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}")
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * * *", "2026-11-23T02:00"),
        ("0 */6 * * *", "2026-11-22T06:00"),
        ("0 1 * * 0", "2026-11-29T01:00"),
        ("0 3 1 * *", "2026-12-01T03:00"),
        ("0 * * * *", "2026-11-22T06:00"),
        ("30 5 29 2 *", "2028-02-29T05:30"),
    ],
)
def test_the_usual_crons_are_due_when_people_expect_it(cron, expected):
    after = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)  # a Sunday

    assert next_due(cron, "UTC", after) == datetime.fromisoformat(expected + ":00+00:00")


def test_a_due_time_is_not_after_itself():
    at_two = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)

    assert next_due("0 2 * * *", "UTC", at_two) == datetime(2026, 1, 6, 2, 0, tzinfo=UTC)


def test_a_time_that_clocks_skip_comes_when_they_are_changed():
    found = due("30 2 * * *", BERLIN, "2026-03-28T00:00Z", 3)

    assert found == ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_a_time_that_clocks_show_twice_comes_the_first_time():
    found = due("30 2 * * *", BERLIN, "2026-10-24T12:00Z", 2)

    assert found == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


def test_every_hour_that_passes_is_one_in_spring():
    found = due("30 * * * *", BERLIN, "2026-03-28T23:00Z", 3)

    assert found == ["03-29 00:30 +0100", "03-29 01:30 +0100", "03-29 03:30 +0200"]


def test_every_hour_that_passes_is_one_in_autumn():
    found = due("0 * * * *", BERLIN, "2026-10-24T23:10Z", 3)

    assert found == ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"]


def test_half_an_hour_that_is_skipped_holds_two_times_and_gives_one():
    found = due("0,15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", 2)

    assert found == ["10-04 02:30 +1100", "10-05 02:00 +1100"]


def test_a_midnight_that_does_not_exist_comes_at_one():
    assert due("0 0 * * *", "America/Santiago", "2026-09-05T12:00Z", 1) == ["09-06 01:00 -0300"]


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_a_time_of_day_comes_on_every_day_of_a_year_once(zone):
    moment, days = datetime(2026, 1, 1, 12, tzinfo=UTC), []
    for _ in range(365):
        moment = next_due("15 2 * * *", zone, moment)
        days.append(moment.astimezone(ZoneInfo(zone)).date())

    assert all((later - earlier).days == 1 for earlier, later in pairwise(days))


@pytest.mark.parametrize("month", [3, 10])
@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Africa/Cairo"])
def test_every_hour_comes_an_hour_after_the_last(zone, month):
    moments = [datetime(2026, month, 1, tzinfo=UTC)]
    for _ in range(60 * 24):
        moments.append(next_due("0 * * * *", zone, moments[-1]))

    assert {(b - a).total_seconds() for a, b in pairwise(moments)} == {3600}


@pytest.mark.parametrize(
    "cron",
    ["", "2 * * *", "61 * * * *", "* * * * * *", "@daily", "R 2 * * *", "H 2 * * *", "a b c d e",
     "0 2 * * xyz", "5,r 2 * * *", "é 2 * * *"],
)  # fmt: skip
def test_what_is_no_cron_is_refused_with_an_example(cron):
    with pytest.raises(InvalidInput, match="0 2 \\* \\* \\*") as refused:
        next_due(cron, "UTC", datetime.now(UTC))

    assert refused.value.errors[0].pointer == "/cron"


def test_a_day_that_never_comes_is_refused():
    with pytest.raises(InvalidInput, match="never comes"):
        next_due("0 0 31 2 *", "UTC", datetime.now(UTC))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "\0", "CEST+2"])
def test_what_is_no_time_zone_is_refused(zone):
    with pytest.raises(InvalidInput, match="Europe/Berlin") as refused:
        next_due("0 2 * * *", zone, datetime.now(UTC))

    assert refused.value.errors[0].pointer == "/time_zone"
