"""Calls as values: pure functions say what is sent, the senders only send it.

So every method of both clients is written once, here, with its signature and documentation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, Unpack
from uuid import uuid4

from heed_client.encoding import path_part, to_json
from heed_client.errors import HeedMisuse
from heed_client.fields import (
    About,
    Candidate,
    ComparisonFields,
    Correction,
    FeedbackFields,
    InteractionFields,
    Preferred,
    Span,
    Thumb,
)
from heed_client.results import (
    BatchItem,
    BatchStored,
    FeedbackStored,
    InteractionStored,
    PreferenceStored,
    Result,
    State,
    StepsStored,
)

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Post:
    """One body that the outbox can keep: where it goes, under which id, and what it is about."""

    path: str
    body: dict[str, Any] = field(repr=False)
    target: str = field(repr=False)


@dataclass(frozen=True)
class Call(Generic[R]):
    """One request and how its reply is read.

    `key` is the Idempotency-Key, made once, so that every repetition of this call carries it.
    `posts` is what an outbox keeps instead of sending; `queued` is then the result, by the posts
    that the outbox took.
    """

    method: str
    path: str
    result: type[R]
    body: Any = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    posts: Sequence[Post] | None = None
    is_retried: bool = True
    key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def content(self) -> bytes | None:
        """The body's bytes."""
        return None if self.body is None else to_json(self.body)

    def queued(self, kept: Sequence[bool]) -> R:
        """The result when an outbox has taken (or dropped) the posts."""
        posts = self.posts or ()
        if self.result is BatchStored:
            items = [_queued_item(post, is_kept) for post, is_kept in zip(posts, kept, strict=True)]
            return self.result.model_validate({"items": items})
        found: dict[str, Any] = {"state": "queued" if all(kept) else "dropped"}
        if self.result is StepsStored:
            return self.result.model_validate({**found, "ids": [post.body["id"] for post in posts]})
        return self.result.model_validate({**found, **_ids(posts[0])})


def _queued_item(post: Post, is_kept: bool) -> BatchItem:
    state: State = "queued" if is_kept else "dropped"
    return BatchItem(status=202 if is_kept else 507, state=state, **_ids(post))


def _ids(post: Post) -> dict[str, Any]:
    names = ("feedback_id", "preference_id", "interaction_id")
    return {name: post.body[name] for name in names if name in post.body}


