"""Every way to say something arrives as it was said."""

import inspect

import pytest

from heed_client import (
    AsyncHeed,
    Heed,
    HeedMisuse,
    HeedProblem,
    Span,
    TracingCorrection,
    calls,
)
from heed_client.fields import Candidate
from heed_client.resources import (
    AsyncFeedback,
    AsyncInteractions,
    Feedback,
    Interactions,
)

EXCHANGE = {"prompt": "Explain the greenhouse effect", "response": "Gases hold heat back."}


@pytest.mark.parametrize(
    ("method", "arguments", "column", "stored"),
    [
        ("thumbs", ["down"], "thumbs", "down"),
        ("stars", [4], "rating", 4),
        ("rating", [0.7], "human_rating", 0.7),
        ("comment", ["Too short"], "comment", "Too short"),
        ("correction", ["Gases let light in."], "corrected_response", "Gases let light in."),
        ("aspects", [{"clarity": 4}], "aspects", {"clarity": 4.0}),
        ("implicit", ["copied", 0.5], "implicit", [{"event": "copied", "weight": 0.5}]),
        (
            "annotate",
            [Span(start=0, end=5, label="vague")],
            "annotations",
            [{"start": 0, "end": 5, "label": "vague", "comment": None}],
        ),
    ],
)
def test_a_judgement_is_stored_as_it_was_given(client, method, arguments, column, stored):
    given = getattr(client.feedback, method)(*arguments, **EXCHANGE, rater_id=7)

    found = client.feedback.get(given.feedback_id)
    assert given.state == "live"
    assert (found.prompt, found.response) == (EXCHANGE["prompt"], EXCHANGE["response"])
    assert getattr(found, column) == stored


def test_a_correction_of_a_tracing_names_its_task(client):
    correction = TracingCorrection(missing_segments=[[3, 3, 3]], notes="one is missing")
    given = client.feedback.correction(
        correction, interaction_id="trace_17", response={"segments": [[0, 0, 0]]}
    )

    found = client.feedback.get(given.feedback_id)
    assert found.task_type == "tracing"
    assert found.correction == {"missing_segments": [[3, 3, 3]], "notes": "one is missing"}


def test_several_judgements_go_in_one_post(client):
    given = client.feedback.send(**EXCHANGE, rating=5, comment="Good", context={"shift": "night"})

    found = client.feedback.get(given.feedback_id)
    assert (found.rating, found.comment, found.context) == (5, "Good", {"shift": "night"})


def test_a_batch_tells_of_each_item(client):
    items = [{**EXCHANGE, "rating": 5}, {**EXCHANGE, "rating": 9}, {"chat_id": 3, "thumbs": "up"}]

    stored = client.feedback.batch(items)

    assert [item.status for item in stored.items] == [201, 422, 201]
    assert [problem.errors[0].code for problem in stored.problems] == ["rating_not_stars"]


@pytest.mark.parametrize("said", ["a", "b", "tie", "both_bad"])
def test_a_pair_is_stored_with_its_outcome(client, said):
    given = client.prefer("Why is it warm?", "Gases.", "The sun.", said, rater_id=3, strength=2.0)

    found = client.feedback.get_preference(given.preference_id)
    assert (found.response_a, found.response_b, found.outcome) == ("Gases.", "The sun.", said)


@pytest.mark.parametrize(
    "candidates",
    [["best", "worst"], [Candidate(id="0", text="best"), Candidate(id="1", text="worst")]],
)
def test_candidates_count_as_ranked_the_best_first(client, candidates):
    given = client.feedback.prefer("Which?", candidates=candidates)

    found = client.feedback.get_preference(given.preference_id)
    assert (found.outcome, found.ranking) == ("ranking", ["0", "1"])
    assert [candidate["text"] for candidate in found.candidates] == ["best", "worst"]


def test_rows_are_read_page_after_page(client):
    client.feedback.batch([{**EXCHANGE, "rating": 3, "session_id": "s"} for _ in range(230)])

    rows = list(client.feedback.list(session_id="s"))

    assert len({row.feedback_id for row in rows}) == 230
    assert list(client.feedback.list(session_id="another")) == []


