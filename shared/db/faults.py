"""Tells an unreachable Postgres from every other failure."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy import exc

from shared.errors import DatabaseUnavailable, InvalidInput

RETRY_AFTER_S = 2

_LOST = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    exc.TimeoutError,
)

_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_UNSTORABLE = (asyncpg.UntranslatableCharacterError, asyncpg.CharacterNotInRepertoireError)


def database_unavailable() -> DatabaseUnavailable:
    """The error to reply with when Postgres was not there."""
    return DatabaseUnavailable(
        "The database cannot be reached, so nothing is acknowledged. Send it again in a moment; "
        "with the same Idempotency-Key or id it is never stored twice.",
        retry_after_s=RETRY_AFTER_S,
    )


def unreachable(error: BaseException) -> DatabaseUnavailable | None:
    """The error to reply with when Postgres was not there, or None for any other failure."""
    if isinstance(error, DatabaseUnavailable):
        return error
    lost = isinstance(error, _LOST) and not isinstance(error, ValueError)
    if isinstance(error, exc.DBAPIError):
        driver_error = getattr(error.orig, "__cause__", None)
        lost = error.connection_invalidated or isinstance(driver_error, _LOST)
    return database_unavailable() if lost else None


def unstorable(error: BaseException) -> InvalidInput | None:
    """The error to reply with when a text holds what Postgres has no place for, or None."""
    driver_error = getattr(getattr(error, "orig", None), "__cause__", None)
    if isinstance(error, _UNSTORABLE) or isinstance(driver_error, _UNSTORABLE):
        return InvalidInput("Text cannot hold U+0000; remove it from the body and the address.")
    return None


def is_of_files(error: OSError) -> bool:
    """Whether a file or a disk refused something; an OSError of a connection names no file."""
    return error.filename is not None or error.errno in _OF_A_DISK


@contextmanager
def reaching_database() -> Iterator[None]:
    """Inside, every way of not reaching Postgres is raised as DatabaseUnavailable.

    A connect attempt fails as any OSError (a missing socket file, a name that does not resolve) or
    as a timeout, which elsewhere mean something else; hence only inside this block. What is of
    files is raised as it is.
    """
    try:
        yield
    except (OSError, TimeoutError) as error:
        if is_of_files(error):
            raise
        raise database_unavailable() from None
    except (exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if (known := unreachable(error)) is not None:
            raise known from None
        raise
