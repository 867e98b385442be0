"""A route that hands bodies in other servers' shapes to their dialects, and keeps its own."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services.reward_service.dialects.telling import FORKS, Dialect, tell
from services.reward_service.limits import refuse_crowded
from services.reward_service.scoring import CLIENT_LEFT

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Handlers = Mapping[tuple[Dialect, str], Handler]


class ByBody(APIRoute):
    """A route of a path that several servers share; `dialect` is whose shape is its own."""

    dialect: Dialect | None = None

    def get_route_handler(self) -> Handler:
        """What replies to a request: this route, or that of the dialect its body is in."""
        own = super().get_route_handler()
        if self.path not in FORKS:
            return own

        async def reply(request: Request) -> Response:
            path: str = request.scope["path"]
            if path not in FORKS:  # under a dialect's own name there is nothing to tell
                return await own(request)
            try:
                body = await parsed(request)
            except ClientDisconnect:
                return Response(status_code=CLIENT_LEFT)
            settings = request.state.service.settings
            told = tell(path, body, settings)
            if told is None and self.dialect is None:
                refuse_crowded(body, settings)
            handlers: Handlers = request.app.state.dialects
            handle = own if told in (None, self.dialect) else handlers[told, path]
            return await handle(request)

        return reply


async def parsed(request: Request) -> object:
    """The body, which stays read and parsed for the route that takes it; None if it is no JSON."""
    await request.body()
    try:
        return await request.json()
    except (ValueError, RecursionError):  # the route itself says what is wrong with it
        return None
