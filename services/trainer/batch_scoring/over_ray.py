"""Scores a file on the machines of a Ray cluster: each actor opens the model once.

What travels is where a chunk lies and what its results are; the rows are read where they are
scored, from a folder that every machine sees. Chunks are those of one machine, so that the scores
are, too. The model comes through Ray's object store.
"""

import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.batch_scoring.formats import Format, open_source
from services.trainer.batch_scoring.rows import Chunk, Mark, Source, Span
from services.trainer.batch_scoring.scored import Asked, ChunkScorer, Results
from services.trainer.workplace import code_version
from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import EngineChoice
from shared.errors import ArtifactError, ConfigError, Unavailable
from shared.ml.artifact import MANIFEST_FILE, open_scorer
from shared.ml.golden import check_golden
from shared.ml.scorer import Scorer

LOCAL = "local"

_OBJECT_STORE_BYTES = 200 << 20
_MOST_TASKS = 2000


@dataclass(frozen=True)
class RayModel:
    """How every actor opens the model.

    Attributes:
        choice: the engine that was asked for.
        engine: the engine that this gave where the command runs, which all have to have.
        threads: torch threads of each actor, and the cores it takes.
        code: version of the code, which has to be the same everywhere.
    """

    choice: EngineChoice
    engine: str
    threads: int
    code: str


@dataclass(frozen=True)
class RayTask:
    """What every actor needs to know.

    Attributes:
        path, format: the file, at the same place on every machine.
        asked: what is asked of its rows.
        model: how the model is opened.
    """

    path: Path
    format: Format
    asked: Asked
    model: RayModel


@contextmanager
def ray_cluster(address: str, *, cores: int) -> Iterator[int]:
    """How many cores there are on a cluster; `local` starts one of `cores` on this machine.

    Raises:
        ConfigError: no cluster answers there.
    """
    # Ray takes this from the environment alone, and would tell its makers of every cluster.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # noqa: TID251
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            _start_local(cores, quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # noqa: BLE001 - Ray raises bare Exception
        ray.shutdown()
        raise ConfigError(
            f"--ray {address}: no cluster answers ({type(error).__name__}); name its head as "
            "HOST:6379, `auto` for the one of this machine, or `local` to start one, which takes "
            "up to 30 s and a machine that is not busy."
        ) from None
    try:
        yield int(ray.cluster_resources().get("CPU", 0)) or 1
    finally:
        ray.shutdown()


def _start_local(cores: int, quiet: Mapping[str, Any]) -> None:
    import ray

    ray.init(
        address=LOCAL,
        num_cpus=cores,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        **quiet,
    )


def score_over_ray(
    task: RayTask, spans: Sequence[Span], folder: Path, *, actors: int
) -> Iterator[tuple[Span, Results]]:
    """Results of the chunks at `spans`, in their order, by the model in a verified folder.

    Raises:
        Unavailable: the cluster gave up; what came before can be kept.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    places = [{"number": at, "place": one.start.place, "before": one.start.number}
              for at, one in enumerate(spans)]  # fmt: skip
    chunks = ray.data.from_items(places, override_num_blocks=min(len(places), _MOST_TASKS))
    scored = chunks.map_batches(
        ChunkActor,
        batch_size=1,
        compute=ActorPoolStrategy(size=actors),
        num_cpus=task.model.threads,
        fn_constructor_kwargs={"task": task, "artifact": ray.put(_files(folder))},
    )
    try:
        for row in scored.iter_rows():
            yield spans[row["number"]], json.loads(row["results"])
    except ray.exceptions.RayError as error:
        raise Unavailable(
            f"The Ray cluster gave up: {_why(error)} What is scored is kept; the same command goes "
            "on."
        ) from None


def _why(error: Exception) -> str:
    """What an actor says, if it is one of our errors; others may hold texts of people."""
    last = str(error).strip().rpartition("\n")[2]
    kind, _, message = last.partition(": ")
    return message if kind.startswith("shared.errors.") else f"{type(error).__name__}."


class ChunkFinder:
    """Chunks by where they begin; what cannot be entered in its middle is read on, not anew."""

    def __init__(self, source: Source, columns: Collection[str], *, enters: bool) -> None:
        """Read some columns of a source; `enters` says that its middle is as near as its start."""
        self._source, self._columns, self._enters = source, columns, enters
        self._ahead: Iterator[Chunk] = iter(())
        self._mark: Mark | None = None

    def at(self, start: Mark) -> Chunk:
        """The chunk that begins there."""
        if self._enters or self._mark is None or start < self._mark:
            self._ahead = self._source.chunks(start, only=self._columns)
        found = next(chunk for chunk in self._ahead if chunk.span.start == start)
        self._mark = found.span.end
        return found


class ChunkActor:
    """Reads and scores chunks on a machine of the cluster."""

    def __init__(self, task: RayTask, artifact: Any) -> None:
        """Open the model whose files lie in the object store.

        Raises:
            ConfigError: this machine has other code than the one that asks.
            ArtifactError: the model cannot be opened, or scores differently here.
        """
        import ray

        if code_version() != task.model.code:
            raise ConfigError("The machines of the cluster have different versions of Heed.")
        source = open_source(task.path, task.format)
        enters = task.format != "parquet" and task.path.suffix != ".gz"
        self._chunks = ChunkFinder(source, task.asked.roles.columns, enters=enters)
        self._score = ChunkScorer(_open(task.model, ray.get(artifact)), task.asked)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The results of the chunks that begin at the places of a batch."""
        results = []
        for place, before in zip(batch["place"], batch["before"], strict=True):
            chunk = self._chunks.at(Mark(int(place), int(before)))
            results.append(json.dumps(self._score(chunk.rows)))
        return {"number": list(batch["number"]), "results": results}


def _open(model: RayModel, files: Mapping[str, bytes]) -> Scorer:
    """The scorer of files that were verified where they come from."""
    manifest = RewardManifest.model_validate_json(files[MANIFEST_FILE])
    with tempfile.TemporaryDirectory(prefix="heed-model-") as place:
        folder = Path(place)
        _write_files(folder, files)
        scorer = open_scorer(folder, manifest, threads=model.threads, engine=model.choice)
        if scorer.engine != model.engine:
            raise ConfigError(
                f"The command computes with {model.engine}, a machine of the cluster with "
                f"{scorer.engine}: name one that all have with --engine."
            )
        check_golden(folder, scorer)
    return scorer


def _files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"The model holds a file outside of its folder: {name}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
