"""Which models are in memory, which version of each is live, and how one follows another.

Every reference that was asked for (`reward:champion`, `reward@3`) has a slot. When the registry
says that it means another version, that version is loaded and verified beside the old one and then
put in its place by one assignment. Requests hold the model they were admitted with, so a reply
never mixes two versions, and the old one is freed when the last of them is done. What is asked for
least makes room when there are too many models, or when they take too much memory.
"""

import asyncio
import contextlib
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from services.reward_service import memory
from services.reward_service.loading import Loaded
from services.reward_service.memory import Budget
from services.reward_service.metrics import InMemory, ServingMetrics
from services.reward_service.references import Reference
from shared.db.tables import ModelVersion
from shared.errors import ArtifactError, DatabaseUnavailable, HeedError, NotFound
from shared.logs import get_logger
from shared.ml.scorer import Scorer

RETRY_LOAD_S = 60.0
UNREADABLE = "Postgres cannot be read, so neither keys nor models can be checked; start it."
_log = get_logger("reward_service")

Find = Callable[[Reference], Awaitable[ModelVersion | None]]
Load = Callable[[ModelVersion], Loaded]

# Each is looked up at every look at the registry, so there may not be any number of them.
_MOST_REFERENCES = 64


@dataclass(frozen=True, eq=False)
class LiveModel:
    """One version in memory.

    Attributes:
        weights: bytes by address; versions that share an encoder share an address.
    """

    id: uuid.UUID
    name: str
    version: int
    sha256: str
    scorer: Scorer
    loaded_at: datetime
    weights: Mapping[int, int] = field(default_factory=dict)
    project_id: int = 1

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass
class Slot:
    """What serves one reference now, and why that is not what the registry says, if so."""

    reference: Reference
    model: LiveModel | None = None
    error: HeedError | None = None
    failed_id: uuid.UUID | None = None
    retry_at: float = 0.0

    def may_load(self, version_id: uuid.UUID) -> bool:
        """Whether the version is worth loading: not the one that failed a moment ago."""
        return version_id != self.failed_id or time.monotonic() >= self.retry_at

    def serve(self, model: LiveModel | None) -> None:
        """Put a model in place of the old one."""
        self.model, self.error, self.failed_id = model, None, None

    def fail(self, version_id: uuid.UUID, error: HeedError) -> None:
        """Keep what serves, remember why it is not the newest."""
        self.error, self.failed_id = error, version_id
        self.retry_at = time.monotonic() + RETRY_LOAD_S


