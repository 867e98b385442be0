"""The text of a dataset: canonical JSON lines in one order, so that equal data has an equal hash.

A snapshot holds six kinds of judgements (`pair`, `rated`, `aspects`, `tie`, `ranking`, `step`) and
prompts that nobody judged (`prompt`). A line says only what there is to say: what is empty or
unknown is left out. A preferences file, which people and other tools read and write, holds prompt /
chosen / rejected / metadata and a split.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from services.trainer.datasets import Evidence
from services.trainer.examples import (
    Entry,
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    RatedStep,
    RecordedPrompt,
    RewardDataset,
    TiedPair,
)
from shared.contracts.values import Side

Line = dict[str, Any]
Sides = Mapping[bytes, Side | str]

# The third value of `split`: neither trained on nor judged by, because it is held out for good and
# has a near-duplicate among what is trained on.
ASIDE = "aside"

_PLURAL = {
    "pair": "pairs",
    "rated": "rated",
    "aspects": "aspects",
    "tie": "ties",
    "ranking": "rankings",
    "step": "steps",
    "prompt": "prompts",
}
_READ: dict[str, Callable[..., Any]] = {
    "pair": PreferencePair,
    "rated": RatedResponse,
    "aspects": RatedAspects,
    "tie": TiedPair,
    "ranking": RankedResponses,
    "step": RatedStep,
    "prompt": RecordedPrompt,
}
_TUPLES = ("row_ids", "responses", "steps")
_COUNTED = (*_PLURAL.values(), "groups")


def canonical(line: Line) -> str:
    """One JSON line: sorted keys, no spaces, text as it is."""
    return json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def snapshot_lines(evidence: Evidence, sides: Sides) -> list[Line]:
    """Every line of a snapshot, in no particular order."""
    kinds: dict[str, Sequence[Entry]] = {
        "pair": evidence.pairs,
        "rated": evidence.rated,
        "aspects": evidence.aspects,
        "tie": evidence.ties,
        "ranking": evidence.rankings,
        "step": evidence.steps,
        "prompt": evidence.prompts,
    }
    return [_line(kind, one, sides) for kind, entries in kinds.items() for one in entries]


def in_order(lines: Iterable[Line]) -> list[str]:
    """The text of a snapshot: its lines, sorted."""
    return sorted(map(canonical, lines))


def rows_of(line: Line) -> list[str]:
    """The ids of the rows that a line of a snapshot was made of."""
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
    found: dict[str, list[Any]] = defaultdict(list)
    for line in lines:
        kind, split = line.pop("kind"), line.pop("split")
        if split == ASIDE:
            continue
        listed = {name: tuple(line[name]) for name in _TUPLES if name in line}
        found[f"{split}_{_PLURAL[kind]}"].append(_READ[kind](**line | listed))
    names = [f"{side}_{what}" for what in _PLURAL.values() for side in Side]
    return RewardDataset(snapshot_hash=sha256, **{name: found[name] for name in names})


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


def _line(kind: str, entry: Entry, sides: Sides) -> Line:
    group = _hex(entry.group)
    said = {name: value for name, value in vars(entry).items() if value not in (None, {}, ())}
    if "slices" in said:
        said["slices"] = dict(entry.slices)
    return said | {"kind": kind, "split": sides[bytes.fromhex(group)], "group": group}


def _hex(group: bytes | str) -> str:
    return group.hex() if isinstance(group, bytes) else group
