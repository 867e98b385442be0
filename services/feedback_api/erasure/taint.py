"""What becomes of live models that were trained on erased rows: trained anew, or retired in time.

The policy is applied by every erasure and every hour, and does nothing twice. A model that is
still live and tainted at the deadline stops serving; what served before it serves again if it is
clean, else nothing does and the reward service replies with its fallback.
"""

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Text, cast, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared import registry
from shared.config import Settings
from shared.contracts.training import RunKind
from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.tables import Lineage, ModelVersion, TrainingRun
from shared.errors import NotFound
from shared.jobs import FOREGROUND, enqueue
from shared.lineage import TaintedLive, model_node, tainted, tainted_live

_ACTOR = "erasure"


@dataclass(frozen=True)
class ErasurePolicy:
    """Whether tainted live models are trained anew at once, and after how many days they go."""

    retrains: bool
    days: int

    @classmethod
    def of(cls, settings: Settings) -> "ErasurePolicy":
        """The policy of a deployment."""
        return cls(settings.erasure_policy == "retrain", settings.erasure_deadline_days)

    def deadline_of(self, erased_at: datetime) -> datetime:
        """Until when a model may go on after the erasure that taints it."""
        return erased_at + timedelta(days=self.days)


async def apply_policy(session: AsyncSession, policy: ErasurePolicy, project_id: int) -> int:
    """How many tainted live versions were retired, or are being trained anew from now on."""
    acted, nodes = 0, await tainted(session, project_id)
    for live in await tainted_live(session, project_id):
        if datetime.now(UTC) >= deadline_of(live):
            await _retire(session, live, nodes)
            acted += 1
        elif policy.retrains:
            acted += await _retrain(session, live, nodes)
    return acted


def deadline_of(live: TaintedLive) -> datetime:
    """Until when a tainted version may serve, as its erasure's receipt has promised."""
    return datetime.fromisoformat(live.erasure.receipt["deadline"])


async def _retire(session: AsyncSession, live: TaintedLive, nodes: Container[str]) -> None:
    version = live.version
    versions = await registry.list_versions(
        session, name=version.name, project_id=version.project_id
    )
    unfit = {other.id for other, _ in versions if model_node(other.id) in nodes}
    reason = f"still holds something of rows that erasure {live.erasure.id} removed"
    await registry.retire(session, version, unfit=unfit, reason=reason, changed_by=_ACTOR)


async def _retrain(session: AsyncSession, live: TaintedLive, nodes: Container[str]) -> bool:
    """Whether a run like the one that made the version waits now, and did not before.

    It is not asked for while it would learn from another tainted model, whose turn comes first.
    """
    version, key = live.version, f"erasure:{live.erasure.id}:{live.version.id}"
    asked = select(col(TrainingRun.id)).where(
        col(TrainingRun.project_id) == version.project_id, col(TrainingRun.dedupe_key) == key
    )
    run = await session.get(TrainingRun, version.run_id) if version.run_id else None
    if run is None or await session.scalar(asked.limit(1)) is not None:
        return False
    params = await _params_again(session, run, version)
    if RunKind(run.kind).is_policy:
        models = await _models_named(session, params["recipe"], version.project_id)
        if any(model_node(model.id) in nodes for model in models):
            return False
    run_id = await enqueue(
        session,
        TrainingRun,
        kind=run.kind,
        params=params,
        queue="cpu" if run.queue == FOREGROUND else run.queue,
        project_id=version.project_id,
        dedupe_key=key,
        created_by=_ACTOR,
    )
    audit(
        session,
        "model.retrain",
        actor=_ACTOR,
        target=model_node(version.id),
        project_id=version.project_id,
        detail={"erasure": str(live.erasure.id), "run": str(run_id)},
    )
    return True


async def _params_again(session: AsyncSession, run: TrainingRun, version: ModelVersion) -> Json:
    """What the run was told, but a model that went on from another begins where it began.

    `policy@champion` means the tainted policy itself by now.
    """
    recipe = dict(run.params.get("recipe", {}))
    name, at, _ = str(recipe.get("base_model", "")).partition("@")
    edges = select(col(Lineage.parent)).where(col(Lineage.child) == model_node(version.id))
    parents = select(ModelVersion).where(
        col(ModelVersion.name) == name,
        literal("model:").concat(cast(col(ModelVersion.id), Text)).in_(edges),
    )
    began = (await session.scalars(parents)).first() if at else None
    if began is not None:
        recipe["base_model"] = f"{began.name}@{began.version}"
    return {**run.params, "recipe": recipe}


async def _models_named(
    session: AsyncSession, recipe: Json, project_id: int
) -> Sequence[ModelVersion]:
    """The versions that a policy run of this recipe would start or learn from now."""
    rewards = recipe.get("reward") or [f"{registry.DEFAULT_NAME}@{registry.CHAMPION}"]
    named = [recipe.get("base_model"), recipe.get("gold"), *rewards]
    found = []
    for one in named:
        name, at, reference = str(one or "").partition("*")[0].partition("@")
        if at:
            with suppress(NotFound):  # no version is meant, or the run will say so
                found.append(
                    await registry.find_version(
                        session, reference, name=name, project_id=project_id
                    )
                )
    return found
