"""Does every training run end once, with the same weights, whatever is killed while it trains?

Two workers on one Postgres take runs of a tiny transformer or policy. While a run trains, at
moments of chance: its own process is killed with SIGKILL, or its worker, or the postmaster; or the
run is cancelled and resumed. Then its weights are compared with those of a run that nothing
disturbed.
Claims of a dead worker run out after a minute, and crashed attempts wait; neither is waited for.
`make chaos-training` runs the full size; a test runs a small one.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared import jobs
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import RunStatus
from shared.db import embedded, migrate
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.tables import ModelVersion, Preference, TrainingRun
from shared.errors import Conflict, DatabaseUnavailable
from tests.support.tiny_bert import save_tiny_bert
from tests.support.tiny_policy import save_tiny_policy

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
KINDS = ("recipe", "cancel", "worker", "postgres")  # training goes on while Postgres is away
WORDS = ("kind", "rude", "and", "of", "one", "two", "sky", "sea")
OVER = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)
WORKERS, MOST_FAILED = 2, 5
PATIENCE_S = 600.0
POLL_S = 0.4
LATEST = 0.85  # of a run is done when something happens, at the latest


@dataclass(frozen=True)
class Size:
    """How many runs are disturbed, by what, and until which part of each."""

    runs: int
    kinds: tuple[str, ...]
    latest: float


@dataclass
class Place:
    """A deployment of its own: Postgres, workers, and who is seen at work on which run."""

    data_dir: Path
    request: TrainingRequest
    sessions: async_sessionmaker[AsyncSession]
    runner: asyncio.Runner
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)

    def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `work` returns, committed; a Postgres that was just killed is waited for."""

        async def run() -> T:
            with reaching_database():
                async with self.sessions.begin() as session:
                    return await work(session)

        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.runner.run(run())
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def keep_workers(self) -> None:
        """Start workers until there are as many as there should be.

        Raises:
            RuntimeError: they end by themselves, again and again.
        """
        ended = [one.returncode for one in self.workers if one.poll() is not None]
        self.done["worker_failed"] += sum(status != -signal.SIGKILL for status in ended)
        if self.done["worker_failed"] > MOST_FAILED:
            raise RuntimeError(f"Workers do not stay; see {self.data_dir / 'workers.log'}.")
        self.workers = [one for one in self.workers if one.returncode is None]
        while len(self.workers) < WORKERS:
            with (self.data_dir / "workers.log").open("ab") as log:
                self.workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "services.trainer"],
                        env=self._environment(),
                        cwd=ROOT,
                        stdout=log,
                        stderr=log,
                    )  # fmt: skip
                )

    def _environment(self) -> dict[str, str]:
        given = {
            "DATA_DIR": str(self.data_dir), "SECRET_KEY": "a secret that only this benchmark has",
            "MIN_RATED": "10", "GATE": "manual",
        }  # fmt: skip
        own = {f"HEED_{name}": value for name, value in given.items()}
        kept = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(self.data_dir)}
        return own | kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def ask(self) -> uuid.UUID:
        """A new run, always of the same training."""
        params = self.request.model_dump(mode="json")
        return self.transact(
            lambda session: jobs.enqueue(
                session, TrainingRun, kind=self.request.kind, params=params, max_attempts=99
            )
        )

    def read(self, run_id: uuid.UUID) -> TrainingRun:
        """The run as it is now."""
        return self.transact(lambda session: session.get_one(TrainingRun, run_id))

    def is_over(self, run_id: uuid.UUID) -> bool:
        """Whether the run has ended; what waits for a further attempt need not wait longer."""

        async def look(session: AsyncSession) -> str:
            waits = (col(TrainingRun.id) == run_id, col(TrainingRun.status) == RunStatus.QUEUED)
            await session.execute(update(TrainingRun).where(*waits).values(run_after=func.now()))
            return (await session.get_one(TrainingRun, run_id)).status

        return self.transact(look) in OVER

    def is_at(self, run_id: uuid.UUID, fraction: float) -> bool:
        """Whether somebody is at work on the run and has told that so much of it is done."""
        return bool(at_work(run_id)) and self.read(run_id).progress.get("fraction", 0.0) >= fraction

    def wait(self, run_id: uuid.UUID, until: Callable[[], bool]) -> None:
        """Return when it is so, or the run is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not until() and not self.is_over(run_id):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Run {run_id} does not go on; see {self.data_dir}.")
            self.keep_workers()
            time.sleep(POLL_S)

    def disturb(self, kind: str, run_id: uuid.UUID) -> None:
        """Kill something of a run, or cancel and resume it, unless it is over just now."""
        with suppress(ProcessLookupError, Conflict, IndexError):
            getattr(self, f"_{kind}")(run_id)
            self.done[kind] += 1

    def _recipe(self, run_id: uuid.UUID) -> None:
        os.kill(at_work(run_id)[0], signal.SIGKILL)

    def _worker(self, run_id: uuid.UUID) -> None:
        child = at_work(run_id)[0]
        (pid,) = [one.pid for one in self.workers if one.pid == parent_of(child)]
        os.kill(pid, signal.SIGKILL)
        while at_work(run_id):
            time.sleep(0.01)
        held = (col(TrainingRun.id) == run_id, col(TrainingRun.status) == RunStatus.RUNNING)
        past = {"lease_until": func.now()}
        self.transact(
            lambda session: session.execute(update(TrainingRun).where(*held).values(**past))
        )

    def _postgres(self, _: uuid.UUID) -> None:
        os.kill(embedded.start(self.data_dir).pid, signal.SIGKILL)
        embedded.start(self.data_dir)

    def _cancel(self, run_id: uuid.UUID) -> None:
        self.transact(lambda session: jobs.cancel(session, TrainingRun, run_id))
        self.wait(run_id, lambda: False)
        self.transact(lambda session: jobs.resume(session, run_id))


def at_work(run_id: uuid.UUID) -> list[int]:
    """The processes that execute a run, without what each of them has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"--run" in words and str(run_id).encode() in words:
                found.append(int(folder.name))
    return [pid for pid in found if parent_of(pid) not in found]


