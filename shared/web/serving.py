"""Runs an app as a process: port taken, failed start and SIGTERM all end in one clear line."""

import contextlib
import gc
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.config import Settings, load_settings
from shared.errors import ConfigError, HeedError
from shared.web.one_write import OneWriteProtocol

GRACEFUL_SHUTDOWN_S = 20
COLLECT_AFTER = (10_000, 50, 50)  # allocations, young and middle collections


def serve(app_factory: Callable[[], ASGIApp], host: str, port: int, *, port_setting: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish the running requests and return.

    Raises:
        ConfigError: the port cannot be bound; the message names `port_setting`.
        HeedError: the app refused to start, for example because the schema is not migrated.
        Exception: whatever else its start or its end failed with.
    """
    with contextlib.closing(_bind(host, port, port_setting)) as listening:
        app = _QuietLifespan(app_factory())
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
            server_header=False,
            proxy_headers=False,  # nothing here depends on who the client claims to be
            http=OneWriteProtocol,
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except (KeyboardInterrupt, SystemExit) as ending:
            if isinstance(ending, SystemExit) and app.error is None:
                raise
        if app.error is not None:
            raise app.error


def serve_or_exit(run: Callable[[], None]) -> None:
    """Run an entry point; an error becomes one line on stderr and exit code 1.

    Of an error that Heed cannot explain the line names kind and place only: its message may repeat
    what people wrote. `HEED_LOG_LEVEL=DEBUG` shows all of it.
    """
    try:
        run()
    except HeedError as error:
        sys.exit(f"heed: {error.detail}")
    except Exception as error:  # the outermost edge: nobody else can explain it
        if _wants_traceback():
            raise
        sys.exit(
            f"heed: stopped by an unexpected {_where(error)}. HEED_LOG_LEVEL=DEBUG shows the rest."
        )


def _spare_the_collector() -> None:
    """Leave out of every garbage collection what was loaded at the start and stays for ever.

    Requests that wait for a commit outlive the young collections, and each older one would go
    through all modules, classes and schemas again: a third of a post's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _where(error: Exception) -> str:
    frame = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _wants_traceback() -> bool:
    try:
        return load_settings(Settings).log_level == "DEBUG"
    except ConfigError:
        return False


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


class _QuietLifespan:
    """An app whose failures to start and end never print a message: it may repeat people's words.

    That of the start is kept for `serve`; that of the end is logged with its kind and place,
    since the signal that asked for the end ends the process before `serve` gets to raise it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        is_started = False

        async def hold_failure(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "lifespan.startup.complete":
                is_started = True
                _spare_the_collector()
            if not message["type"].endswith(".failed"):
                await send(message)

        try:
            await self.app(scope, receive, hold_failure)
        except Exception as error:  # noqa: BLE001 - `serve` raises it
            self.error = error
            phase, said = ("shutdown", _where(error)) if is_started else ("startup", "")
            await send({"type": f"lifespan.{phase}.failed", "message": said})
