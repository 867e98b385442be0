"""Where policies and rewards come from: names of model versions, folders, hub ids, services."""

import re
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.desk import Desk
from services.trainer.policies.artifact import is_policy, read_policy
from services.trainer.policies.rewards import Part, Rewards, Source, part_of, read_source
from shared import registry
from shared.contracts.policy import RewardUse
from shared.db.tables import ModelVersion
from shared.errors import ConfigError, NotFound
from shared.ml.artifact import load_scorer
from shared.ml.folders import sha256_of_backbone
from shared.ml.scorer import Scorer

_VERSION = re.compile(r"(?P<name>[\w.-]+)@(?P<reference>[\w-]+)")
LIVE_REWARD = f"{registry.DEFAULT_NAME}@{registry.CHAMPION}"


class Sources:
    """Opens what a run names; remembers the model versions that it used, and their folders."""

    def __init__(self, desk: Desk, *, threads: int) -> None:
        self._desk, self._threads = desk, threads
        self.used: list[uuid.UUID] = []
        self.folders: dict[str, Path] = {}

    def policy(self, name: str) -> ResolvedBackbone:
        """The folder that a policy starts from.

        Raises:
            NotFound: there is no such version.
            ConfigError: it is no policy, or neither on disk nor to be had.
            ArtifactError: it was changed, or is unsafe.
        """
        version = self._version(name)
        if version is None:
            found = resolve_backbone(name)
            if is_policy(found.folder):
                read_policy(found.folder, secret=self._desk.workplace.secret)
            return found
        folder = self._desk.workplace.store.path(version.uri)
        if not is_policy(folder):
            raise ConfigError(f"--base-model {name} is a {version.kind} model and writes no text.")
        read_policy(folder, secret=self._desk.workplace.secret)
        return ResolvedBackbone(name, folder)

    def rewards(self, asked: Sequence[str], *, is_needed: bool) -> Rewards | None:
        """What judges responses: as asked for, else the live reward model.

        Raises:
            ConfigError: it is needed, and no reward model is live.
            HeedError: one that is asked for cannot be had.
        """
        sources = [read_source(one) for one in asked or [LIVE_REWARD]]
        try:
            return Rewards([self._part(source) for source in sources])
        except NotFound:
            if asked:
                raise
            if is_needed:
                raise ConfigError(
                    "No reward model is live, and this recipe learns from one: train one with "
                    "`heed train embedding`, or name one with --reward."
                ) from None
            return None

    def located(self, rewards: Rewards | None) -> tuple[tuple[Source, Path | None], ...]:
        """Each reward with the folder of its model, if it is one that was opened here."""
        parts = rewards.parts if rewards else []
        return tuple((part.source, self.folders.get(part.source.name)) for part in parts)

    def scorer(self, name: str) -> tuple[Scorer, str]:
        """A reward model by its version or folder, and the hash of its artifact.

        Raises:
            HeedError: there is none, or it is not what it was.
        """
        version = self._version(name)
        folder = self._desk.workplace.store.path(version.uri) if version else Path(name)
        if version is None and not folder.is_dir():
            raise ConfigError(
                f"--reward {name} is no model version (reward@champion), no folder, no URL and no "
                "demand (length:20-120, require:…, forbid:…)."
            )
        found = load_scorer(
            folder, secret=self._desk.workplace.secret, threads=self._threads, verify=False
        )
        self.folders[name] = folder
        return found, version.sha256 if version else sha256_of_backbone(folder)

    def _part(self, source: Source) -> Part:
        key = self._desk.workplace.settings.reward_key
        return part_of(source, open_model=self.scorer, key=key.get_secret_value())

    def _version(self, name: str) -> ModelVersion | None:
        found = _VERSION.fullmatch(name)
        if found is None:
            return None
        find = partial(
            registry.find_version, reference=found["reference"], name=found["name"],
            project_id=self._desk.run.project_id,
        )  # fmt: skip
        version = self._desk.transact(lambda session: find(session))
        self.used.append(version.id)
        return version


def uses(rewards: Rewards | None) -> tuple[RewardUse, ...]:
    """The rewards as a manifest keeps them."""
    parts = rewards.parts if rewards else []
    return tuple(
        RewardUse(name=part.source.name, weight=part.source.weight, sha256=part.sha256)
        for part in parts
    )
