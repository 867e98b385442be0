"""The outermost layer of a service: request ids, body cap, request metrics, the last resort.

Pure ASGI, because it runs for every request and must neither buffer nor copy bodies.
"""

import re
import time
from random import getrandbits

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.db.faults import unreachable, unstorable
from shared.errors import HeedError, TooLarge
from shared.logs import get_logger, places_of
from shared.web.problems import problem_reply

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


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
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one finished request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        requests, times = self._labelled(scope["method"], route, status)
        requests.inc()
        times.observe(seconds)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Both metrics under their labels, remembered because looking them up is slow."""
        found = self._found.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, str(status)), self.seconds.labels(route)
            self._found[method, route, status] = found
        return found


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
        given = _given(scope)
        request_id = _request_id(given)
        scope.setdefault("state", {})["request_id"] = request_id
        reply = _Reply(send, request_id)
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._guarded(scope, receive, reply, given.get(b"content-length", b"0"))
        self.metrics.observe(scope, reply.status, time.perf_counter() - started)

    async def _guarded(
        self, scope: Scope, receive: Receive, reply: "_Reply", declared: bytes
    ) -> None:
        try:
            limited = _limit_body(receive, declared, self.max_body_bytes)
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
    if (known := unreachable(error) or unstorable(error)) is not None:
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
            own = (b"x-request-id", self.request_id.encode())
            message["headers"] = [*message.get("headers", ()), own]
        await self.send(message)


def _given(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers; of several with one name the first."""
    return dict(reversed(scope["headers"]))


def _request_id(given: dict[bytes, bytes]) -> str:
    sent = given.get(b"x-request-id", b"")
    return sent.decode() if REQUEST_ID.fullmatch(sent) else f"{getrandbits(128):032x}"


def _limit_body(receive: Receive, declared: bytes, cap: int) -> Receive:
    """A `receive` that stops at the cap, also when the body comes in chunks of unknown length."""
    if declared.isdigit() and int(declared) > cap:
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
