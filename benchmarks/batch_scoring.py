"""`heed score` beside a bare loop of its scorer on the same rows, and its memory on a large file.

`make bench-batch`. A loop holds all pairs in memory and
does nothing but score them, in as many threads as the command has workers; both alternate, so that
they meet the same load. Memory is the peak of whole commands on short rows: a hundred times more
rows must not take more.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from services.trainer.batch_scoring.formats import format_of
from services.trainer.batch_scoring.job import cores, score_file
from services.trainer.batch_scoring.model import OpenModel, open_model
from services.trainer.batch_scoring.preparing import Wanted, prepare
from services.trainer.batch_scoring.rows import CHUNK_ROWS
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from shared.ml.scorer import Pair

SECRET = "a secret that only this benchmark has"
RESULT = Path(__file__).parent / "results" / "batch-scoring.json"
SENTENCE = (
    "rest and drink water until the fever is gone or call a doctor in the morning if it stays "
    "because nobody should wait for days with pain that was there before winter began"
)
WORDS = SENTENCE.split(" ")
PROMPT_WORDS, RESPONSES = (12, 28), 3


class Cost(NamedTuple):
    """What some work took."""

    seconds: float
    cpu_s: float


def main(
    model: Annotated[Path | None, typer.Option(help="Artifact signed with SECRET.")] = None,
    rows: Annotated[int, typer.Option(help="Rows for the speed.")] = 6 * CHUNK_ROWS,
    large: Annotated[int, typer.Option(help="Rows for the memory.")] = 200_000,
    rounds: Annotated[int, typer.Option(help="How often both alternate.")] = 3,
) -> None:
    """Measure, print, and write benchmarks/results/batch-scoring.json."""
    with tempfile.TemporaryDirectory(prefix="heed-batch-") as place:
        home = Path(place)
        folder = model or _train(home / "model")
        opened = open_model(folder, secret=SECRET.encode())
        found = {
            "engine": opened.scorer.engine,
            "cores": cores(),
            "chunk_rows": CHUNK_ROWS,
            "speed": _speed(home, folder, opened, rows=rows, rounds=rounds),
            "memory": _memory(home, folder, large=large),
        }
    typer.echo(json.dumps(found, indent=2))
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


def _train(folder: Path) -> Path:
    """A small head on the installed encoder: what costs time is the encoder."""

    def pair(at: int) -> PreferencePair:
        text = f"{_text(random.Random(at), (8, 20))} {at}"
        return PreferencePair(
            text, f"gladly {text}", f"go away {text}", group=str(at), row_ids=(str(at),)
        )

    pairs = [pair(at) for at in range(60)]
    train(
        RewardDataset(pairs[:45], pairs[45:], [], [], "sha256:benchmark"),
        EmbeddingParams(min_rated=10),
        output=folder,
        secret=SECRET.encode(),
        progress=lambda *_: None,
        code_version="benchmark",
    )
    return folder


def _text(draw: random.Random, words: tuple[int, int]) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(*words)))


def _rows(count: int, words: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """Three responses to each prompt, one after the other."""
    draw = random.Random(7)
    prompt = ""
    for at in range(count):
        prompt = prompt if at % RESPONSES else f"{_text(draw, PROMPT_WORDS)} {at}"
        yield {"id": at, "prompt": prompt, "response": _text(draw, words)}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    with path.open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return path


def _speed(
    home: Path, folder: Path, opened: OpenModel, *, rows: int, rounds: int
) -> dict[str, Any]:
    file = _write(home / "speed.jsonl", _rows(rows, (28, 90)))
    pairs = [Pair(row["prompt"], row["response"]) for row in _rows(rows, (28, 90))]
    opened.scorer.score(pairs[:64])
    found = {}
    for workers in sorted({1, cores()}):

        def command(workers: int = workers) -> None:
            _score(file, home / "speed.scored.jsonl", folder, opened, workers)

        def loop(workers: int = workers) -> None:
            _loop(opened, pairs, workers)

        times = [(_timed(command), _timed(loop)) for _ in range(rounds)]
        found[f"workers_{workers}"] = _compared(rows, times)
    return {"rows": rows, **found}


def _compared(rows: int, times: list[tuple[Cost, Cost]]) -> dict[str, Any]:
    """Rows per second of both, and the command's share of the loop's speed in each round.

    The same by CPU seconds says it without what else ran on the machine.
    """
    ratios = [loop.seconds / command.seconds for command, loop in times]
    by_cpu = [loop.cpu_s / command.cpu_s for command, loop in times]
    return {
        "heed_score_rows_per_s": round(rows / min(command.seconds for command, _ in times), 1),
        "bare_loop_rows_per_s": round(rows / min(loop.seconds for _, loop in times), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_by_cpu_seconds": round(statistics.median(by_cpu), 3),
    }


def _score(file: Path, output: Path, folder: Path, opened: OpenModel, workers: int) -> None:
    wanted = Wanted(file, format_of(file), output, format_of(output), workers=workers, restart=True)
    score_file(prepare(wanted), folder, opened, lambda *_: None)


def _loop(opened: OpenModel, pairs: list[Pair], workers: int) -> None:
    chunks = [pairs[at : at + CHUNK_ROWS] for at in range(0, len(pairs), CHUNK_ROWS)]
    if workers == 1:
        for chunk in chunks:
            opened.scorer.score(chunk)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(opened.scorer.score, chunks))


def _timed(work: Callable[[], None]) -> Cost:
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - began, time.process_time() - cpu_began)


def _memory(home: Path, folder: Path, *, large: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for count in (large // 100, large):
        file = _write(home / f"{count}.jsonl", _rows(count, (4, 8)))
        with _measured() as measured:
            measured["peak_mebibytes"] = _peak(file, folder, home)
        found[f"rows_{count}"] = {
            "file_mebibytes": round(file.stat().st_size / 2**20, 1),
            "rows_per_s_with_start": round(count / measured["seconds"], 1),
            **measured,
        }
    return found


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    found: dict[str, float] = {}
    began = time.perf_counter()
    yield found
    found["seconds"] = round(time.perf_counter() - began, 1)


def _peak(file: Path, folder: Path, home: Path) -> float:
    """The largest resident memory of a whole command, MiB."""
    command = [sys.executable, "-m", "heed_cli", "score", str(file), "--model", str(folder)]
    settings = {"HEED_SECRET_KEY": SECRET, "HEED_DATA_DIR": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--restart"], env={"PATH": os.defpath, **settings})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise typer.Exit(process.returncode)
    return round(usage.ru_maxrss / 1024, 1)


if __name__ == "__main__":
    typer.run(main)
