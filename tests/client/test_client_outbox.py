"""The outbox keeps what it took, sends it in order, and says what it does not keep."""

import sqlite3
import time

import pytest

from heed_client import AsyncHeed, Heed, HeedMisuse, Outbox

EXCHANGE = {"prompt": "Why is it warm?", "response": "Gases."}
NOWHERE = "http://127.0.0.1:9"
CANARY = "zq-canary-7731"


@pytest.fixture
def dropped():
    """What `on_drop` was told: each post and why."""
    return []


@pytest.fixture
def path(tmp_path):
    """Where the outbox is."""
    return tmp_path / "outbox.db"


def fill(path, token, *stars, **options):
    """Leave posts in an outbox without any service."""
    with_service = Heed(NOWHERE, api_key=token, outbox=Outbox(path, **options))
    states = [with_service.feedback.stars(n, **EXCHANGE).state for n in stars]
    with_service.outbox.close(timeout_s=0)
    return states


def test_a_call_returns_at_once_and_the_post_arrives_later(url, token, client, path):
    with Heed(url, api_key=token, outbox=path) as queued:
        given = queued.feedback.stars(4, **EXCHANGE)

        assert (given.state, given.id) == ("queued", None)
        assert queued.flush()
        assert client.feedback.get(given.feedback_id).rating == 4


def test_what_was_left_is_sent_by_the_next_process(url, token, client, path):
    assert fill(path, token, 1, 2, 3) == ["queued"] * 3

    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()

    assert sorted(row.rating for row in client.feedback.list()) == [1, 2, 3]


def test_every_kind_of_post_goes_through_it_in_order(url, token, client, path):
    with Heed(url, api_key=token, outbox=path) as queued:
        with queued.interaction("Why?", session_id="s", agent_name="climate") as it:
            step = it.step("Think")
            it.respond("Gases.")
        step.thumbs("down")
        compared = queued.prefer("Why?", "Gases.", "The sun.", "a")
        many = queued.feedback.batch([{**EXCHANGE, "rating": n} for n in (1, 2)])
        assert queued.flush()

    assert client.interactions.get(it.interaction_id).response == "Gases."
    assert [s.step_content for s in client.interactions.steps(it.interaction_id).items] == ["Think"]
    assert client.feedback.get_preference(compared.preference_id).preferred == "a"
    assert [item.state for item in many.items] == ["queued", "queued"]
    assert len(list(client.feedback.list())) == 3


def test_a_changed_mind_stays_changed(url, token, client, path):
    away = Heed(NOWHERE, api_key=token, outbox=path)
    for value in ("up", "down", "up", "down"):
        away.feedback.thumbs(value, **EXCHANGE, rater_id=1)
    away.outbox.close(timeout_s=0)

    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()

    (live,) = client.feedback.list()
    history = client.feedback.get(live.feedback_id).history
    assert [row.thumbs for row in (live, *history)] == ["down", "up", "down", "up"]


def test_a_post_keeps_the_time_it_was_made(url, token, client, path, clock):
    clock.gone_s = -3600
    fill(path, token, 4, clock=clock)
    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()

    (row,) = client.feedback.list()
    assert 3590 < (row.created_at - row.occurred_at).total_seconds() < 3700


def test_a_refused_post_is_told_and_kept_aside(url, token, client, path, dropped):
    outbox = Outbox(path, on_drop=lambda post, problem: dropped.append((post, problem)))
    with Heed(url, api_key=token, outbox=outbox) as queued:
        queued.feedback.stars(9, **EXCHANGE)
        queued.feedback.stars(3, **EXCHANGE)
        assert queued.flush()
        counters = outbox.counters()
        (refused,) = outbox.refused()

        assert (counters.sent, counters.refused, counters.pending) == (1, 1, 0)
        assert [problem.errors[0].pointer for _, problem in dropped] == ["/rating"]
        assert (refused.body, refused.problem) == (dropped[0][0].body, dropped[0][1])
        assert EXCHANGE["response"] not in repr(dropped + [refused])
        assert (outbox.discard_refused(), outbox.refused()) == (1, [])

    assert [row.rating for row in client.feedback.list()] == [3]


