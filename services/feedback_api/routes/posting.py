"""What the posting routes share: the reply to an accepted post, batches, and their description."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json

from services.feedback_api.deps import parse
from services.feedback_api.intake import Source
from services.feedback_api.writer import Accepted, Post
from shared.errors import (
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    HeedError,
    InvalidInput,
    LimitExceeded,
    MalformedBody,
    MaskingUnavailable,
    NotFound,
    Overloaded,
    PersonalData,
    TooLarge,
    Unauthenticated,
)
from shared.logs import get_logger
from shared.web import problems
from shared.web.edge import explain
from shared.web.problems import problem_body, status_of

T = TypeVar("T")
Accept = Callable[[Post], Awaitable[Accepted]]
log = get_logger("feedback_api")

MAX_BATCH = 1000
POST_ERRORS = problems(
    MalformedBody,
    Unauthenticated,
    Forbidden,
    TooLarge,
    InvalidInput,
    PersonalData,
    LimitExceeded,
    Overloaded,
    DatabaseUnavailable,
    MaskingUnavailable,
)
RECORD_ERRORS = problems(
    MalformedBody,
    Unauthenticated,
    Forbidden,
    Conflict,
    TooLarge,
    InvalidInput,
    PersonalData,
    LimitExceeded,
    DatabaseUnavailable,
    MaskingUnavailable,
)
READ_ERRORS = problems(Unauthenticated, Forbidden, InvalidInput, LimitExceeded, DatabaseUnavailable)
FIND_ERRORS = problems(
    Unauthenticated, Forbidden, NotFound, InvalidInput, LimitExceeded, DatabaseUnavailable
)


def stored_reply(accepted: Accepted, *, location: str) -> Response:
    """201 for a new row, 200 for a repetition or a change of one; committed in either case."""
    return Response(
        to_json(accepted.reply),
        status_code=201 if accepted.is_new else 200,
        media_type="application/json",
        headers={"Location": f"{location}/{quote(next(iter(accepted.reply.values())), safe='')}"},
    )


def repeated(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry of the reply to a post that made no new row."""
    return {200: {"model": model, "description": "A repetition, or a change of a live row"}}


KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A repetition with the same key and body gets the first reply again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def body_description(model: str, examples: dict[str, Any], *, required: bool = True) -> Any:
    """The OpenAPI entry of a body that is validated in its raw bytes."""
    schema = {"$ref": f"#/components/schemas/{model}"}
    content = {"application/json": {"schema": schema, "examples": examples}}
    body = {"required": required, "content": content}
    return {"requestBody": body, "parameters": [KEY_PARAMETER]}


def batch_description(model: str) -> Any:
    """The same for a batch: a JSON array, or one JSON object per line."""
    item = {"$ref": f"#/components/schemas/{model}"}
    array = {"type": "array", "items": item, "maxItems": MAX_BATCH}
    content = {"application/json": {"schema": array}, "application/x-ndjson": {"schema": item}}
    body = {"required": True, "content": content}
    return {"requestBody": body, "parameters": [KEY_PARAMETER]}


async def store_batch(
    request: Request,
    source: Source,
    *,
    shape: TypeAdapter[T],
    to_post: Callable[[T, Source], Post],
    accept: Accept,
) -> Response:
    """207 with one status and id, or problem, per item, in order.

    Raises:
        MalformedBody: the batch as a whole is not a JSON array or lines of JSON.
        TooLarge: it has too many items.
    """
    items = _items(source.raw_body, request.headers.get("content-type", ""))
    if len(items) > MAX_BATCH:
        raise TooLarge(f"A batch holds at most {MAX_BATCH} items; send several.")
    posted = await asyncio.gather(
        *(
            _store_item(source.of_item(item, place), shape, to_post, accept)
            for place, item in enumerate(items)
        )
    )
    request_id = request.state.request_id
    results = [_item_result(outcome, request_id) for outcome in posted]
    return Response(to_json({"items": results}), 207, media_type="application/json")


def _items(raw: bytes, media_type: str) -> Sequence[bytes]:
    if "ndjson" in media_type or "jsonl" in media_type:
        return [line for line in raw.splitlines() if line.strip()]
    try:
        items = from_json(raw, allow_inf_nan=True)
    except ValueError:
        items = _lenient(raw)
    if not isinstance(items, list):
        raise MalformedBody("A batch is a JSON array, or NDJSON with its own media type.")
    return [json.dumps(item, ensure_ascii=True).encode() for item in items]


def _lenient(raw: bytes) -> Any:
    """The array when only an item's text is at fault, so that the item fails alone."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedBody("The batch is not valid JSON in UTF-8.") from None


async def _store_item(
    source: Source, shape: TypeAdapter[T], to_post: Callable[[T, Source], Post], accept: Accept
) -> Accepted | HeedError:
    try:
        return await accept(to_post(parse(shape, source.raw_body), source))
    except Exception as error:  # noqa: BLE001 - whatever it is, it takes no other item with it
        return explain(error, log)


def _item_result(outcome: Accepted | HeedError, request_id: str) -> dict[str, Any]:
    if isinstance(outcome, Accepted):
        return {"status": 201 if outcome.is_new else 200, **outcome.reply}
    return {
        "status": status_of(type(outcome)),
        "problem": problem_body(outcome, request_id),
    }
