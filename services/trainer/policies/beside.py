"""What a process does that tunes a policy beside the main one: the same, and it stores nothing."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from services.trainer.backbones import ResolvedBackbone
from services.trainer.launchers import world
from services.trainer.methods import recipe_of
from services.trainer.policies.data import PolicyData
from services.trainer.policies.opening import open_policy
from services.trainer.policies.params import OnlineParams, PolicyParams
from services.trainer.policies.rewards import Rewards, Source, part_of
from services.trainer.trained import Progress
from shared.contracts.manifest import RewardManifest
from shared.contracts.training import RunKind
from shared.ml.artifact import MANIFEST_FILE, open_scorer
from shared.ml.scorer import Scorer


@dataclass(frozen=True)
class Tuning:
    """Everything that a process needs to tune a policy with the others.

    Attributes:
        kind: which recipe.
        params: its parameters.
        data: what it learns from.
        source: the policy it starts from, in a folder that every process sees.
        work: folder of checkpoints, which every process sees.
        rewards: what judges responses, each with the folder of its model, if it is one.
        key: for reward services.
    """

    kind: RunKind
    params: PolicyParams
    data: PolicyData
    source: ResolvedBackbone
    work: Path
    rewards: tuple[tuple[Source, Path | None], ...]
    key: str


def tune_beside(asked: Tuning, *, progress: Progress) -> None:
    """Tune until the main process goes on alone.

    Raises:
        TrainedBeside: it does now.
    """
    with TemporaryDirectory(prefix="heed-tokenizer-") as place:
        opened = open_policy(asked.source, asked.params, Path(place))
        online = isinstance(asked.params, OnlineParams)
        recipe_of(asked.kind)[1](
            opened, asked.data, asked.params, work=asked.work, progress=progress,
            **({"rewards": _rewards(asked)} if online else {}),
        )  # fmt: skip
    world.leave_the_rest_to_main()


def _rewards(asked: Tuning) -> Rewards:
    folders = {source.name: folder for source, folder in asked.rewards}

    def opened(name: str) -> tuple[Scorer, str]:
        folder = folders[name]
        if folder is None:
            raise FileNotFoundError(name)
        manifest = RewardManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        return open_scorer(folder, manifest, threads=asked.params.threads), ""

    parts = [part_of(source, open_model=opened, key=asked.key) for source, _ in asked.rewards]
    return Rewards(parts)