def test_a_refused_post_can_be_sent_once_more(url, token, path):
    with Heed(url, api_key=token, outbox=path) as queued:
        queued.feedback.stars(9, **EXCHANGE)
        assert queued.flush()

        assert queued.outbox.retry_refused() == 1
        assert queued.flush()
        assert (queued.outbox.counters().refused, len(queued.outbox.refused())) == (2, 1)


def test_a_full_outbox_refuses_the_new_one_and_says_so(path, token, dropped):
    states = fill(
        path, token, 1, 2, 3, capacity=2, on_drop=lambda _, problem: dropped.append(problem.code)
    )

    assert states == ["queued", "queued", "dropped"]
    assert dropped == ["outbox_full"]


def test_a_file_that_may_not_grow_refuses_without_harm(url, token, client, path, dropped):
    outbox = Outbox(path, max_bytes=200_000, on_drop=lambda _, problem: dropped.append(problem))
    away = Heed(NOWHERE, api_key=token, outbox=outbox)
    given = [away.feedback.comment("x" * 20_000, **EXCHANGE) for _ in range(20)]
    kept = {one.feedback_id for one in given if one.state == "queued"}
    assert outbox.counters().dropped == len(dropped) == 20 - len(kept) > 0
    outbox.close(timeout_s=0)

    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()

    assert kept == {row.feedback_id for row in client.feedback.list()}
    assert {problem.code for problem in dropped} == {"outbox_full"}


def test_a_failing_on_drop_stops_nothing(path, token):
    def fail(*_):
        raise ZeroDivisionError

    assert fill(path, token, 1, 2, capacity=1, on_drop=fail) == ["queued", "dropped"]


def test_flush_returns_false_when_the_service_stays_away(path, token):
    with Heed(NOWHERE, api_key=token, outbox=path) as away:
        away.feedback.stars(4, **EXCHANGE)
        began = time.monotonic()

        assert not away.flush(timeout_s=0.3)
        assert 0.3 <= time.monotonic() - began < 5
        assert away.outbox.counters().pending == 1
        away.outbox.close(timeout_s=0)


def test_a_wrong_key_loses_nothing(url, token, client, path):
    with Heed(url, api_key="heed_wrong_key", outbox=path) as wrong:
        wrong.feedback.stars(4, **EXCHANGE)
        assert not wrong.flush(timeout_s=0.5)
        assert wrong.outbox.counters().pending == 1
        wrong.outbox.close(timeout_s=0)
    with Heed(url, api_key=token, outbox=path) as right:
        assert right.flush()

    assert [row.rating for row in client.feedback.list()] == [4]


def test_one_post_that_is_too_large_takes_no_other_with_it(url, token, client, path):
    fill(path, token, 1, 2, 3)
    away = Heed(NOWHERE, api_key=token, outbox=path)
    away.feedback.comment("x" * 1_100_000, **EXCHANGE)
    away.outbox.close(timeout_s=0)
    fill(path, token, 4, 5)

    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()
        assert [refused.problem.code for refused in later.outbox.refused()] == ["too_large"]

    assert sorted(row.rating for row in client.feedback.list()) == [1, 2, 3, 4, 5]


def test_an_outage_of_an_hour_loses_nothing(door, client, token, path, clock):
    door.is_open = False
    queued = Heed(door.url, api_key=token, outbox=Outbox(path, clock=clock), clock=clock)
    given = [queued.feedback.stars(4, **EXCHANGE, session_id=str(n)) for n in range(50)]
    clock.wait_until_gone(3600)
    tries = door.connections
    assert queued.outbox.counters().pending == 50

    door.is_open = True
    assert queued.flush(timeout_s=3600)
    queued.close()
    assert {one.feedback_id for one in given} == {r.feedback_id for r in client.feedback.list()}
    assert tries < 3600 / 10


def test_only_its_owner_reads_it_and_what_was_sent_is_erased(url, token, path, until):
    away = Heed(NOWHERE, api_key=token, outbox=path)
    for n in range(200):
        away.feedback.comment(f"{CANARY} {n}", **EXCHANGE, session_id=str(n))
    away.outbox.close(timeout_s=0)
    assert CANARY.encode() in path.read_bytes()

    with Heed(url, api_key=token, outbox=path) as later:
        modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert later.flush()
        until(
            lambda: CANARY.encode() not in b"".join(f.read_bytes() for f in path.parent.iterdir())
        )

    assert modes == {0o600}


