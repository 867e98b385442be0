"""Training runs over HTTP: asked for, found, and what a client may name of the trainer's machine.

The row is the queue entry, so nothing here knows of torch or of the trainer: a worker, on this
machine or another, takes the run up and writes how it goes.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.training import TrainingRequest
from shared.db.audit import audit
from shared.db.tables import ModelVersion, Receipt, TrainingRun
from shared.errors import Conflict, Detail, InvalidInput, NotFound
from shared.ids import new_id
from shared.jobs import Placed, pending_key, place

_OF_THE_MACHINE = re.compile(r"(^|_)(file|folder|path|dir|population)$")
_LOCAL = re.compile(r"^(/|~|\.{1,2}/|[A-Za-z]:[\\/])|://|^file:|(^|/)\.\.(/|$)")


class Wish(NamedTuple):
    """A run that a client asks for: where it waits, and what tells its repetition."""

    request: TrainingRequest
    queue: str
    priority: int
    dedupe_key: str | None
    project_id: int
    actor: str


class OnceKey(NamedTuple):
    """An Idempotency-Key and what tells a repeated body from another one."""

    key: str
    body_mac: bytes


def require_allowed(request: TrainingRequest, allowed: Sequence[str], *, at: str = "") -> None:
    """Refuse what names a file, folder or address that the deployment does not allow.

    `at` is the pointer of the request in its body.

    Whoever may ask for a run could else have the trainer read any file of its machine, or send
    texts to any server as a source of rewards.

    Raises:
        InvalidInput: every such place is named.
    """
    named = request.model_dump(mode="json", exclude={"command", "allow_near_duplicates"})
    wrong = [place for place, value in _named_places(named, at) if not _is_below(value, allowed)]
    if wrong:
        raise InvalidInput(
            "The request names a file, folder or address that runs over HTTP may not use: leave it "
            "out, or have it added to HEED_TRAINING_ALLOW.",
            code="place_not_allowed",
            errors=tuple(Detail(one, "place_not_allowed", "It is not allowed.") for one in wrong),
        )


def _named_places(value: Any, at: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """Files, folders and addresses anywhere in the request, each with its JSON pointer."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _named_places(inner, f"{at}/{key}", key)
    elif isinstance(value, list):
        for place_of, inner in enumerate(value):
            yield from _named_places(inner, f"{at}/{place_of}", name)
    elif isinstance(value, str) and (_OF_THE_MACHINE.search(name) or _LOCAL.search(value)):
        yield at, value


def _is_below(value: str, allowed: Sequence[str]) -> bool:
    tops = [top.rstrip("/") for top in allowed]
    is_plain = ".." not in value.split("/")
    return is_plain and any(value == top or value.startswith(f"{top}/") for top in tops)


async def ask(session: AsyncSession, wish: Wish, once: OnceKey | None) -> Placed:
    """The run that waits for a worker: a new one, the same that waits already, or the repeated.

    Raises:
        InvalidInput: the Idempotency-Key was used with another body.
    """
    if once is not None and (earlier := await _repeated(session, wish.project_id, once)):
        return Placed(earlier, is_new=False)
    key = f"client:{wish.dedupe_key}" if wish.dedupe_key else pending_key(wish.request, wish.queue)
    placed = await place(
        session,
        TrainingRun,
        kind=wish.request.kind,
        params=wish.request.model_dump(mode="json"),
        project_id=wish.project_id,
        queue=wish.queue,
        priority=wish.priority,
        dedupe_key=key,
        created_by=wish.actor,
    )
    if once is not None:
        mine = (col(Receipt.project_id) == wish.project_id, col(Receipt.key) == _receipt(once.key))
        await session.execute(update(Receipt).where(*mine).values(row_id=placed.id))
    note(session, "training_run.ask", placed.id, wish.project_id, wish.actor)
    return placed


async def _repeated(session: AsyncSession, project_id: int, once: OnceKey) -> UUID | None:
    """The run that this key has started; None when it is new, and is ours until the commit."""
    key = _receipt(once.key)
    mine = insert(Receipt).values(
        project_id=project_id, key=key, body_mac=once.body_mac, row_id=new_id()
    )
    if await session.scalar(mine.on_conflict_do_nothing().returning(col(Receipt.key))):
        return None
    known = select(Receipt).where(col(Receipt.project_id) == project_id, col(Receipt.key) == key)
    receipt = await session.scalar(known)
    if receipt is None:
        raise Conflict("This Idempotency-Key expired this very moment; ask again.")
    if receipt.body_mac != once.body_mac:
        raise InvalidInput(
            "This Idempotency-Key was used with another body. Send a new key with a new body.",
            code="idempotency_mismatch",
        )
    return receipt.row_id


def _receipt(key: str) -> str:
    return f"training_run/header/{key}"


async def find(session: AsyncSession, run_id: UUID, project_id: int) -> TrainingRun:
    """A run of the project.

    Raises:
        NotFound: there is no such run.
    """
    run = await session.get(TrainingRun, run_id, populate_existing=True)
    if run is None or run.project_id != project_id:
        raise NotFound(f"There is no training run {run_id}.")
    return run


async def model_of(session: AsyncSession, run: TrainingRun) -> ModelVersion | None:
    """The model version a run has brought, if it has."""
    if run.model_version_id is None:
        return None
    return await session.get(ModelVersion, run.model_version_id)


def note(session: AsyncSession, action: str, run_id: UUID, project_id: int, actor: str) -> None:
    """Tell in the audit log who did what to a run."""
    audit(session, action, actor=actor, target=f"training_run:{run_id}", project_id=project_id)
