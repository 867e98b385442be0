"""Which model versions exist, and which of them an alias such as `champion` means now.

Every change of an alias is one row of history, one line of the audit log and one NOTIFY, all in
the caller's transaction: a reader that hears of a change finds it committed.
"""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.tables import AliasChange, ModelAlias, ModelVersion
from shared.errors import Conflict, InvalidInput, NotFound

CHANNEL = "heed_models"
CHAMPION = "champion"
DEFAULT_NAME = "reward"


@dataclass(frozen=True)
class NewVersion:
    """What a finished training run hands over: a stored artifact and where it came from."""

    kind: str
    sha256: str
    uri: str
    metrics: Json
    run_id: uuid.UUID | None = None
    dataset_id: int | None = None
    name: str = DEFAULT_NAME
    project_id: int = 1


async def register_version(session: AsyncSession, new: NewVersion) -> ModelVersion:
    """A new row with the next free version of its name; concurrent callers wait their turn."""
    await lock_name(session, new.project_id, new.name)
    newest = await session.scalar(
        select(func.max(col(ModelVersion.version))).where(
            col(ModelVersion.project_id) == new.project_id, col(ModelVersion.name) == new.name
        )
    )
    version = ModelVersion(**vars(new), version=(newest or 0) + 1)
    session.add(version)
    await session.flush()
    return version


async def find_version(
    session: AsyncSession, reference: str | int, *, name: str = DEFAULT_NAME, project_id: int = 1
) -> ModelVersion:
    """The version meant by a number (`3`), an alias (`champion`) or an id.

    Raises:
        NotFound: this project has no such version.
    """
    found = await session.scalar(_meant_by(str(reference), name, project_id))
    if found is None:
        raise NotFound(
            f"Model {name} has no version {str(reference)[:80]!r}; `heed models list` shows "
            "what there is."
        )
    return found


async def champion(
    session: AsyncSession, name: str = DEFAULT_NAME, project_id: int = 1
) -> ModelVersion | None:
    """The version that is live under this name, or None while nothing was promoted."""
    return await session.scalar(_meant_by(CHAMPION, name, project_id))


async def list_versions(
    session: AsyncSession, *, name: str | None = None, project_id: int = 1
) -> list[tuple[ModelVersion, list[str]]]:
    """Every version, newest first, each with the aliases that mean it now."""
    versions = select(ModelVersion).where(col(ModelVersion.project_id) == project_id)
    if name is not None:
        versions = versions.where(col(ModelVersion.name) == name)
    newest_first = versions.order_by(col(ModelVersion.name), col(ModelVersion.version).desc())
    aliases = await session.scalars(
        select(ModelAlias).where(col(ModelAlias.project_id) == project_id)
    )
    return _with_aliases((await session.scalars(newest_first)).all(), aliases.all())


async def promote(
    session: AsyncSession,
    version_id: uuid.UUID,
    *,
    alias: str = CHAMPION,
    reason: str | None = None,
    verdict: Json | None = None,
    changed_by: str | None = None,
) -> ModelVersion:
    """Let `alias` mean this version from the commit on.

    `verdict` is the gate's result and defaults to the one stored with the version.

    Raises:
        NotFound: there is no such version.
        InvalidInput: the gate did not pass it and no reason for overriding was given.
        Conflict: the version was retired, so its artifact must not serve again.
    """
    version = await session.get(ModelVersion, version_id)
    if version is None:
        raise NotFound(f"There is no model version {version_id}; see `heed models list`.")
    decided = verdict or version.gate
    if not (decided and decided.get("passed")) and not (reason and reason.strip()):
        raise InvalidInput(
            f"The gate did not pass {version.name} version {version.version}; promoting it "
            "anyway needs a reason, which is kept in the audit log (--reason)."
        )
    change = AliasChange(
        project_id=version.project_id,
        name=version.name,
        alias=alias,
        action="promote",
        from_version_id=None,
        to_version_id=version.id,
        reason=reason,
        verdict=decided,
        changed_by=changed_by,
    )
    await _move_alias(session, version, change)
    return version


async def rollback(
    session: AsyncSession,
    name: str = DEFAULT_NAME,
    *,
    alias: str = CHAMPION,
    reason: str | None = None,
    changed_by: str | None = None,
    project_id: int = 1,
) -> ModelVersion:
    """Let `alias` mean again what it meant before its present version was promoted.

    Raises:
        NotFound: the alias means nothing yet.
        Conflict: there is no earlier version to return to.
    """
    await lock_name(session, project_id, name)
    current = await find_version(session, alias, name=name, project_id=project_id)
    earlier = await _promoted_before(session, current, alias)
    change = AliasChange(
        project_id=project_id,
        name=name,
        alias=alias,
        action="rollback",
        from_version_id=current.id,
        to_version_id=earlier.id,
        reason=reason,
        changed_by=changed_by,
    )
    await _move_alias(session, earlier, change)
    return earlier


