"""Runs an app as a process: port taken, failed start and SIGTERM all end in one clear line."""

import contextlib
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ConfigError, HeedError

GRACEFUL_SHUTDOWN_S = 20


def serve(app_factory: Callable[[], ASGIApp], host: str, port: int, *, port_setting: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish the running requests and return.

    Raises:
        ConfigError: the port cannot be bound; the message names `port_setting`.
        HeedError: the app refused to start, for example because the schema is not migrated.
    """
    with contextlib.closing(_bind(host, port, port_setting)) as listening:
        app = _QuietStart(app_factory())
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
            server_header=False,
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except (KeyboardInterrupt, SystemExit) as ending:
            if isinstance(ending, SystemExit) and app.start_error is None:
                raise
        if app.start_error is not None:
            raise app.start_error


def serve_or_exit(run: Callable[[], None]) -> None:
    """Run an entry point; an error Heed can explain becomes one line on stderr and exit code 1."""
    try:
        run()
    except HeedError as error:
        sys.exit(f"heed: {error.detail}")


def _bind(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port} ({error.strerror}). Stop what uses the port "
            f"or set {setting} to another one."
        ) from None
    listening.set_inheritable(True)
    return listening


class _QuietStart:
    """An app whose refusal to start is kept for `serve` instead of being printed as a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.start_error: HeedError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold_failure(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                held.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_failure)
        except HeedError as error:
            self.start_error = error
            await send({"type": "lifespan.startup.failed", "message": ""})
        except BaseException:
            for message in held:
                await send(message)
            raise
