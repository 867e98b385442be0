"""An evaluation as a JSON document; docs/evaluation.md says what each field means."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.trainer.evaluation.cases import Case
from services.trainer.evaluation.figures import Evaluated, Standing
from shared.db.columns import Json
from shared.errors import ConfigError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Source:
    """A file or a frozen dataset that cases came from.

    Attributes:
        name: as it was given.
        sha256: of the file as it lies there, or of the frozen dataset.
        cases: how many it gave.
        left_out: comparisons that say nothing here, by reason: ties, equal responses, other sides.
        faults: rows that could not be read, which are listed in the error report.
    """

    name: str
    sha256: str
    cases: int
    left_out: dict[str, int]
    faults: int


def report(
    evaluated: Evaluated,
    sources: Sequence[Source],
    cases: Sequence[Case],
    *,
    trained_on: int = 0,
    nearly_trained_on: int = 0,
) -> Json:
    """The document; it holds figures and names, never a text.

    `trained_on` counts the cases whose prompts lie on this deployment's training side, and
    `nearly_trained_on` further ones with a near-duplicate that the models were trained on.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": [asdict(source) for source in sources],
        "cases": len(cases),
        "groups": len({case.group for case in cases}),
        "trained_on": trained_on,
        "nearly_trained_on": nearly_trained_on,
        "contestants": [_contestant(standing) for standing in evaluated.standings],
        "differences": [
            {"left": one.left, "right": one.right, "subset": one.subset}
            | {name: value for name, value in asdict(one.comparison).items() if name != "opponent"}
            for one in evaluated.differences
        ],
    }


def write_report(document: Json, path: Path) -> None:
    """Write the document.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}).") from None


def _contestant(standing: Standing) -> Json:
    one = standing.contestant
    return {
        "name": one.name,
        "kind": "model" if one.is_model else "baseline",
        **one.about,
        "overall": standing.overall.as_json(),
        "subsets": {name: found.as_json() for name, found in standing.subsets.items()},
        "subset_mean": standing.subset_mean,
    }