def test_a_refusal_is_a_typed_error_that_names_the_place(client):
    with pytest.raises(HeedProblem) as refused:
        client.feedback.stars(7, **EXCHANGE)

    assert (refused.value.status, refused.value.code) == (422, "invalid_input")
    assert refused.value.errors[0].pointer == "/rating"
    assert refused.value.request_id
    assert EXCHANGE["response"] not in str(refused.value)


def test_a_call_shows_no_text():
    shown = repr([calls.stars(4, **EXCHANGE), calls.prefer("Why?", "Gases.", "The sun.", "a")])

    assert not [text for text in (*EXCHANGE.values(), "Gases.", "Why?") if text in shown]


@pytest.mark.parametrize("name", ["a/b c?d#é%2F", "..", "."])
def test_an_id_may_hold_any_character(client, name):
    client.interactions.record("Why?", "Gases.", interaction_id=name)
    client.interactions.record_steps(name, ["Think"])
    given = client.feedback.stars(4, interaction_id=name, feedback_id=f"{name} f/b ?é%20")

    assert client.interactions.get(name).response == "Gases."
    assert len(client.interactions.steps(name).items) == 1
    assert client.feedback.get(given.feedback_id).interaction_id == name


def test_a_feedback_that_is_not_there_is_a_problem(client):
    with pytest.raises(HeedProblem, match="not_found"):
        client.feedback.get("fb_none")


def test_the_key_is_in_no_representation(url, token):
    with Heed(url, api_key=token) as client:
        shown = repr([client, client.feedback, client._sender.options, vars(client._sender)])

    assert token not in shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (float("nan"), "NaN"),
        ("\ud800", "surrogate"),
        (b"bytes", "bytes cannot be sent"),
        ({1, 2}, "set cannot be sent"),
        ({(1, 2): 3}, "names in a mapping"),
    ],
)
def test_a_value_that_is_no_json_is_refused_before_it_is_sent(client, wrong, said):
    with pytest.raises(HeedMisuse, match=said):
        client.feedback.send(**EXCHANGE, rating=3, context={"value": wrong})


@pytest.mark.parametrize(
    "url", ["heed.example", "ftp://heed.example", "http://[::1", "http://h:99999", "http://a b"]
)
def test_what_is_no_url_is_told_at_once(url):
    with pytest.raises(HeedMisuse, match="URL must be like"):
        Heed(url, api_key="heed_some_key")


def test_a_client_without_a_key_says_how_to_give_one(monkeypatch):
    monkeypatch.delenv("HEED_API_KEY", raising=False)

    with pytest.raises(HeedMisuse, match="HEED_API_KEY"):
        Heed()


def test_the_environment_names_service_and_key(url, token, monkeypatch):
    monkeypatch.setenv("HEED_URL", url)
    monkeypatch.setenv("HEED_API_KEY", token)

    with Heed() as client:
        assert client.feedback.thumbs("up", **EXCHANGE).state == "live"


async def test_the_async_client_stores_and_reads_the_same(url, token):
    async with AsyncHeed(url, api_key=token) as client:
        given = await client.feedback.stars(2, **EXCHANGE, session_id="s")
        compared = await client.prefer("Why?", "Gases.", "The sun.", "a")

        assert (await client.feedback.get(given.feedback_id)).rating == 2
        assert [row.rating async for row in client.feedback.list(session_id="s")] == [2]
        assert (await client.feedback.get_preference(compared.preference_id)).preferred == "a"


def methods(made: object) -> dict[str, inspect.Signature]:
    """Public methods with their signatures, what they return left out."""
    names = [name for name in dir(made) if not name.startswith("_")]
    found = {name: getattr(made, name) for name in names if name not in {"outbox"}}
    return {
        name: inspect.signature(method).replace(return_annotation=None)
        for name, method in found.items()
        if callable(method)
    }


def test_both_clients_have_the_same_methods(url, token):
    heed, twin = Heed(url, api_key=token), AsyncHeed(url, api_key=token)

    assert methods(heed) == methods(twin)
    assert methods(Feedback(heed._sender)) == methods(AsyncFeedback(twin._sender))
    assert methods(Interactions(heed._sender)) == methods(AsyncInteractions(twin._sender))
    assert methods(heed.interaction("p")) == methods(twin.interaction("p"))
    assert {"thumbs", "stars", "prefer", "list"} <= methods(heed.feedback).keys()
