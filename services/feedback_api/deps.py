"""What routes ask for: who calls, a session, the body, the writers."""

import json
from asyncio import Future
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from asyncpg import Pool
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.feedback_api.admission import Admission, BatchSlots
from services.feedback_api.config import FeedbackSettings
from services.feedback_api.intake import Source
from services.feedback_api.limits import Limits
from services.feedback_api.widget_tokens import read as read_widget_token
from services.feedback_api.widget_tokens import widget_token_of
from services.feedback_api.writer import FEEDBACK, Accepted, Post, Writer
from shared.contracts.storable import MAX_NAME
from shared.db.audit import as_id, audit
from shared.db.columns import Json
from shared.db.faults import reaching_database
from shared.errors import InvalidInput
from shared.ids import is_plain
from shared.keys import KeyCache, Principal, Scope, require, token_of
from shared.privacy.fields import FieldCipher
from shared.web import explain_validation

T = TypeVar("T")

MAX_PAGE = 100
# What routes that read rows know; anything else in a query string is the caller's own invention.
FILTERS = frozenset(
    {"session_id", "agent_name", "interaction_id", "task_type", "since", "days", "cursor", "limit"}
)


@dataclass(frozen=True)
class Runtime:
    """What lives as long as the process; made and closed by the app's lifespan."""

    settings: FeedbackSettings
    secret: bytes
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    keys: KeyCache
    cipher: FieldCipher
    pool: Pool
    limits: Limits
    admit: Admission
    batches: BatchSlots
    feedback: Writer
    preferences: Writer

    async def accept(self, post: Post) -> Accepted:
        """What to reply to feedback or a comparison, once it has been admitted and committed."""
        await self.admit(post)
        return await self._writer(post).submit(post)

    def enqueue(self, post: Post) -> Future[Accepted]:
        """The reply to wait for, of an admitted item of a batch."""
        return self._writer(post).enqueue(post, in_bulk=True)

    def _writer(self, post: Post) -> Writer:
        return self.feedback if post.kind is FEEDBACK else self.preferences


def runtime(request: Request) -> Runtime:
    """The running process's resources."""
    return request.state.runtime  # type: ignore[no-any-return]


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    with reaching_database():
        async with runtime(request).sessions.begin() as session:
            yield session


# With scope "function" the commit happens before the reply leaves.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]


class Holding(HTTPBearer):
    """A dependency that lets only keys with a scope pass."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            scheme_name="ApiKey",
            description="`Authorization: Bearer heed_<id>_<secret>`, or the same in `X-API-Key`. "
            "`POST /feedback` and `POST /preference` also take a widget token, "
            "`Authorization: Bearer heedw_<payload>.<mac>` or the same in `X-Widget-Token`.",
        )
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        principal = await self.identify(request, token_of(request.headers))
        runtime(request).limits.count_request(principal.public_id)
        return principal

    async def identify(self, request: Request, token: str) -> Principal:
        """Who calls, once the key is known to hold the scope."""
        principal = await runtime(request).keys.check(token)
        require(principal, self.scope)
        return principal


async def _reader(
    request: Request,
    principal: Annotated[Principal, Depends(Holding(Scope.FEEDBACK_READ))],
    session: SessionDep,
) -> Principal:
    """Who reads rows; that they did is in the audit log before they see any."""
    audit(
        session,
        "rows.read",
        actor=principal.actor,
        target=_what_was_read(request),
        project_id=principal.project_id,
        detail=_how_it_was_filtered(request),
    )
    return principal


def _what_was_read(request: Request) -> str:
    """The path; only its template when a part of it is no id, for the log never holds a text."""
    parts = request.path_params.values()
    return request.url.path if all(map(is_plain, parts)) else request.scope["route"].path_format


def _how_it_was_filtered(request: Request) -> Json | None:
    """The filters there are, and their values that are ids, numbers or times."""
    given = {name: value for name, value in request.query_params.items() if name in FILTERS}
    kept = {name: as_id(value) for name, value in given.items()}
    return {"query": kept} if kept else None


async def _cipher(request: Request) -> FieldCipher:
    return runtime(request).cipher


CipherDep = Annotated[FieldCipher, Depends(_cipher)]
ReaderDep = Annotated[Principal, Depends(_reader)]
PlainReaderDep = Annotated[Principal, Depends(Holding(Scope.FEEDBACK_READ))]
WriterDep = Annotated[Principal, Depends(Holding(Scope.FEEDBACK_WRITE))]
ReviewerDep = Annotated[Principal, Depends(Holding(Scope.REVIEW))]
EraserDep = Annotated[Principal, Depends(Holding(Scope.ERASE))]
TrainerDep = Annotated[Principal, Depends(Holding(Scope.TRAIN))]
ModelsDep = Annotated[Principal, Depends(Holding(Scope.MODELS))]
AdminDep = Annotated[Principal, Depends(Holding(Scope.ADMIN))]

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows per page.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next_cursor` of the page before.")
]


class Posting(Holding):
    """A dependency for what every post needs; one object, because each one costs every post.

    Limits count posts, not requests: each when it is admitted.
    """

    async def __call__(self, request: Request) -> Source:  # type: ignore[override]
        principal = await self.identify(request, token_of(request.headers))
        return await self.source(request, principal)

    async def source(self, request: Request, principal: Principal) -> Source:
        """The post's body and what the deployment decides for it."""
        running = runtime(request)
        return Source(
            principal=principal,
            secret=running.secret,
            default_consent=running.settings.default_training_consent,
            raw_body=await request.body(),
            request_key=request_key(request),
        )


class PagePosting(Posting):
    """The same for the routes that a page may call too, with a widget token instead of a key."""

    async def __call__(self, request: Request) -> Source:  # type: ignore[override]
        token = token_of(request.headers)
        page_token = widget_token_of(token, request.headers)
        if page_token is None:
            return await self.source(request, await self.identify(request, token))
        running = runtime(request)
        grant = read_widget_token(running.secret, page_token, origin=request.headers.get("origin"))
        if request.query_params:
            raise InvalidInput("With a widget token, send the fields in the body.")
        principal = await running.keys.find(grant.key_id)
        grant.require_project(principal.project_id)
        require(principal, self.scope)
        source = await self.source(request, principal)
        # A key of a page is its own: no other page learns by guessing it what was posted.
        own_key = source.request_key and f"{grant.rater}/{source.request_key}"
        return replace(source, grant=grant, request_key=own_key)


class BatchPosting(Posting):
    """The same for a batch, whose body is read only while few others are under way."""

    async def __call__(self, request: Request) -> AsyncIterator[Source]:  # type: ignore[override]
        principal = await self.identify(request, token_of(request.headers))
        with runtime(request).batches.one():
            yield await self.source(request, principal)


SourceDep = Annotated[Source, Depends(Posting(Scope.FEEDBACK_WRITE))]
BatchSourceDep = Annotated[Source, Depends(BatchPosting(Scope.FEEDBACK_WRITE))]
page_source = PagePosting(Scope.FEEDBACK_WRITE)
PageSourceDep = Annotated[Source, Depends(page_source)]


def request_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one.

    Raises:
        InvalidInput: it is empty or too long.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= MAX_NAME:
        raise InvalidInput(f"An Idempotency-Key has 1 to {MAX_NAME} characters.")
    return key


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
