"""A reward model of a few kilobytes, and files to score with it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_bert import save_tiny_bert

from services.trainer.batch_scoring.formats import format_of
from services.trainer.batch_scoring.job import score_file
from services.trainer.batch_scoring.model import OpenModel, open_model
from services.trainer.batch_scoring.output import Tally
from services.trainer.batch_scoring.preparing import Wanted, prepare
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train

SECRET = b"a secret for the tests, long enough."


def _pair(at: int) -> PreferencePair:
    topic = ("sky", "sea")[at % 2]
    return PreferencePair(
        f"what is the {topic} {'one ' * (at % 7)}",
        f"kind {topic} of two {'and ' * (at % 5)}",
        f"rude {topic} {'of ' * (at % 3)}",
        group=f"group {at}",
        row_ids=(f"row {at}",),
    )


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with an encoder of its own, that knows a dozen words."""
    home = tmp_path_factory.mktemp("batch scoring")
    pairs = [_pair(at) for at in range(40)]
    params = EmbeddingParams(min_rated=10, base_model=str(save_tiny_bert(home / "bert")))
    train(
        RewardDataset(pairs[:30], pairs[30:], [], [], "sha256:test"),
        params,
        output=home / "model",
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )
    return home / "model"


@pytest.fixture(scope="session")
def model(model_folder: Path) -> OpenModel:
    return open_model(model_folder, secret=SECRET)


def prompt(at: int) -> str:
    return f"what is the sky {'one ' * (at // 3 % 9)}"


def response(at: int) -> str:
    return f"kind sea {'of ' * (at % 11)}{'two ' * (at % 5)}"


@pytest.fixture
def rows() -> Callable[[int], list[dict[str, Any]]]:
    """Rows with a prompt, which comes three times, and a response."""
    return lambda count: [
        {"id": at, "prompt": prompt(at), "response": response(at)} for at in range(count)
    ]


@pytest.fixture
def json_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON Lines; a text is written as it is."""

    def write(rows: list[Any], name: str = "rows.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / name

    return write


@pytest.fixture
def score(model: OpenModel, model_folder: Path) -> Callable[..., Tally]:
    """Scores a file into another one, as the command does; `by` changes parts of the model."""

    def run(file: Path, output: Path, *, by: Any = None, **wishes: Any) -> Tally:
        wanted = Wanted(file, format_of(file), output, format_of(output), **wishes)
        used = replace(model, **(by or {}))
        return score_file(prepare(wanted), model_folder, used, lambda *_: None)

    return run


@pytest.fixture
def scored(score: Callable[..., Tally], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a scored file."""

    def run(file: Path, **wishes: Any) -> list[dict[str, Any]]:
        output = tmp_path / "scored.jsonl"
        score(file, output, restart=True, **wishes)
        return [json.loads(line) for line in output.read_text().splitlines()]

    return run
