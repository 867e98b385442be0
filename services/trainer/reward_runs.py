"""Makes a reward model for a run: trained, and on the scale of the live one."""

from pathlib import Path

from services.trainer.continuity import keep_scale
from services.trainer.desk import Desk
from services.trainer.examples import RewardDataset
from services.trainer.judging import judge
from services.trainer.made import Made
from services.trainer.methods import train_reward
from services.trainer.progress import Reporter
from services.trainer.reward_params import RewardParams
from shared import registry
from shared.db.columns import Json
from shared.errors import ArtifactError
from shared.logs import get_logger


def make_reward(
    desk: Desk, dataset: RewardDataset, params: RewardParams, folder: Path, reporter: Reporter
) -> Made:
    """A reward model as the run asks for, with the gate of reward models.

    Raises:
        HeedError: it cannot be made.
    """
    workplace = desk.workplace
    trained = train_reward(
        desk.request, dataset, params, workplace, output=folder / "model", progress=reporter
    )
    reporter(0.95, "scale", {})
    _keep_scale(desk, trained.folder, dataset)

    def gate(artifact: Path, live: Path | None, split: Json | None) -> Json:
        return judge(
            artifact,
            live,
            dataset,
            metrics=trained.metrics,
            settings=workplace.settings,
            secret=workplace.secret,
            split=split,
        )

    return Made(trained.manifest.kind, trained.folder, trained.metrics, gate)


def _keep_scale(desk: Desk, folder: Path, dataset: RewardDataset) -> None:
    """Give the new model the scale of the live one, if there is one that can be loaded."""
    named = desk.request.model_name, desk.run.project_id
    live = desk.transact(lambda session: registry.champion(session, *named))
    if live is None:
        return
    name = f"{live.name}@{live.version}"
    try:
        champion = desk.workplace.store.path(live.uri)
    except ArtifactError as error:
        get_logger("trainer").warning("scale_not_kept", champion=name, error=error.detail)
        return
    keep_scale(folder, champion, dataset, name=name, secret=desk.workplace.secret)
