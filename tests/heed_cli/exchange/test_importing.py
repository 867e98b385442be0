"""Whatever happens on the way, an import ends with every row stored once and every fault named."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select
from sqlmodel import col

from heed_cli.exchange import importing
from heed_cli.exchange.importing import import_file
from heed_cli.exchange.resuming import Attempt, Tally
from shared.db.tables import Feedback, FeedbackHistory
from shared.errors import Forbidden, InvalidInput, Unauthenticated
from shared.keys import Scope, create_key


def rated(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"p{n}", "response": "r", "rating": 1 + n % 5} for n in range(count)]


def write(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    raw = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"\n".join(raw))
    return path


async def count_stored(place, table=Feedback) -> int:
    async with place.sessions() as session:
        statement = select(func.count()).where(col(table.project_id) == place.project)
        return (await session.scalar(statement)) or 0


def faults(place, path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.faults_of(path).read_bytes().splitlines()]


async def test_a_repeated_import_stores_nothing_twice(place, tmp_path):
    path = write(tmp_path / "rows.jsonl", *rated(3), *rated(3))

    first = await place.take_in("csv", path)
    again = await place.take_in("csv", path)

    assert (first.stored, first.repeated) == (6, 0)
    assert (again.stored, again.repeated) == (0, 6)
    assert await count_stored(place) == 6
    assert await count_stored(place, FeedbackHistory) == 0


async def test_a_corrected_row_is_another_row(place, tmp_path):
    row = {"prompt": "p", "response": "r", "rating": 1, "rater_id": "jane"}
    await place.take_in("csv", write(tmp_path / "rows.jsonl", row))

    await place.take_in("csv", write(tmp_path / "rows.jsonl", row | {"rating": 5}))

    async with place.sessions() as session:
        statement = select(Feedback.rating).where(col(Feedback.project_id) == place.project)
        assert list(await session.scalars(statement)) == [5]


class Interrupted(Exception):
    """Stands for whatever stops an import."""


async def test_an_interrupted_import_goes_on_where_it_stopped(place, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "PIECE_ITEMS", 10)
    path = write(tmp_path / "rows.jsonl", *rated(45), b"{", *rated(60))
    attempt = Attempt.of(place.faults_of(path), {})

    def stop(tally: Tally) -> None:
        if tally.rows >= 60:
            raise Interrupted

    async with place.sender() as sender:
        with pytest.raises(Interrupted):
            await import_file(place.source("csv", path), sender, attempt, stop)
        resumed = Attempt.of(place.faults_of(path), {})
        tally = await import_file(place.source("csv", path), sender, resumed, lambda _: None)

    assert (tally.rows, tally.stored + tally.repeated, tally.refused) == (106, 105, 1)
    assert await count_stored(place) == 105
    assert [fault["line"] for fault in faults(place, path)] == [46]


async def test_another_file_of_the_name_starts_anew(place, tmp_path):
    path = tmp_path / "rows.jsonl"
    attempt = Attempt.of(place.faults_of(path), {"file": [1, 2]})
    attempt.settled_to = 50
    with attempt.open_faults() as opened:
        attempt.save(opened)

    assert Attempt.of(place.faults_of(path), {"file": [1, 2]}).settled_to == 50
    assert Attempt.of(place.faults_of(path), {"file": [1, 3]}).settled_to == 0


class Gate:
    """The app for clients in other processes, which lets so many requests pass and holds others."""

    def __init__(self, app: Any, passing: int) -> None:
        self.app, self.left = app, passing
        self.is_reached, self.is_open = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.left -= 1
        if self.left < 0:
            self.is_reached.set()
            await self.is_open.wait()
        await self.app(scope, receive, send)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The app on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it in no other way
            await asyncio.sleep(0.01)
        yield "http://{}:{}".format(*listener.getsockname())
        server.should_exit = True
        await task


async def start_import(place, path: Path, url: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-P", "-m", "heed_cli", "import", "csv", str(path), "--url", url]
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=place.folder,
        env={"PATH": "/usr/bin:/bin", "HEED_API_KEY": place.key, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
async def test_a_killed_import_is_finished_by_the_same_command(place, tmp_path, sent):
    path = write(tmp_path / "rows.jsonl", *rated(4_000))
    gate = Gate(place.transport.app, passing=4)
    async with served(gate) as url:
        first = await start_import(place, path, url)
        await gate.is_reached.wait()
        first.send_signal(sent)
        await first.communicate()
        was_stored = await count_stored(place)
        gate.is_open.set()
        second = await start_import(place, path, url)
        said, _ = await second.communicate()

    assert was_stored <= 1_500
    assert second.returncode == 0, said
    assert "4,000 in" in said.decode()
    assert await count_stored(place) == 4_000
    assert [left.name for left in place.folder.iterdir()] == ["rows.jsonl"]


class Busy(httpx.AsyncBaseTransport):
    """Refuses a first request, loses a second one, and then refuses the last item of batches."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.calls == 1:
            return httpx.Response(503, headers={"Retry-After": "0"})
        if self.calls == 2:
            raise httpx.ReadError("the connection is gone")
        *taken, last = (await request.aread()).split(b"\n")
        if not taken:
            return await self.inner.handle_async_request(request)
        headers = {k: v for k, v in request.headers.items() if k != "content-length"}
        sent = httpx.Request("POST", request.url, headers=headers, content=b"\n".join(taken))
        items = json.loads(await (await self.inner.handle_async_request(sent)).aread())["items"]
        return httpx.Response(207, json={"items": [*items, {"status": 429, "problem": {}}]})


