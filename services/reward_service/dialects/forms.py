"""Errors in the form a dialect's clients read, and keys from where they can send them."""

import base64
import binascii
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from services.reward_service.dialects.forks import Handler, parsed
from services.reward_service.limits import refuse_crowded
from services.reward_service.scoring import CLIENT_LEFT
from shared.errors import HeedError, InvalidInput, MalformedBody, TooLarge, Unauthenticated
from shared.logs import get_logger
from shared.web import status_of
from shared.web.edge import explain
from shared.web.problems import explain_details

Statuses = Mapping[type[HeedError], int]
Body = Callable[[HeedError, int], Mapping[str, Any]]
_log = get_logger("reward_service")

# Of servers that call a wrong request what OpenAI's API calls it.
WRONG_IS_400: Statuses = {InvalidInput: 400, TooLarge: 413}


class ClientLeft(Exception):
    """Nobody waits for the reply any more."""


class InForm(APIRoute):
    """A route of a dialect: whatever goes wrong is said as its clients expect.

    Subclasses set `statuses`, where an error has another status than natively, and `say`.
    """

    statuses: Statuses = {}

    @staticmethod
    def say(error: HeedError, status: int) -> Mapping[str, Any]:
        """The body of an error's reply."""
        return {"error": error.detail}

    def get_route_handler(self) -> Handler:
        """What replies to a request, in every case."""
        own = super().get_route_handler()

        async def reply(request: Request) -> Response:
            _take_basic(request.scope)
            try:
                refuse_crowded(await parsed(request), request.state.service.settings)
                return await own(request)
            except (ClientLeft, ClientDisconnect):
                return Response(status_code=CLIENT_LEFT)
            except Exception as error:  # noqa: BLE001 - whoever waits must get a reply
                return self.refuse(_explained(error))

        return reply

    def refuse(self, error: HeedError) -> JSONResponse:
        """The reply to an error."""
        kinds = (kind for kind in type(error).__mro__ if kind in self.statuses)
        kind = next(kinds, None)
        status = self.statuses[kind] if kind else status_of(type(error))
        headers = {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.say(error, status), status, headers=headers)


class OpenAiForm(InForm):
    """An `error` object, under the name under which OpenAI's clients look for it."""

    @staticmethod
    def say(error: HeedError, status: int) -> Mapping[str, Any]:
        """What went wrong, as OpenAI's API says it."""
        return {"error": openai_error(error, status)}


def openai_error(error: HeedError, status: int) -> dict[str, Any]:
    """What OpenAI's API, and those that follow it, say of an error."""
    name = HTTPStatus(status).phrase.title().replace(" ", "")
    return {
        "message": error.detail,
        "type": f"{name.removesuffix('Error')}Error",
        "param": error.errors[0].pointer if error.errors else None,
        "code": status,
    }


def _explained(error: Exception) -> HeedError:
    if isinstance(error, RequestValidationError):
        return explain_details(error.errors(), in_request=True)
    if getattr(error, "status_code", None) == HTTPStatus.BAD_REQUEST:  # the framework's own
        cause = error.__cause__
        unread = MalformedBody("The body cannot be read; send JSON in UTF-8.")
        return cause if isinstance(cause, HeedError) else unread
    return explain(error, _log)


def _take_basic(scope: Scope) -> None:
    """Read a key from the password of `Authorization: Basic` too.

    Clients that know a URL and no header send it so, as `http://key:heed_…@host/get_reward`.
    """
    scope["headers"] = [
        (name, _as_bearer(value) if name == b"authorization" else value)
        for name, value in scope["headers"]
    ]


def _as_bearer(value: bytes) -> bytes:
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return value
    try:
        password = base64.b64decode(encoded).partition(b":")[2]
    except binascii.Error:
        return value
    return b"Bearer " + password if password.startswith(b"heed_") else value
