"""Rewards on texts: models, services and demands, alone and weighted."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from services.trainer.policies.rewards import Part, Rewards, Source, part_of, read_source
from shared.errors import InvalidInput, Unavailable


def demand(text: str) -> Part:
    def open_model(_: str) -> tuple[None, str]:
        raise AssertionError("no model is asked for")

    return part_of(read_source(text), open_model=open_model, key="")


@contextmanager
def service(*replies: tuple[int, dict]) -> Iterator[tuple[str, list[dict]]]:
    """A server that gives these replies, one after the other; its URL and what it was asked."""
    left, asked = iter(replies), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(size))
            asked.append({**body, "key": self.headers.get("authorization")})
            status, reply = next(left)
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def remote(url: str, key: str = "") -> Rewards:
    return Rewards([part_of(Source(url), open_model=lambda _: (None, ""), key=key)])


@pytest.mark.parametrize(
    ("asked", "response", "reward"),
    [
        ("length:2-4", "one two three", 0.0),
        ("length:2-4", "one", -0.5),
        ("length:2-4", "one two three four five six", -0.5),
        ("length:2-4", " ".join(["word"] * 40), -1.0),
        ("require:[Dd]octor", "Ask your doctor.", 0.0),
        ("require:[Dd]octor", "Wait.", -1.0),
        ("forbid:guarantee", "I guarantee it.", -1.0),
        ("forbid:guarantee", "Perhaps.", 0.0),
        ("forbid:https?://", "Perhaps.", 0.0),
    ],
)
def test_what_meets_a_demand_loses_nothing(asked: str, response: str, reward: float) -> None:
    assert Rewards([demand(asked)])(["?"], [response]).tolist() == [reward]


def test_rewards_add_up_by_weight_and_are_told_apart() -> None:
    rewards = Rewards([demand("length:1-2*0.5"), demand("forbid:no*2")])

    assert rewards(["?"] * 2, ["no no no no", "yes"]).tolist() == [-2.5, 0.0]
    each = rewards.each(["?"], ["no no no no"])
    assert {name: one.tolist() for name, one in each.items()} == {
        "length:1-2": [-1.0],
        "forbid:no": [-1.0],
    }


@pytest.mark.parametrize("wrong", ["", "length:5-2", "length:x", "require:(", "forbid:[", "a*0"])
def test_a_wrong_reward_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        demand(wrong)


def test_a_service_is_asked_for_raw_rewards_with_its_key() -> None:
    replies = {"results": [{"raw": 1.5}, {"raw": -2.0}]}
    with service((200, replies)) as (url, asked):
        found = remote(url, key="heed_key")(["p", "q"], ["a", "b"])

    assert found.tolist() == [1.5, -2.0]
    inputs = [{"prompt": "p", "response": "a"}, {"prompt": "q", "response": "b"}]
    assert asked == [{"inputs": inputs, "return": ["raw"], "key": "Bearer heed_key"}]


def test_a_busy_service_is_asked_again() -> None:
    with service((503, {}), (429, {}), (200, {"results": [{"raw": 1.0}]})) as (url, asked):
        found = remote(url)(["p"], ["a"])

    assert found.tolist() == [1.0]
    assert len(asked) == 3


def test_a_service_without_a_model_ends_the_run() -> None:
    nothing = {"results": [{"raw": None, "score": None}]}
    with service((200, nothing)) as (url, _), pytest.raises(Unavailable, match="no number"):
        remote(url)(["p"], ["a"])


def test_a_service_that_refuses_the_key_is_not_asked_again() -> None:
    with service((403, {})) as (url, asked), pytest.raises(InvalidInput, match="HEED_REWARD_KEY"):
        remote(url)(["p"], ["a"])

    assert len(asked) == 1