@pytest.mark.parametrize("damage", [b"no database at all, but long enough" * 300, b"x" * 10])
def test_a_damaged_file_is_set_aside_with_a_warning(url, token, path, damage, caplog):
    path.write_bytes(damage)

    with Heed(url, api_key=token, outbox=path) as queued:
        assert queued.feedback.stars(4, **EXCHANGE).state == "queued"
        assert queued.flush()

    assert "outbox.db is damaged and was renamed to outbox.db.damaged-1" in caplog.text
    assert path.with_name("outbox.db.damaged-1").read_bytes() == damage


def test_a_file_that_is_taken_away_costs_no_later_post(url, token, path):
    with Heed(url, api_key=token, outbox=path) as queued:
        queued.feedback.stars(4, **EXCHANGE)
        assert queued.flush()
        path.rename(path.with_name("taken-away"))

        given = queued.feedback.stars(5, **EXCHANGE)
        assert queued.flush()
        assert queued.feedback.get(given.feedback_id).rating == 5


def test_a_torn_write_loses_only_what_was_not_acknowledged(url, token, client, path):
    away = Heed(NOWHERE, api_key=token, outbox=path)
    for stars in (1, 2):
        away.feedback.stars(stars, **EXCHANGE)
    log = path.with_name("outbox.db-wal").read_bytes()
    database = path.read_bytes()
    away.outbox.close(timeout_s=0)
    path.write_bytes(database)
    path.with_name("outbox.db-wal").write_bytes(log[:-1000])

    with Heed(url, api_key=token, outbox=path) as later:
        assert later.flush()

    assert [row.rating for row in client.feedback.list()] == [1]


def test_a_database_of_something_else_is_left_alone(token, path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()

    with pytest.raises(HeedMisuse, match="something else"):
        Heed(NOWHERE, api_key=token, outbox=path)


def test_a_folder_that_cannot_be_written_is_told_and_not_raised(token, tmp_path, dropped):
    (tmp_path / "file").write_text("in the way")
    outbox = Outbox(
        tmp_path / "file" / "outbox.db", on_drop=lambda _, why: dropped.append(why.code)
    )

    away = Heed(NOWHERE, api_key=token, outbox=outbox)

    assert away.feedback.stars(4, **EXCHANGE).state == "dropped"
    assert dropped == ["outbox_unusable"]
    away.outbox.close(timeout_s=0)


def test_a_closed_outbox_says_that_it_keeps_nothing(url, token, path):
    queued = Heed(url, api_key=token, outbox=path)
    queued.close()

    assert queued.feedback.stars(4, **EXCHANGE).state == "dropped"


def test_an_outbox_belongs_to_one_client(url, token, path):
    with Heed(url, api_key=token, outbox=path) as first, pytest.raises(HeedMisuse, match="another"):
        Heed(url, api_key=token, outbox=first.outbox)


async def test_the_async_client_queues_and_flushes_too(url, token, path):
    async with AsyncHeed(url, api_key=token, outbox=path) as queued:
        given = await queued.feedback.stars(4, **EXCHANGE)

        assert given.state == "queued"
        assert await queued.flush()
        assert (await queued.feedback.get(given.feedback_id)).rating == 4


def test_an_empty_batch_asks_nobody(path, token):
    away = Heed(NOWHERE, api_key=token, outbox=path)

    assert away.feedback.batch([]).items == []
    away.outbox.close(timeout_s=0)


def test_some_of_a_batch_may_find_no_room(path, token):
    away = Heed(NOWHERE, api_key=token, outbox=Outbox(path, capacity=2))

    stored = away.feedback.batch([{**EXCHANGE, "rating": n} for n in (1, 2, 3)])

    assert [item.state for item in stored.items] == ["queued", "queued", "dropped"]
    assert away.outbox.counters().dropped == 1
    away.outbox.close(timeout_s=0)
