"""LISTEN on Postgres channels for as long as a process lives."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import asyncpg

from shared.db.engine import connect
from shared.logs import get_logger

RECONNECT_S = 1.0

Handler = Callable[[str], None]


async def listen(
    url: str, handlers: Mapping[str, Handler], *, on_connect: Callable[[], None]
) -> None:
    """Call the handler of a channel with each payload, for ever; run it as a task and cancel it.

    `on_connect` is called after every (re)connect: what was notified in between is lost, so the
    caller must forget or re-read what it holds.
    """
    log = get_logger("listen")
    while True:
        try:
            await _listen_once(url, handlers, on_connect)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("notifications are interrupted", type=type(error).__name__)
        await asyncio.sleep(RECONNECT_S)


async def _listen_once(
    url: str, handlers: Mapping[str, Handler], on_connect: Callable[[], None]
) -> None:
    connection = await connect(url)
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        for channel, handler in handlers.items():
            await connection.add_listener(channel, _passing_payload(handler))
        on_connect()
        await lost.wait()
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await connection.close(timeout=2)


def _passing_payload(handler: Handler) -> Callable[[object, int, str, str], None]:
    return lambda _connection, _pid, _channel, payload: handler(payload)