def parent_of(pid: int) -> int:
    """The parent's process id; 0 when there is no such process any more."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@contextmanager
def watched(place: Place, run_id: uuid.UUID) -> Iterator[None]:
    """Counts, all the time, how many processes are at work on the run at once."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(POLL_S / 2):
            place.at_once[str(run_id)] = max(place.at_once[str(run_id)], len(at_work(run_id)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def request_of(kind: RunKind, data_dir: Path, *, epochs: int) -> TrainingRequest:
    """What is trained: something tiny with many checkpoints, or the embedding model, with none."""
    if kind is RunKind.REWARD_EMBEDDING:
        return TrainingRequest(kind=kind)
    if kind.is_policy:
        return TrainingRequest(kind=kind, recipe=_policy(kind, data_dir, steps=3 * epochs))
    model = save_tiny_bert(data_dir / "tiny bert")
    recipe = {
        "base_model": str(model), "epochs": epochs, "batch_size": 4, "learning_rate": 3e-3,
        "max_tokens": 24, "save_steps": 3, "logging_steps": 5, "threads": 1, "seed": 1,
        "patience": 99,
    }  # fmt: skip
    return TrainingRequest(kind=kind, recipe=recipe)


def _policy(kind: RunKind, data_dir: Path, *, steps: int) -> dict[str, Any]:
    """A policy that writes its own responses and is asked for short ones."""
    if kind not in (RunKind.PPO, RunKind.GRPO, RunKind.RLOO):
        raise typer.BadParameter(f"{kind.value} is not disturbed here; try ppo, grpo or rloo.")
    model = save_tiny_policy(data_dir / "tiny policy")
    groups = {"mini_batch_size": 4} if kind is RunKind.PPO else {"group_size": 4}
    return {
        "base_model": str(model), "reward": ["length:2-4"], "steps": steps, "batch_size": 8,
        "learning_rate": 1e-3, "max_response_tokens": 12, "save_steps": 2, "logging_steps": 2,
        "evaluate_prompts": 4, "threads": 1, "seed": 1, **groups,
    }  # fmt: skip


@contextmanager
def deployed(data_dir: Path, request: TrainingRequest, *, pairs: int) -> Iterator[Place]:
    """A place with comparisons to learn from and its workers; all of it ends afterwards."""
    url = embedded.start(data_dir).url()
    migrate.upgrade(url)
    draw = random.Random(0)
    rows = [_comparison(at, draw) for at in range(pairs)]
    engine = create_engine(url)
    with asyncio.Runner() as runner:
        place = Place(data_dir, request, create_sessions(engine), runner)
        try:
            place.transact(lambda session: _add(session, rows))
            place.keep_workers()
            yield place
        finally:
            for worker in place.workers:
                worker.kill()
                worker.wait()
            runner.run(engine.dispose())
            embedded.stop(data_dir, mode="immediate")


async def _add(session: AsyncSession, rows: list[Preference]) -> None:
    session.add_all(rows)


def _comparison(at: int, draw: random.Random) -> Preference:
    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(3, 9)))

    return Preference(
        preference_id=f"p{at}", target=f"t{at}", clinician_id=f"r{at}", consent_training=True,
        prompt=f"what is {text()} {at}", response_a=f"kind {text()}", response_b=f"rude {text()}",
        outcome="a", preferred="a",
    )  # fmt: skip