def thumbs(value: Thumb, **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store a thumb, `up` or `down`."""
    return feedback({**about, "thumbs": value})


def stars(value: int, **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store whole stars, 1 to 5."""
    return feedback({**about, "rating": value})


def rating(value: float, **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store a rating from 0 to 1."""
    return feedback({**about, "human_rating": float(value)})


def comment(text: str, **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store what a person says in words."""
    return feedback({**about, "comment": text})


def correction(
    value: str | Mapping[str, Any] | Correction, **about: Unpack[About]
) -> Call[FeedbackStored]:
    """Store what would have been right: the text, or a correction of the task's own kind."""
    fields: dict[str, Any] = {**about, "correction": value}
    if isinstance(value, Correction) and value.task_type is not None:
        fields.setdefault("task_type", value.task_type)
    return feedback(fields)


def annotate(*spans: Span | Mapping[str, Any], **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store remarks on parts of the response, counted in Unicode code points."""
    return feedback({**about, "annotations": list(spans)})


def aspects(scores: Mapping[str, float], **about: Unpack[About]) -> Call[FeedbackStored]:
    """Store scores by aspect, each 0 to 1 or 1 to 5."""
    numbers = {name: float(score) for name, score in scores.items()}
    return feedback({**about, "aspects": numbers})


def implicit(
    event: str, weight: float | None = None, **about: Unpack[About]
) -> Call[FeedbackStored]:
    """Store something a person did, such as `copied`; the weight is from -1 to 1."""
    said: dict[str, Any] = {"event": event}
    if weight is not None:
        said["weight"] = float(weight)
    return feedback({**about, "implicit": said})


def send(**fields: Unpack[FeedbackFields]) -> Call[FeedbackStored]:
    """Store any combination of judgements in one post."""
    return feedback(fields)


def feedback(fields: Mapping[str, Any]) -> Call[FeedbackStored]:
    """One post of feedback; it names its id itself, so that sending it twice stores it once."""
    body = _body(fields, "feedback_id", "fb")
    post = Post("/feedback/batch", body, _target(body))
    return Call("POST", "/feedback", FeedbackStored, body=body, posts=[post])


def batch(items: Sequence[Mapping[str, Any] | FeedbackFields]) -> Call[BatchStored]:
    """Store up to 1,000 posts; a refused item takes no other with it. Aliases are fine, too."""
    bodies = [_body(item, "feedback_id", "fb") for item in items]
    posts = [Post("/feedback/batch", body, _target(body)) for body in bodies]
    return Call("POST", "/feedback/batch", BatchStored, body=bodies, posts=posts)


def prefer(
    prompt: str,
    response_a: str | None = None,
    response_b: str | None = None,
    preferred: Preferred | None = None,
    *,
    candidates: Sequence[str | Candidate | Mapping[str, Any]] | None = None,
    ranking: Sequence[str | int] | None = None,
    **more: Unpack[ComparisonFields],
) -> Call[PreferenceStored]:
    """Store which response is better.

    Either two responses and `preferred` (`a`, `b`, `tie`, `both_bad`), or `candidates` and their
    `ranking`: ids, the best first. Plain texts have the ids "0", "1", …; without a ranking the
    candidates count as ordered, the best first.
    """
    fields: dict[str, Any] = {**more, "prompt": prompt}
    if candidates is not None:
        shaped = [_candidate(place, item) for place, item in enumerate(candidates)]
        ids = [item["id"] for item in shaped]
        fields |= {"candidates": shaped, "ranking": ids if ranking is None else list(ranking)}
    given = {"response_a": response_a, "response_b": response_b, "preferred": preferred}
    fields |= {name: value for name, value in given.items() if value is not None}
    body = _body(fields, "preference_id", "pref")
    post = Post("/preference/batch", body, _compared(body))
    return Call("POST", "/preference", PreferenceStored, body=body, posts=[post])


def record(
    prompt: str,
    response: str | Mapping[str, Any] | Sequence[Any],
    **more: Unpack[InteractionFields],
) -> Call[InteractionStored]:
    """Record a prompt and its response, so that feedback can point at it by its id."""
    fields = {**more, "prompt": prompt, "response": response}
    body = _body(fields, "interaction_id", "int")
    post = Post("/interactions", body, str(body["interaction_id"]))
    return Call("POST", "/interactions", InteractionStored, body=body, posts=[post])


def record_steps(
    interaction_id: str, steps: Sequence[str | Mapping[str, Any]]
) -> Call[StepsStored]:
    """Record the reasoning steps of an interaction, in order; texts are numbered from 0.

    Raises:
        HeedMisuse: there is none.
    """
    if not steps:
        raise HeedMisuse("Give at least one step.")
    bodies = [_step(interaction_id, place, step) for place, step in enumerate(steps)]
    path = f"/interactions/{path_part(interaction_id)}/steps"
    posts = [Post(path, body, interaction_id) for body in bodies]
    return Call("POST", path, StepsStored, body=bodies, posts=posts)


def _step(interaction_id: str, place: int, step: str | Mapping[str, Any]) -> dict[str, Any]:
    shaped = {"step_order": place, "step_content": step} if isinstance(step, str) else dict(step)
    shaped.setdefault("id", f"{interaction_id}/{shaped.get('step_order', place)}")
    return shaped


def _candidate(place: int, item: str | Candidate | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(item, str):
        return {"id": str(place), "text": item}
    shaped = dict(item) if isinstance(item, Mapping) else item.model_dump(exclude_none=True)
    return {**shaped, "id": str(shaped.get("id", place))}


def _body(fields: Mapping[str, Any], id_name: str, prefix: str) -> dict[str, Any]:
    """A snapshot of the fields; what the caller changes later does not change the post."""
    said = {name: value for name, value in fields.items() if value is not None}
    said.setdefault(id_name, f"{prefix}_{uuid4().hex}")
    body: dict[str, Any] = json.loads(to_json(said))
    return body


ALIASES = (
    ("interaction_id", "task_id", "chat_id"),
    ("session_id",),
    ("agent_name",),
    ("prompt", "user_query", "query", "user_prompt"),
    ("response", "agent_response", "ai_response", "rag_response", "model_tracing"),
)


def _target(body: Mapping[str, Any]) -> str:
    """What the post is about, so that an outbox keeps posts about one thing in order."""
    meant = [next((body[n] for n in names if n in body), None) for names in ALIASES]
    return str(meant[0]) if meant[0] is not None else json.dumps(meant[1:], sort_keys=True)


def _compared(body: Mapping[str, Any]) -> str:
    texts = [body.get("response_a"), body.get("response_b")]
    texts += [item.get("text") for item in body.get("candidates", [])]
    said = sorted(text for text in texts if text is not None)
    return json.dumps([body.get("session_id"), body.get("agent_name"), body["prompt"], said])


def stamped(post: Post, now: float) -> Post:
    """The post with the time it was made, because it may arrive hours later.

    Steps have no time of their own.
    """
    if {"occurred_at", "timestamp"} & post.body.keys() or post.path.endswith("/steps"):
        return post
    moment = datetime.fromtimestamp(now, UTC).isoformat()
    return Post(post.path, {**post.body, "occurred_at": moment}, post.target)