async def test_what_a_busy_api_refuses_is_sent_again(place, tmp_path):
    path = write(tmp_path / "rows.jsonl", *rated(20))
    busy = Busy(place.transport)

    tally = await place.take_in("csv", path, transport=busy)

    assert (tally.stored, tally.refused) == (20, 0)
    assert busy.calls == 4
    assert await count_stored(place) == 20


async def test_every_wrong_row_is_listed_with_what_to_do_and_no_text(place, tmp_path):
    good = {"prompt": "secret", "response": "secret", "rating": 5}
    path = write(
        tmp_path / "rows.jsonl",
        good,
        b'{"prompt": "secret"',
        b'{"prompt": "secret \xff"}',
        good | {"rating": 9},
        good | {"prompt": "secret \x00"},
        good | {"response": ["secret"]},
        good | {"thumbs": "secret"},
        b"",
        good | {"comment": "x" * 1_100_000},
        good | {"rating": 4},
        b'{"prompt": "secret", "resp',
    )

    tally = await place.take_in("csv", path)

    listed = faults(place, path)
    assert (tally.rows, tally.stored, tally.refused) == (10, 2, 8)
    assert [(fault["line"], fault["pointer"], fault["code"]) for fault in listed] == [
        (2, "", "not_json"),
        (3, "", "not_utf8"),
        (4, "/rating", "rating_not_stars"),
        (5, "/prompt", "unstorable_text"),
        (6, "/response", "not_text"),
        (7, "/thumbs", "enum"),
        (9, "", "too_large"),
        (11, "", "not_json"),
    ]
    assert all(len(fault["do"]) > 10 for fault in listed)
    assert "secret" not in place.faults_of(path).read_text()


@pytest.mark.parametrize(
    ("format_name", "row", "pointer"),
    [
        ("hh-rlhf", {"chosen": "a", "rejected": "b"}, "/rejected"),
        ("hh-rlhf", {"chosen": 1, "rejected": "b"}, "/chosen"),
        ("comparisons", {"annotator1": 3}, "/annotator1"),
        ("comparisons", {"annotator1": [1]}, ""),
        ("comparisons", {"response2": None}, "/response2"),
        ("qa-feedback", {"preference": [1]}, "/preference"),
        ("qa-feedback", {"feedback": {"errors": []}}, "/feedback"),
        ("argilla", {"fields": {}}, "/fields"),
        ("argilla", {"fields": {"a": "b"}, "responses": {"q": 1}}, "/responses"),
        ("label-studio", {"data": {"a": "b"}, "annotations": [1]}, ""),
        ("csv", {"rating": 10**400}, "/rating"),
        ("trl-unpaired", {"label": "yes"}, "/label"),
        ("trl-preference", {"chosen": [{"role": 1}]}, "/chosen"),
        ("trl-prompt-only", {"prompt": 7}, "/prompt"),
    ],
)
async def test_a_row_of_another_shape_is_refused_and_the_next_one_is_not(
    place, tmp_path, format_name, row, pointer
):
    right = RIGHT[format_name]
    path = write(tmp_path / "rows.jsonl", right, right | row, right)

    tally = await place.take_in(format_name, path)

    assert (tally.rows, tally.stored, tally.refused) == (3, 2, 1)
    assert [(fault["line"], fault["pointer"]) for fault in faults(place, path)] == [(2, pointer)]