def train(
    place: Place, plan: list[str], draw: random.Random, *, latest: float = LATEST
) -> dict[str, Any]:
    """One run, disturbed as planned at moments of chance; how it ended."""
    run_id = place.ask()
    with watched(place, run_id):
        for kind in plan:
            moment = partial(place.is_at, run_id, draw.uniform(0.0, latest))
            place.wait(run_id, moment)
            time.sleep(draw.uniform(0.0, POLL_S))
            place.disturb(kind, run_id)
        place.wait(run_id, lambda: False)
    run = place.read(run_id)
    versions = place.transact(lambda session: _versions(session, run_id))
    log = (place.data_dir / "logs" / f"run-{run_id}.log").read_text()
    return {
        "status": run.status,
        "attempts": run.attempt,
        "seconds": run.duration_s,
        "versions": len(versions),
        "weights": [_weights(place, version) for version in versions],
        "most_at_once": place.at_once[str(run_id)],
        "went_on_from_checkpoint": "goes on from a checkpoint" in log,
    }


async def _versions(session: AsyncSession, run_id: uuid.UUID) -> list[ModelVersion]:
    statement = select(ModelVersion).where(col(ModelVersion.run_id) == run_id)
    return list(await session.scalars(statement))


def _weights(place: Place, version: ModelVersion) -> str:
    folder = place.data_dir / "artifacts" / version.uri.removeprefix("artifact://")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _plan(number: int, size: Size, draw: random.Random) -> list[str]:
    """What happens to a run: one kind after the other, and more by chance where runs are many."""
    if size.runs < len(size.kinds):
        return list(size.kinds[number :: size.runs])
    return [size.kinds[number % len(size.kinds)], *draw.choices(size.kinds, k=draw.randint(0, 2))]


def disturbed_runs(place: Place, size: Size, seed: int) -> dict[str, Any]:
    """What became of so many runs beside one that nothing disturbed."""
    draw = random.Random(seed)
    calm = train(place, [], draw)
    found = []
    for number in range(size.runs):
        found.append(train(place, _plan(number, size, draw), draw, latest=size.latest))
        last = found[-1]
        typer.echo(f"{number + 1} of {size.runs}: {last['status']}, {last['attempts']} begun")
    return {
        "kind": place.request.kind,
        "runs": size.runs,
        "seed": seed,
        "seconds_undisturbed": round(calm["seconds"], 1),
        "disturbed": {kind: place.done[kind] for kind in KINDS},
        "workers_failed": place.done["worker_failed"],
        "attempts": sum(one["attempts"] for one in found),
        "finished_once": sum(
            one["status"] == "succeeded" and one["versions"] == 1 for one in found
        ),
        "same_weights": sum(one["weights"] == calm["weights"] for one in found),
        "went_on_from_checkpoint": sum(one["went_on_from_checkpoint"] for one in found),
        "most_processes_at_work_on_one_run": max(place.at_once.values()),
    }


def main(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Disturbed runs.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the moments and of what is killed.")] = 0,
    kind: Annotated[RunKind, typer.Option(help="What is trained.")] = RunKind.REWARD_TRANSFORMER,
    pairs: Annotated[int, typer.Option(min=20, help="Comparisons to learn from.")] = 120,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 12,
    latest: Annotated[
        float, typer.Option(help="Nothing happens after this part of a run.")
    ] = LATEST,
    kinds: Annotated[str, typer.Option(help="What happens to runs.")] = ",".join(KINDS),
    out: Annotated[Path | None, typer.Option(help="The result; unset: by kind.")] = None,
) -> None:
    """Disturb, compare, print and write; the status is 1 when anything is not as it should be."""
    home = Path(tempfile.mkdtemp(prefix="heed-chaos-"))
    with deployed(home, request_of(kind, home, epochs=epochs), pairs=pairs) as place:
        found = disturbed_runs(place, Size(runs, tuple(kinds.split(",")), latest), seed)
    result = out or RESULTS / f"training-chaos-{kind.value}.json"
    result.write_text(json.dumps(found, indent=2) + "\n")
    typer.echo(json.dumps(found, indent=2))
    good = (found["finished_once"], found["same_weights"]) == (runs, runs)
    if not good or found["most_processes_at_work_on_one_run"] > 1:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