class LiveModels:
    """The models of this process, kept at what the registry says."""

    def __init__(
        self,
        find: Find,
        load: Load,
        metrics: ServingMetrics,
        *,
        default: Reference,
        budget: Budget,
        poll_s: float,
    ) -> None:
        self._find = find
        self._load = load
        self._metrics = metrics
        self._default = default
        self._budget = budget
        self._poll_s = poll_s
        self._slots = OrderedDict({default: Slot(default)})
        self._opening: dict[Reference, asyncio.Task[Slot]] = {}
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._tried = asyncio.Event()
        self._has_looked = False
        self._lost_at: float | None = None
        self._freed: list[uuid.UUID] = []

    async def resolve(self, project_id: int, asked: str | None) -> Slot:
        """The slot a request's `model` means; it is empty only for a default that has no champion.

        Raises:
            NotFound: the project has no such model, version or alias.
            ArtifactError: it cannot be loaded and no older version serves.
            DatabaseUnavailable: it is not in memory and Postgres cannot be reached.
        """
        reference = Reference.parse(asked or self._default.name, project_id)
        await self._tried.wait()
        if not self._has_looked:
            raise DatabaseUnavailable(UNREADABLE, retry_after_s=2)
        slot = self._slots.get(reference)
        if slot is None:
            return await self._open_once(reference)
        self._slots.move_to_end(reference)
        return slot

    @property
    def default(self) -> Slot:
        """The slot that decides readiness: the champion of the default model."""
        return self._slots[self._default]

    @property
    def has_looked(self) -> bool:
        """Whether the registry was read since the start."""
        return self._has_looked

    @property
    def lost_s(self) -> float:
        """For how many seconds the registry could not be read; 0 when it can."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def slots(self, project_id: int) -> list[Slot]:
        """What one project has in memory."""
        return [slot for slot in self._slots.values() if slot.reference.project_id == project_id]

    def in_memory(self) -> list[InMemory]:
        """The versions that serve now, and what their weights take."""
        return [
            InMemory(model.project_id, model.name, model.version, sum(model.weights.values()))
            for model in self._models()
        ]

    def look_again(self, _payload: str = "") -> None:
        """Read the registry now: something changed, or may have."""
        self._changed.set()

    async def follow(self) -> None:
        """Keep every slot at what the registry says, for ever; run it as a task and cancel it."""
        try:
            while True:
                self._changed.clear()
                await self._look()
                memory.settle()
                await self._give_back()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._changed.wait()
        finally:
            opening = list(self._opening.values())
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)

    async def _look(self) -> None:
        try:
            for slot in list(self._slots.values()):
                await self._refresh(slot)
        except Exception as error:  # noqa: BLE001 - following goes on, whatever one look met
            self._lose(error)
        else:
            self._lost_at, self._has_looked = None, True
        finally:
            self._tried.set()

    async def _give_back(self) -> None:
        """After a model was freed; by whom, and when, is up to the requests that held it."""
        if self._freed:
            self._freed.clear()
            await asyncio.to_thread(memory.give_back)

    def _lose(self, error: Exception) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            kind = error.code if isinstance(error, HeedError) else type(error).__name__
            _log.warning("registry_unreadable", error=kind)

    async def _refresh(self, slot: Slot) -> None:
        """Bring one slot to the version its reference means now, if that can be loaded."""
        version = await self._find(slot.reference)
        if version is None:
            slot.serve(None)
            if not self._may_be_empty(slot.reference):
                self._slots.pop(slot.reference, None)
        elif slot.model is not None and slot.model.id == version.id:
            slot.serve(slot.model)
        elif slot.may_load(version.id):
            await self._replace(slot, version)

    async def _replace(self, slot: Slot, version: ModelVersion) -> None:
        async with self._loading:
            try:
                model = self._in_memory(version.id) or await self._loaded(version)
            except Exception as error:  # noqa: BLE001 - a bad model must not stop the good one
                self._refuse(slot, version, error)
                return
        slot.serve(model)
        self._make_room()
        _log.info("model_live", reference=str(slot.reference), version=version.version)

    async def _loaded(self, version: ModelVersion) -> LiveModel:
        started = time.monotonic()
        loaded = await asyncio.to_thread(self._load, version)
        self._metrics.loads.inc()
        seconds = round(time.monotonic() - started, 3)
        _log.info("model_loaded", model=version.name, version=version.version, seconds=seconds)
        model = LiveModel(
            version.id, version.name, version.version, version.sha256, loaded.scorer,
            datetime.now(UTC), loaded.weights, version.project_id,
        )  # fmt: skip
        weakref.finalize(model, self._freed.append, version.id).atexit = False
        return model

    def _refuse(self, slot: Slot, version: ModelVersion, error: Exception) -> None:
        known = error if isinstance(error, HeedError) else _unexpected(version, error)
        slot.fail(version.id, known)
        self._metrics.load_failures.inc()
        still = slot.model.version if slot.model else None
        _log.error(
            "model_not_loaded",
            reference=str(slot.reference),
            version=version.version,
            still_live=still,
            error=known.detail,
        )

    def _models(self) -> list[LiveModel]:
        """The models of all slots, each once."""
        return list(dict.fromkeys(slot.model for slot in self._slots.values() if slot.model))

    def _in_memory(self, version_id: uuid.UUID) -> LiveModel | None:
        return next((model for model in self._models() if model.id == version_id), None)

    async def _open_once(self, reference: Reference) -> Slot:
        """Open a slot; requests that ask for it meanwhile wait for the same load."""
        task = self._opening.get(reference)
        if task is None:
            task = asyncio.create_task(self._open(reference))
            self._opening[reference] = task
            task.add_done_callback(partial(self._opened, reference))
        return await asyncio.shield(task)

    def _opened(self, reference: Reference, task: asyncio.Task[Slot]) -> None:
        """Forget the task; its error counts as seen even if everybody who waited has left."""
        del self._opening[reference]
        if not task.cancelled():
            task.exception()

    async def _open(self, reference: Reference) -> Slot:
        slot = Slot(reference)
        await self._refresh(slot)
        if slot.model is None and not self._may_be_empty(reference):
            raise slot.error or _unknown(reference)
        self._slots[reference] = slot
        self._make_room()
        return slot

    def _make_room(self) -> None:
        """Forget empty slots, then those asked for longest ago; requests keep their model.

        The live model stays, and so does the one asked for last: to load it again for every
        request would help nobody.
        """
        others = [key for key in self._slots if key != self._default][:-1]
        others.sort(key=lambda key: self._slots[key].model is not None)
        while not self._fits() and others:
            slot = self._slots.pop(others.pop(0))
            self._metrics.evictions.inc()
            _log.info("model_makes_room", reference=str(slot.reference))
        if not self._fits():
            _log.warning("models_exceed_memory_budget")

    def _fits(self) -> bool:
        models = [model.weights for model in self._models()]
        return len(self._slots) <= _MOST_REFERENCES and self._budget.allows(models)

    def _may_be_empty(self, reference: Reference) -> bool:
        return reference == self._default._replace(project_id=reference.project_id)


def _unknown(reference: Reference) -> NotFound:
    return NotFound(
        f"There is no model {reference}; `heed models list` shows what there is.",
        code="unknown_model",
    )


def _unexpected(version: ModelVersion, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"Model {version.name} version {version.version} cannot be loaded "
        f"({type(error).__name__}); restore its artifact or promote another version."
    )
