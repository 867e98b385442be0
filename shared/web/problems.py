"""The one place where errors become HTTP: a table from class to status, and the problem+json body.

The shape is RFC 9457 plus a stable `code`, the wrong places as `errors`, and the `request_id`.
"""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import JSONResponse

from shared.errors import (
    Conflict,
    Detail,
    Forbidden,
    HeedError,
    InvalidInput,
    LimitExceeded,
    MalformedBody,
    MethodNotAllowed,
    NotEnoughData,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_POINTER = 200

STATUSES: dict[type[HeedError], int] = {
    HeedError: 500,
    InvalidInput: 422,
    MalformedBody: 400,
    TooLarge: 413,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    LimitExceeded: 429,
    Overloaded: 503,
    Unavailable: 503,
    NotEnoughData: 422,
}


class ProblemDetail(BaseModel):
    """One wrong place: a JSON pointer into the body, or `?name` for a query parameter."""

    pointer: str = Field(examples=["/rating"])
    code: str = Field(examples=["less_than_equal"])
    detail: str = Field(examples=["Input should be less than or equal to 5"])


class Problem(BaseModel):
    """What every error reply looks like (RFC 9457)."""

    type: str = Field(examples=["urn:heed:problem:invalid_input"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(description="Stable; clients may switch on it.", examples=["invalid_input"])
    errors: list[ProblemDetail] = []
    request_id: str | None = None


def status_of(kind: type[HeedError]) -> int:
    """The HTTP status of an error class: its own entry in the table, or its nearest parent's."""
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def problem_body(error: HeedError, request_id: str | None) -> dict[str, Any]:
    """The problem+json object of one error."""
    return {
        "type": f"urn:heed:problem:{error.code}",
        "title": error.title,
        "status": status_of(type(error)),
        "detail": error.detail,
        "code": error.code,
        "errors": [vars(item) for item in error.errors],
        "request_id": request_id,
    }


def problem_reply(error: HeedError, request_id: str | None) -> JSONResponse:
    """The reply to an error, with `Retry-After` and `WWW-Authenticate` where they belong."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        problem_body(error, request_id),
        status_of(type(error)),
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def explain_validation(error: ValidationError) -> InvalidInput:
    """A failed validation of a body as an error that names each wrong place, never its value."""
    return explain_details(error.errors(include_url=False, include_input=False))


def explain_details(items: Sequence[ErrorDetails], *, in_request: bool = False) -> InvalidInput:
    """The same for errors already listed; `in_request` when places start with body or query."""
    broken = next((item for item in items if item["type"] == "json_invalid"), None)
    if broken is not None:
        return MalformedBody(f"The body is not valid JSON in UTF-8: {_json_fault(broken)}.")
    details = tuple(_unique(_detail(item, in_request) for item in items[: 2 * MAX_ERRORS]))
    places = ", ".join(dict.fromkeys(item.pointer or "the body" for item in details[:3]))
    return InvalidInput(f"Correct {places}: {details[0].detail}.", errors=details[:MAX_ERRORS])


def _json_fault(item: ErrorDetails) -> str:
    return str(item.get("ctx", {}).get("error", item["msg"])).rstrip(".")


def _detail(item: ErrorDetails, in_request: bool) -> Detail:
    place, *rest = item["loc"] if in_request and item["loc"] else ("body", *item["loc"])
    code = item["type"]
    message = item["msg"].removeprefix("Value error, ").rstrip(".")
    if place == "body":
        return Detail(json_pointer(rest), code, message)
    return Detail(f"?{rest[0]}" if place == "query" and rest else f"{place}", code, message)


def json_pointer(parts: Iterable[int | str]) -> str:
    """An RFC 6901 pointer, cut at 200 characters because keys are the caller's text."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    pointer = "".join(f"/{part}" for part in escaped)[:MAX_POINTER]
    return pointer.encode("utf-8", "replace").decode()


def _unique(details: Iterable[Detail]) -> Iterable[Detail]:
    return dict.fromkeys(details)


def problems(*kinds: type[HeedError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors a route may reply with, grouped by status."""
    grouped: dict[int, list[type[HeedError]]] = {}
    for kind in kinds:
        grouped.setdefault(status_of(kind), []).append(kind)
    return {status: _documented(status, grouped[status]) for status in sorted(grouped)}


def _documented(status: int, kinds: Sequence[type[HeedError]]) -> dict[str, Any]:
    examples = {kind.code: {"value": _example(kind, status)} for kind in kinds}
    return {
        "description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds),
        "content": {
            MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
        },
    }


def _example(kind: type[HeedError], status: int) -> dict[str, Any]:
    return {
        "type": f"urn:heed:problem:{kind.code}",
        "title": kind.title,
        "status": status,
        "detail": (kind.__doc__ or HTTPStatus(status).phrase).splitlines()[0],
        "code": kind.code,
        "errors": [],
        "request_id": "0f8fad5bd9cb469fa165",
    }