async def test_a_row_with_one_wrong_post_is_stored_once_after_its_correction(place, tmp_path):
    right = RIGHT["qa-feedback"] | {"feedback": {"missing-info": [], "corrected-prediction": "r"}}
    errors = [{"error type": "Irrelevant", "explanation": "", "start": 1, "end": 2}]
    right["feedback"]["errors"] = errors
    wrong = right | {"feedback": right["feedback"] | {"errors": [errors[0] | {"end": 900}]}}

    first = await place.take_in("qa-feedback", write(tmp_path / "rows.jsonl", wrong))
    then = await place.take_in("qa-feedback", write(tmp_path / "rows.jsonl", right))

    assert (first.refused, first.posts) == (1, 0)
    assert (then.stored, then.posts) == (1, 7)


_TURN = "\n\nHuman: a?\n\nAssistant: "
RIGHT: dict[str, dict[str, Any]] = {
    "hh-rlhf": {"chosen": f"{_TURN}b", "rejected": f"{_TURN}c"},
    "comparisons": {"prompt": "p", "response1": "a", "response2": "b", "annotator1": 1},
    "qa-feedback": {"question": "q"}
    | {f"prediction {n}": f"r{n}" for n in range(1, 5)}
    | {"preference": [0, 1, 2, 0, 1, 2]},
    "csv": {"prompt": "p", "response": "r", "rating": 4},
    "argilla": {"fields": {"prompt": "p", "response": "r"}, "responses": {}},
    "label-studio": {"data": {"prompt": "p", "response": "r"}, "annotations": []},
    "trl-unpaired": {"prompt": "p", "completion": "r", "label": True},
    "trl-preference": {"prompt": "p", "chosen": "a", "rejected": "b"},
    "trl-prompt-only": {"prompt": "p"},
}


async def test_a_file_is_read_no_further_than_what_is_on_its_way(place, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "PIECE_ITEMS", 50)
    path = write(tmp_path / "rows.jsonl", *({**row, "comment": "c" * 1000} for row in rated(4000)))
    source = place.source("csv", path)
    shares: list[float] = []

    def look(tally: Tally) -> None:
        shares.append(source.watch.share - tally.rows / 4000)

    async with place.sender() as sender:
        await import_file(source, sender, Attempt.of(place.faults_of(path), {}), look)

    assert len(shares) == 80
    assert max(shares) < (importing.IN_FLIGHT + 1) * 50 / 4000 + 0.01


async def test_consent_and_task_hold_for_every_row(place, tmp_path):
    path = write(tmp_path / "rows.jsonl", *rated(2))

    await place.take_in("csv", path, consent=False, task="triage")

    async with place.sessions() as session:
        statement = select(Feedback).where(col(Feedback.project_id) == place.project)
        found = [(row.consent_training, row.task_type) for row in await session.scalars(statement)]
    assert found == [(False, "triage"), (False, "triage")]


async def test_consent_given_later_changes_the_rows_that_are_there(place, tmp_path):
    path = write(tmp_path / "rows.jsonl", *rated(2))
    await place.take_in("csv", path, consent=True)

    tally = await place.take_in("csv", path, consent=False)

    async with place.sessions() as session:
        statement = select(Feedback).where(col(Feedback.project_id) == place.project)
        found = [row.consent_training for row in await session.scalars(statement)]
    assert (tally.stored, tally.repeated) == (0, 2)
    assert found == [False, False]


async def test_a_key_without_the_scope_or_of_nobody_ends_the_import_at_once(place):
    async with place.sessions.begin() as session:
        given = {"name": "reader", "scopes": [Scope.FEEDBACK_READ], "project_id": place.project}
        place.key = await create_key(session, **given)
    async with place.sender() as sender:
        with pytest.raises(Forbidden, match="lacks the scope feedback:write"):
            await sender.require_welcome()
    place.key = "heed_nobody_x"
    async with place.sender() as sender:
        with pytest.raises(Unauthenticated):
            await sender.require_welcome()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jsonl", b"", "has no rows"),
        ("wrong.jsonl", b'{"question": 1}', "are not those of csv, which has prompt, response"),
        (
            "half.json",
            b'[{"prompt": "p", "response": "r", "rating": 1}, {"pro',
            "ends in the middle",
        ),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00", "cannot be read"),
        ("no.parquet", b"PAR1", "is not a Parquet file"),
        ("utf16.csv", "prompt,response,rating\n".encode("utf-16"), "is not UTF-8"),
    ],
)
async def test_a_file_that_cannot_be_imported_says_why(place, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidInput, match=said):
        await place.take_in("csv", tmp_path / name)
