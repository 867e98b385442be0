"""The text of a dataset: canonical JSON lines in one order, so that equal data has an equal hash.

A snapshot holds three kinds of lines (`pair`, `rated`, `tie`); a preferences file, which people
and other tools read and write, holds prompt / chosen / rejected / metadata and a split.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from services.trainer.datasets import Evidence, Tie
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from shared.contracts.values import Side

Line = dict[str, Any]
Sides = Mapping[bytes, Side]

_PLURAL = {"pair": "pairs", "rated": "rated", "tie": "ties"}
_COUNTED = (*_PLURAL.values(), "groups")


def canonical(line: Line) -> str:
    """One JSON line: sorted keys, no spaces, text as it is."""
    return json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def snapshot_lines(evidence: Evidence, sides: Sides) -> list[Line]:
    """Every line of a snapshot, in no particular order."""
    lines = [_pair_line(pair, sides) for pair in evidence.pairs]
    lines += [_rated_line(rated, sides) for rated in evidence.rated]
    lines += [_tie_line(tie, sides) for tie in evidence.ties]
    return lines


def in_order(lines: Iterable[Line]) -> list[str]:
    """The text of a snapshot: its lines, sorted."""
    return sorted(map(canonical, lines))


def rows_of(line: Line) -> list[str]:
    """The ids of the row versions that a line of a snapshot was made of."""
    return line["row_ids"] if line["kind"] == "pair" else [line["row_id"]]


def count_lines(lines: Iterable[Line]) -> Counter[str]:
    """What a snapshot holds on each side, where its pairs come from, and how many contradict."""
    counts = Counter({f"{what}_{side}": 0 for what in _COUNTED for side in Side})
    groups: set[tuple[str, str]] = set()
    pairs: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        counts[f"{_PLURAL[line['kind']]}_{line['split']}"] += 1
        groups.add((line["group"], line["split"]))
        if line["kind"] == "pair":
            counts[f"from_{line['source']}"] += 1
            pairs[line["group"], line["chosen"], line["rejected"]] += 1
    counts.update(f"groups_{side}" for _, side in groups)
    counts["contradictions"] = sum(
        min(n, pairs[group, worse, better])
        for (group, better, worse), n in pairs.items()
        if better < worse
    )
    return counts


def read_snapshot(lines: Iterable[Line], sha256: str) -> RewardDataset:
    """What a recipe learns from, read back from the lines of a snapshot."""
    pairs: dict[str, list[PreferencePair]] = {Side.TRAIN: [], Side.TEST: []}
    rated: dict[str, list[RatedResponse]] = {Side.TRAIN: [], Side.TEST: []}
    for line in lines:
        kind, split = line.pop("kind"), line.pop("split")
        if kind == "pair":
            pairs[split].append(PreferencePair(**line | {"row_ids": tuple(line["row_ids"])}))
        elif kind == "rated":
            rated[split].append(RatedResponse(**line))
    return RewardDataset(
        train_pairs=pairs[Side.TRAIN],
        test_pairs=pairs[Side.TEST],
        train_rated=rated[Side.TRAIN],
        test_rated=rated[Side.TEST],
        snapshot_hash=sha256,
    )


def preference_line(pair: PreferencePair, split: Side) -> Line:
    """A pair as the line of a preferences file."""
    return {
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "split": split,
        "metadata": {
            "source": pair.source,
            "group": _hex(pair.group),
            "weight": pair.weight,
            "row_ids": list(pair.row_ids),
            "agent": pair.slices.get("agent"),
            "task": pair.slices.get("task"),
        },
    }


def _pair_line(pair: PreferencePair, sides: Sides) -> Line:
    group = _hex(pair.group)
    return {
        "kind": "pair",
        "split": sides[bytes.fromhex(group)],
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "group": group,
        "weight": pair.weight,
        "source": pair.source,
        "row_ids": list(pair.row_ids),
        "slices": dict(pair.slices),
    }


def _rated_line(rated: RatedResponse, sides: Sides) -> Line:
    group = _hex(rated.group)
    return {
        "kind": "rated",
        "split": sides[bytes.fromhex(group)],
        "prompt": rated.prompt,
        "response": rated.response,
        "rating": rated.rating,
        "group": group,
        "row_id": rated.row_id,
        "slices": dict(rated.slices),
    }


def _tie_line(tie: Tie, sides: Sides) -> Line:
    return {
        "kind": "tie",
        "split": sides[tie.group],
        "prompt": tie.prompt,
        "responses": list(tie.responses),
        "outcome": tie.outcome,
        "group": tie.group.hex(),
        "row_id": tie.row_id,
    }


def _hex(group: bytes | str) -> str:
    return group.hex() if isinstance(group, bytes) else group
