"""The outermost layer of a service: request ids, body cap, request metrics, the last resort.

Pure ASGI, because it runs for every request and must neither buffer nor copy bodies.
"""

import re
import time
import uuid

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.db.faults import unreachable
from shared.errors import HeedError, TooLarge
from shared.logs import get_logger, places_of
from shared.web.problems import problem_reply

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class RequestMetrics:
    """Counts and times of the requests of one app, by route template and never by raw path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "heed_http_requests_total",
            "HTTP requests by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "heed_http_request_seconds",
            "Time to the last byte of the reply, seconds.",
            ["route"],
            registry=registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one finished request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        self.requests.labels(scope["method"], route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


class Edge:
    """Gives each request an id, refuses large bodies, counts, and replies when all else failed."""

    def __init__(
        self, app: ASGIApp, *, service: str, max_body_bytes: int, metrics: RequestMetrics
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.metrics = metrics
        self.log = get_logger(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        reply = _Reply(send, request_id)
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._guarded(scope, receive, reply)
        self.metrics.observe(scope, reply.status, time.perf_counter() - started)

    async def _guarded(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        try:
            limited = _limit_body(scope, receive, self.max_body_bytes)
            await self.app(scope, limited, reply)
        except Exception as error:  # whoever waits for the reply must get one
            if reply.status:
                raise
            problem = explain(error, self.log)
            await problem_reply(problem, reply.request_id)(scope, receive, reply)


def explain(error: Exception, log: structlog.stdlib.BoundLogger) -> HeedError:
    """What the caller is told about any failure; one that nobody expected is logged."""
    if isinstance(error, HeedError):
        return error
    if (known := unreachable(error)) is not None:
        return known
    # The message may hold a row's text, so only its type and the places are written.
    log.error("unexpected error", type=type(error).__name__, places=places_of(error))
    return HeedError(
        "Something unexpected happened; the log has an entry with this request id.",
        code="internal_error",
    )


class _Reply:
    """A `send` that adds the request id to the reply and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send = send
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self.request_id
        await self.send(message)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _limit_body(scope: Scope, receive: Receive, cap: int) -> Receive:
    """A `receive` that stops at the cap, also when the body comes in chunks of unknown length."""
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdecimal() and int(declared) > cap:
        raise _too_large(cap)
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > cap:
            raise _too_large(cap)
        return message

    return limited


def _too_large(cap: int) -> TooLarge:
    return TooLarge(f"The body is larger than {cap} bytes; send less at once.")
