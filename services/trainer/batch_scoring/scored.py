"""From the rows of a chunk to their scores, in the columns that the scored file gets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from services.trainer.batch_scoring.columns import BadRow, Roles, pairs_of
from services.trainer.batch_scoring.rows import Row
from shared.contracts.manifest import RewardManifest
from shared.ml.said import OVERALL, chances, needs_details, refuse_unknown, said, score_with_steps
from shared.ml.scorer import Pair, Scorer

ERROR, UNREAD, LINE = "error", "unread", "line"

Results = dict[str, list[Any]]


@dataclass(frozen=True)
class Asked:
    """What is asked of every row.

    Attributes:
        roles: which columns are prompt and responses.
        extras: what stands beside the score, by the names of `/score`, and `uncertainty`.
        weights: how much each aspect counts in the score; empty: the plain score.
        prefix: what the names of all columns of results begin with.
    """

    roles: Roles
    extras: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    prefix: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """The columns of results in their order; by name what each one holds."""
        kinds = ("score", "truncated", *self.extras)
        found = {
            f"{self.prefix}{side}{kind}": kind for side in self.roles.responses for kind in kinds
        }
        return found | {f"{self.prefix}{ERROR}": ERROR}

    def as_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return asdict(self)


def fault_of(row: Row, asked: Asked) -> str | None:
    """Why a row could not be read, or cannot be joined with its results."""
    if row.fault is not None:
        return row.fault
    taken = next((name for name in asked.columns if name in row.values), None)
    return taken and f"has a column `{taken}` of its own; --prefix names the results otherwise"


def read_row(row: Row, asked: Asked) -> tuple[list[Pair], str | None]:
    """The pairs of a row, one for each of its responses, or none and what is wrong with it."""
    fault = fault_of(row, asked)
    if fault is not None:
        return [], fault
    try:
        return pairs_of(row.values, asked.roles), None
    except BadRow as error:
        return [], error.detail


class ChunkScorer:
    """Scores the rows of chunks with one model."""

    def __init__(self, scorer: Scorer, asked: Asked) -> None:
        """Score as it is asked.

        Raises:
            InvalidInput: the weights name an aspect that the model does not know.
        """
        refuse_unknown(asked.weights, scorer.manifest)
        self._scorer = scorer
        self._asked = asked
        self._details = needs_details(asked.extras, asked.weights)

    def __call__(self, rows: Sequence[Row]) -> Results:
        """The columns of results, a value for each row; of a bad row the error alone is given."""
        found: list[list[Pair]] = []
        errors: list[str | None] = []
        for row in rows:
            pairs, error = read_row(row, self._asked)
            found.append(pairs)
            errors.append(error)
        results: Results = {name: [None] * len(rows) for name in self._asked.columns}
        results[f"{self._asked.prefix}{ERROR}"] = errors
        pairs = [pair for some in found for pair in some]
        if pairs:
            self._fill(results, [at for at, some in enumerate(found) if some], pairs)
        return results

    def _fill(self, results: Results, places: Sequence[int], pairs: Sequence[Pair]) -> None:
        """Enter the scores of the good rows at their places; equal pairs are scored once."""
        distinct = {pair: at for at, pair in enumerate(dict.fromkeys(pairs))}
        columns, prefix = self._columns(list(distinct)), self._asked.prefix
        sides = list(self._asked.roles.responses)
        for at, row in enumerate(places):
            found = [distinct[pair] for pair in pairs[at * len(sides) : (at + 1) * len(sides)]]
            if not all(math.isfinite(columns["score"][one]) for one in found):
                results[f"{prefix}{ERROR}"][row] = "the model gives no number"
                continue
            for name, values in columns.items():
                for side, one in zip(sides, found, strict=True):
                    results[f"{prefix}{side}{name}"][row] = values[one]

    def _columns(self, pairs: Sequence[Pair]) -> Mapping[str, Sequence[Any]]:
        manifest, asked = self._scorer.manifest, self._asked
        scores, steps = score_with_steps(self._scorer, pairs, details=self._details)
        return {
            "score": chances(scores, asked.weights, manifest).tolist(),
            "truncated": scores.truncated.tolist(),
            **said(scores, manifest, asked.extras, steps),
        }


def aspects_of(manifest: RewardManifest) -> tuple[str, ...]:
    """The names in the extra `aspects`, in their order."""
    return (OVERALL, *(name for name in manifest.aspects if name != OVERALL))