async def retire(
    session: AsyncSession,
    version: ModelVersion,
    *,
    unfit: Collection[uuid.UUID] = (),
    reason: str | None = None,
    changed_by: str | None = None,
) -> None:
    """Take a version out of service for good.

    Each alias that means it means again what it meant before, skipping versions that are retired
    or `unfit`; an alias with no such version means nothing any more.
    """
    await lock_name(session, version.project_id, version.name)
    await session.refresh(version)
    if version.retired_at is not None:
        return
    aliases = await session.scalars(
        select(col(ModelAlias.alias))
        .where(col(ModelAlias.version_id) == version.id)
        .order_by(col(ModelAlias.alias))
    )
    for alias in aliases.all():
        earlier = await _fit_before(session, version, alias, unfit)
        change = AliasChange(
            project_id=version.project_id,
            name=version.name,
            alias=alias,
            action="fall_back",
            from_version_id=version.id,
            to_version_id=earlier.id if earlier else None,
            reason=reason,
            changed_by=changed_by,
        )
        await (_move_alias(session, earlier, change) if earlier else _end_alias(session, change))
    version.retired_at = await session.scalar(select(func.now()))
    session.add(version)
    _tell_retired(session, version, reason, changed_by)
    await session.flush()


async def lock_name(session: AsyncSession, project_id: int, name: str) -> None:
    """Let one transaction at a time change what this model name has and means."""
    key = func.hashtextextended(f"model:{project_id}:{name}", 0)
    await session.execute(select(func.pg_advisory_xact_lock(key)))


def _meant_by(reference: str, name: str, project_id: int) -> Select[ModelVersion]:
    versions = select(ModelVersion).where(
        col(ModelVersion.project_id) == project_id, col(ModelVersion.name) == name
    )
    if reference.isdecimal() and len(reference) < 10:
        return versions.where(col(ModelVersion.version) == int(reference))
    if (identity := _as_uuid(reference)) is not None:
        return versions.where(col(ModelVersion.id) == identity)
    return versions.join(
        ModelAlias,
        (col(ModelAlias.version_id) == col(ModelVersion.id))
        & (col(ModelAlias.alias) == reference)
        & (col(ModelAlias.name) == name)
        & (col(ModelAlias.project_id) == project_id),
    )


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _with_aliases(
    versions: Sequence[ModelVersion], aliases: Sequence[ModelAlias]
) -> list[tuple[ModelVersion, list[str]]]:
    return [
        (version, sorted(alias.alias for alias in aliases if alias.version_id == version.id))
        for version in versions
    ]


async def _promoted_before(
    session: AsyncSession, current: ModelVersion, alias: str
) -> ModelVersion:
    """What the alias meant before `current`, skipping versions that were retired since."""
    earlier = await _fit_before(session, current, alias)
    if earlier is None:
        raise Conflict(
            f"Model {current.name} has no version before {current.version} to return to."
        )
    return earlier


async def _fit_before(
    session: AsyncSession, current: ModelVersion, alias: str, unfit: Collection[uuid.UUID] = ()
) -> ModelVersion | None:
    """The same, skipping `unfit` versions too; None when there is none."""
    version, seen = current, {current.id}
    while True:
        before = await session.scalar(_replaced_by(version, alias))
        earlier = await session.get(ModelVersion, before) if before else None
        if earlier is None or earlier.id in seen:
            return None
        if earlier.retired_at is None and earlier.id not in unfit:
            return earlier
        seen.add(earlier.id)
        version = earlier


def _replaced_by(version: ModelVersion, alias: str) -> Select[uuid.UUID | None]:
    return (
        select(col(AliasChange.from_version_id))
        .where(
            col(AliasChange.to_version_id) == version.id,
            col(AliasChange.alias) == alias,
            col(AliasChange.action) == "promote",
        )
        .order_by(col(AliasChange.id).desc())
        .limit(1)
    )


async def _move_alias(session: AsyncSession, version: ModelVersion, change: AliasChange) -> None:
    if version.retired_at is not None:
        raise Conflict(f"Model {version.name} version {version.version} was retired.")
    await lock_name(session, version.project_id, version.name)
    key = {"project_id": version.project_id, "name": version.name, "alias": change.alias}
    before = await session.scalar(select(col(ModelAlias.version_id)).filter_by(**key))
    if before == version.id:
        return  # it means this version already: nothing to record
    await session.execute(
        insert(ModelAlias)
        .values(**key, version_id=version.id)
        .on_conflict_do_update(
            index_elements=list(key), set_={"version_id": version.id, "updated_at": func.now()}
        )
    )
    change.from_version_id = before
    session.add(change)
    _tell(session, change, version)
    await session.flush()
    await _notify(session, {**key, "version_id": str(version.id)})


async def _end_alias(session: AsyncSession, change: AliasChange) -> None:
    key = {"project_id": change.project_id, "name": change.name, "alias": change.alias}
    await session.execute(delete(ModelAlias).filter_by(**key))
    session.add(change)
    await _notify(session, {**key, "version_id": None})


async def _notify(session: AsyncSession, payload: Json) -> None:
    await session.execute(select(func.pg_notify(CHANNEL, json.dumps(payload))))


def _tell_retired(
    session: AsyncSession, version: ModelVersion, reason: str | None, changed_by: str | None
) -> None:
    audit(
        session,
        "model.retire",
        actor=changed_by or "unknown",
        target=f"model:{version.id}",
        project_id=version.project_id,
        detail={"name": version.name, "version": version.version, "reason": reason},
    )


def _tell(session: AsyncSession, change: AliasChange, version: ModelVersion) -> None:
    audit(
        session,
        f"model.{change.action}",
        actor=change.changed_by or "unknown",
        target=f"model:{version.id}",
        project_id=version.project_id,
        detail={
            "name": version.name,
            "version": version.version,
            "alias": change.alias,
            "reason": change.reason,
            "verdict": (change.verdict or {}).get("verdict"),
        },
    )
