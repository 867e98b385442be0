"""Preferences files: JSON Lines of prompt / chosen / rejected, written by Heed or by anybody."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.trainer.datasets import Evidence, short_texts
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.file_rows import named_rows
from services.trainer.lines import canonical
from services.trainer.near_duplicates import near_clusters
from services.trainer.snapshots import preference_lines, write_lines
from services.trainer.splits import (
    GroupOf,
    both_sides,
    choose_sides,
    group_by_secret,
    normalise_prompt,
)
from shared.contracts.values import Side
from shared.errors import ConfigError, InvalidInput, LeakingDataset

if TYPE_CHECKING:
    from datasets import DatasetDict

TEST_SHARE = 0.2
_METADATA = {"source", "group", "weight", "row_ids", "agent", "task"}


class PreferenceLine(BaseModel):
    """One line of a preferences file; fields it does not name are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: str = Field(min_length=1)
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)
    split: str | None = Field(None, pattern="^(train|test)$")
    metadata: dict[str, Any] = Field(default_factory=dict)


def read_preferences(path: Path) -> dict[int, PreferenceLine]:
    """Every comparison of a preferences file, by the number of its line, which counts from 1.

    Raises:
        InvalidInput: the file cannot be read, is empty, or a line is wrong; the message names the
            line and the column, never the text.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found = {at: _parse(text, at) for at, text in enumerate(file, start=1) if text.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} cannot be read ({type(error).__name__}); it must be UTF-8 JSON Lines with "
            "prompt, chosen and rejected."
        ) from None
    if not found:
        raise InvalidInput(f"{path} has no lines; write it with `heed dataset prepare`.")
    return found


def evidence_of_file(path: Path, group_of: GroupOf) -> tuple[Evidence, dict[bytes, Side]]:
    """The comparisons of a preferences file, and the sides it names for its prompt groups.

    A file that holds nothing out names no sides: without a test side no model could be judged.
    Agent and task are taken from the metadata, to be reported on separately. Each pair names its
    line, and then the posts that the line names (see `file_rows.follow_rows`).

    Raises:
        InvalidInput: see `read_preferences`.
    """
    lines = read_preferences(path)
    proposed = _named_sides(lines.values(), group_of)
    pairs = [
        PreferencePair(
            line.prompt,
            chosen=line.chosen,
            rejected=line.rejected,
            group=group_of(line.prompt),
            weight=_weight(line.metadata),
            row_ids=(f"line:{at}", *named_rows(line.metadata)),
            slices=short_texts({name: line.metadata.get(name) for name in ("agent", "task")}),
        )
        for at, line in lines.items()
        if line.chosen != line.rejected
    ]
    return Evidence(pairs=pairs), proposed if Side.TEST in proposed.values() else {}


def export_preferences(dataset: RewardDataset, output: Path) -> int:
    """Write a dataset's comparisons as a preferences file; how many there are.

    Raises:
        ConfigError: the file cannot be written.
    """
    lines = [canonical(line) for line in preference_lines(dataset)]
    aside = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_lines(aside, lines)
        aside.replace(output)
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written ({error.strerror}); give another --output."
        ) from None
    return len(lines)


def prepare_preference_dataset(path: str | Path) -> "DatasetDict":
    """A preferences file as a Hugging Face `DatasetDict` with `train` and `test`.

    Lines keep their split. Prompts without one join their near-duplicates, or are drawn by clusters
    of them, the same way every time. Nothing is cached on disk, so whoever erases the file erases
    the text.

    Raises:
        InvalidInput: see `read_preferences`.
        LeakingDataset: the file has near-duplicates on both sides.
    """
    from datasets import Dataset, DatasetDict

    lines = _with_sides(list(read_preferences(Path(path)).values()))
    is_ours = all(line.metadata.keys() <= _METADATA for line in lines)
    return DatasetDict(
        {
            side.value: Dataset.from_dict(
                _columns([line for line in lines if line.split == side], is_ours),
                features=_features(is_ours),
            )
            for side in Side
        }
    )


def _parse(text: str, at: int) -> PreferenceLine:
    try:
        return PreferenceLine.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"]) or "the JSON"
        raise InvalidInput(f"Line {at}: {column} is wrong ({first['msg']}).") from None


def _weight(metadata: Mapping[str, Any]) -> float:
    weight = metadata.get("weight")
    return float(weight) if isinstance(weight, int | float) and 0 < weight < 1e6 else 1.0


def _named_sides(lines: Iterable[PreferenceLine], group_of: GroupOf) -> dict[bytes, Side]:
    """The sides that the lines name; a prompt on both is held out, so that none is trained on."""
    sides: dict[bytes, Side] = {}
    for line in lines:
        group = group_of(line.prompt)
        if line.split is not None and sides.get(group) is not Side.TEST:
            sides[group] = Side(line.split)
    return sides


def _with_sides(lines: list[PreferenceLine]) -> list[PreferenceLine]:
    if all(line.split and line.metadata.get("group") for line in lines):
        return lines  # as Heed wrote it, which has looked at more than prompts
    group_of = group_by_secret(b"a preferences file is split alike everywhere", 0)
    prompts = {group_of(line.prompt): normalise_prompt(line.prompt) for line in lines}
    clusters = dict(zip(prompts, near_clusters(list(prompts.values())).tolist(), strict=True))
    named = _named_sides(lines, group_of)
    if leaking := both_sides({}, named, clusters):
        raise LeakingDataset(
            f"{len(leaking)} held-out prompts of the file are near-duplicates of prompts to train "
            "on. Take `split` out of it, and near-duplicates are kept on one side."
        )
    groups = dict.fromkeys(prompts, True)
    sides = choose_sides(groups, {}, TEST_SHARE, clusters=clusters, proposed=named)
    return [line.model_copy(update={"split": sides[group_of(line.prompt)]}) for line in lines]


def _columns(lines: Sequence[PreferenceLine], is_ours: bool) -> dict[str, list[Any]]:
    metadata = [line.metadata if is_ours else canonical(line.metadata) for line in lines]
    texts = ("prompt", "chosen", "rejected")
    return {name: [getattr(line, name) for line in lines] for name in texts} | {
        "metadata": metadata
    }


def _features(is_ours: bool) -> Any:
    """Fixed columns; metadata that Heed did not write is kept as its JSON text."""
    from datasets import Features, List, Value

    text = Value("string")
    ours = {"source": text, "group": text, "weight": Value("float64")}
    ours |= {"row_ids": List(text), "agent": text, "task": text}
    return Features(prompt=text, chosen=text, rejected=text, metadata=ours if is_ours else text)
