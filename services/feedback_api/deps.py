"""What routes ask for: who calls, a session, the body, the writers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from asyncpg import Pool
from fastapi import Depends, Header, Query, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.intake import Source
from services.feedback_api.writer import Writer
from shared.contracts.storable import MAX_NAME
from shared.db.faults import reaching_database
from shared.keys import KeyCache, Principal, Scope, require
from shared.web import explain_validation

T = TypeVar("T")

MAX_PAGE = 100

_bearer = HTTPBearer(auto_error=False, description="`heed_<id>_<secret>`, see `heed keys create`.")
_api_key = APIKeyHeader(name="X-API-Key", auto_error=False)


@dataclass(frozen=True)
class Runtime:
    """What lives as long as the process; made and closed by the app's lifespan."""

    settings: FeedbackSettings
    secret: bytes
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    keys: KeyCache
    pool: Pool
    feedback: Writer
    preferences: Writer


def runtime(request: Request) -> Runtime:
    """The running process's resources."""
    return request.state.runtime  # type: ignore[no-any-return]


RuntimeDep = Annotated[Runtime, Depends(runtime)]


async def _session(runtime: RuntimeDep) -> AsyncIterator[AsyncSession]:
    with reaching_database():
        async with runtime.sessions.begin() as session:
            yield session


# With scope "function" the commit happens before the reply leaves.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]


async def _principal(
    runtime: RuntimeDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    api_key: Annotated[str | None, Depends(_api_key)],
) -> Principal:
    return await runtime.keys.check(bearer.credentials if bearer else api_key)


def holding(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency that lets only keys with the scope pass."""

    async def check(principal: Annotated[Principal, Depends(_principal)]) -> Principal:
        require(principal, scope)
        return principal

    return check


WriterDep = Annotated[Principal, Depends(holding(Scope.FEEDBACK_WRITE))]
ReaderDep = Annotated[Principal, Depends(holding(Scope.FEEDBACK_READ))]
AdminDep = Annotated[Principal, Depends(holding(Scope.ADMIN))]

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows per page.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next_cursor` of the page before.")
]


async def _source(
    request: Request,
    principal: WriterDep,
    runtime: RuntimeDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_NAME)] = None,
) -> Source:
    return Source(
        principal=principal,
        secret=runtime.secret,
        default_consent=runtime.settings.default_training_consent,
        raw_body=await request.body(),
        request_key=idempotency_key,
    )


SourceDep = Annotated[Source, Depends(_source)]


def parse(shape: TypeAdapter[T], raw: bytes) -> T:
    """The body in its shape.

    Raises:
        MalformedBody: it is not JSON in UTF-8.
        InvalidInput: it has another shape; every wrong place is named.
    """
    try:
        return shape.validate_json(raw)
    except ValidationError as error:
        _name_the_place(shape, raw)
        raise explain_validation(error) from None


def _name_the_place(shape: TypeAdapter[T], raw: bytes) -> None:
    """Raise for half of a surrogate pair with its place, which the fast parser does not know."""
    try:
        shape.validate_python(json.loads(raw))
    except ValidationError as error:
        raise explain_validation(error) from None
    except (ValueError, RecursionError):
        return
