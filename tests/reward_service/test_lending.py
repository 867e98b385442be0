"""Cores of idle threads are lent as long as that helps."""

from services.reward_service.lending import Lending


def test_cores_are_lent_until_work_is_slower_with_them():
    lending = Lending()

    lending.observe(0.009, alone_s=0.013, now=10.0)
    before = lending.is_open(10.0)
    lending.observe(0.200, alone_s=0.013, now=10.0)

    assert before
    assert [lending.is_open(now) for now in (10.0, 10.9, 11.0)] == [False, False, True]


def test_each_further_time_they_are_lent_later_and_after_half_a_minute_at_the_latest():
    lending, now, pauses = Lending(), 0.0, []

    for _ in range(7):
        lending.observe(1.0, alone_s=0.1, now=now)
        pauses.append(next(s for s in range(100) if lending.is_open(now + s)))
        now += pauses[-1]

    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_once_it_helps_again_the_next_pause_is_short():
    lending = Lending()
    for now in (0.0, 1.0, 3.0):
        lending.observe(1.0, alone_s=0.1, now=now)

    lending.observe(0.05, alone_s=0.1, now=7.0)
    lending.observe(1.0, alone_s=0.1, now=8.0)

    assert lending.is_open(9.0)
