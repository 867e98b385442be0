"""Reads replies: a typed result, or a typed error."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan, nan
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from heed_client.errors import HeedProblem, Problem
from heed_client.results import Result

R = TypeVar("R", bound=Result)
LONGEST_S = 3600.0


def read(reply: httpx.Response, result: type[R]) -> R:
    """The result of a successful reply.

    Raises:
        HeedProblem: the reply is an error, or not of this API.
    """
    if not reply.is_success:
        raise problem_of(reply)
    body = _json(reply)
    try:
        return result.model_validate({"items": body} if isinstance(body, list) else body)
    except ValidationError:
        detail = "The reply has another shape than this API's; is the URL right?"
        raise HeedProblem(_problem(reply, code="unexpected_reply", detail=detail)) from None


def problem_of(reply: httpx.Response) -> HeedProblem:
    """The error a reply tells of; a proxy's page becomes one, too."""
    wait = retry_after_s(reply.headers.get("retry-after"))
    body = _json(reply)
    if isinstance(body, dict) and isinstance(body.get("code"), str):
        try:
            return HeedProblem(
                Problem.model_validate({**body, "status": reply.status_code}), retry_after_s=wait
            )
        except ValidationError:
            pass  # an error of someone else's in a similar shape
    code = f"http_{reply.status_code}"
    return HeedProblem(
        _problem(reply, code=code, detail=reply.reason_phrase or "No explanation."),
        retry_after_s=wait,
    )


def _problem(reply: httpx.Response, *, code: str, detail: str) -> Problem:
    request_id = reply.headers.get("x-request-id")
    return Problem(status=reply.status_code, code=code, detail=detail, request_id=request_id)


def _json(reply: httpx.Response) -> Any:
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError):
        return None


def retry_after_s(value: str | None) -> float | None:
    """Seconds to wait, an hour at most: the header holds them, or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return None if isnan(seconds) else min(max(0.0, seconds), LONGEST_S)


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return nan
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
