"""What a later post does to an earlier one; `statements` says the same in SQL for stored rows."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from services.feedback_api.writer.kinds import OBJECTS, Kind, Row


def is_later(row: Row, other: Row) -> bool:
    """Whether `row` wins over `other`: by the time given, then by the time received."""
    return bool((row["timestamp"], row["id"]) > (other["timestamp"], other["id"]))


def merge(kind: Kind, earlier: Row, later: Row) -> Row:
    """The later row with what it leaves open taken from the earlier one."""
    merged = {name: _merged(kind, name, earlier[name], later[name]) for name in kind.names}
    if "training" not in later["consent"]:
        merged["consent_training"] = earlier["consent_training"]
    return merged


def _merged(kind: Kind, name: str, earlier: Any, later: Any) -> Any:
    if name in kind.replaced:
        return later
    if name in OBJECTS and earlier and later:
        return earlier | later
    if name == "subjects":
        return sorted({*earlier, *later})
    return earlier if later is None or later == {} else later


def fold(kind: Kind, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The newest version of each natural key, and the versions it passed through.

    The second list carries `superseded_by`. Rows without a rater stand for themselves.
    """
    keys = [kind.key_of(row) for row in rows if row["clinician_id"] is not None]
    if len(set(keys)) == len(keys):
        return list(rows), []
    newest = [row for row in rows if row["clinician_id"] is None]
    passed: list[Row] = []
    rated = sorted(
        (row for row in rows if row["clinician_id"] is not None),
        key=lambda row: (kind.key_of(row), row["timestamp"], row["id"]),
    )
    for _, group in groupby(rated, key=kind.key_of):
        versions = _versions(kind, list(group))
        passed += [old | {"superseded_by": new["id"]} for old, new in pairwise(versions)]
        newest.append(versions[-1])
    return newest, passed


def _versions(kind: Kind, rows: list[Row]) -> list[Row]:
    versions = rows[:1]
    for row in rows[1:]:
        versions.append(merge(kind, versions[-1], row))
    return versions
