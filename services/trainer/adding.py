"""Enters a model that was made elsewhere where there is no feedback to judge it by."""

import asyncio

from services.trainer.datasets import collect_evidence
from services.trainer.foreign import AddedParams
from services.trainer.methods import params_of
from services.trainer.queries import trainable_feedback, trainable_preferences, trainable_steps
from services.trainer.recipes.added_reward import store_unjudged
from services.trainer.splits import group_by_secret
from services.trainer.workplace import Workplace, code_version
from shared import registry
from shared.contracts.training import TrainingRequest
from shared.db.audit import audit, person_name
from shared.db.tables import ModelVersion
from shared.errors import InvalidInput


async def can_be_judged(workplace: Workplace, request: TrainingRequest) -> bool:
    """Whether there is as much feedback as a training run asks for."""
    project_id, cipher = workplace.store.project_id, workplace.cipher
    async with workplace.sessions() as session:
        feedback = await trainable_feedback(session, project_id, cipher)
        preferences = await trainable_preferences(session, project_id, cipher)
        steps = await trainable_steps(session, project_id, cipher)
    group_of = group_by_secret(workplace.secret, project_id)
    found = await asyncio.to_thread(collect_evidence, feedback, preferences, group_of, steps)
    return found.judged >= params_of(request, workplace).min_rated


async def add_unjudged(workplace: Workplace, request: TrainingRequest) -> ModelVersion:
    """The model as a new version that no gate has judged: promoting it needs a reason.

    Raises:
        InvalidInput: a parameter is wrong.
        ConfigError: the model is not to be had.
        ArtifactError: it cannot be served, or the store cannot be written.
    """
    uri, sha256, metrics = await asyncio.to_thread(_store, workplace, request)
    async with workplace.sessions.begin() as session:
        version = await registry.register_version(
            session,
            registry.NewVersion(
                kind="transformer",
                sha256=sha256,
                uri=uri,
                metrics=metrics,
                name=request.model_name,
                project_id=workplace.store.project_id,
            ),
        )
        audit(
            session,
            "model.add",
            actor=person_name(),
            target=f"model:{version.id}",
            project_id=version.project_id,
            detail={"name": version.name, "version": version.version, "sha256": sha256},
        )
    return version


def _store(workplace: Workplace, request: TrainingRequest) -> tuple[str, str, dict[str, object]]:
    params = params_of(request, workplace)
    if not isinstance(params, AddedParams):
        raise InvalidInput(f"A run of the kind {request.kind} adds no model.")
    with workplace.store.workspace() as folder:
        output = folder / "model"
        manifest = store_unjudged(
            params, output=output, secret=workplace.secret, code_version=code_version()
        )
        return *workplace.store.put_folder(output), dict(manifest.metrics)
