"""Masks JSON values: strings wherever they stand, and whatever a telling key announces."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shared.privacy.masking.entities import Edit, Entity
from shared.privacy.masking.folding import fold
from shared.privacy.masking.lexicon import words
from shared.privacy.masking.masker import Masker

KIND_OF_KEY = {key: kind for kind in Entity for key in words(f"keys_of_{kind.value.lower()}")}
SEPARATORS = re.compile(r"[\s_.\-]")
MAX_KEY = 64
Path = tuple[int | str, ...]


@dataclass
class MaskedValue:
    """A masked JSON value, the kinds found in it, where, and whether a key had to change."""

    value: Any = None
    found: Counter[Entity] = field(default_factory=Counter)
    places: list[tuple[Path, Entity]] = field(default_factory=list)
    has_other_keys: bool = False


def strings_in(value: Any) -> Iterator[str]:
    """Every string of a JSON value that is masked as text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if _kind_of(key) is None:
                yield from strings_in(item)


def names_in(value: Any, *, is_name: bool = False) -> Iterator[str]:
    """What stands under keys of names, such as `patient_name`."""
    if isinstance(value, str) and is_name:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from names_in(item, is_name=is_name)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from names_in(item, is_name=is_name or _kind_of(key) is Entity.NAME)


def mask_value(masker: Masker, value: Any) -> MaskedValue:
    """The value with every string masked, keys too where they hold an entity.

    What stands under a key such as `patient_name`, `mrn` or `dob` is masked whole: a string or
    number, or all of a list or object.
    """
    masked = MaskedValue()
    masked.value = _masked(masker, value, (), masked)
    return masked


def _masked(
    masker: Masker, value: Any, path: Path, result: MaskedValue, under: Entity | None = None
) -> Any:
    """`under` is the kind that a key above has told."""
    if isinstance(value, list):
        return [_masked(masker, item, (*path, i), result, under) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return _object(masker, value, path, result, under)
    if under is not None and _is_filled(value):
        result.found[under] += 1
        result.places.append((path, under))
        return under.placeholder
    return _text(masker, value, path, result) if isinstance(value, str) else value


def _text(masker: Masker, text: str, path: Path, result: MaskedValue) -> str:
    masked = masker.mask(text)
    result.found += masked.found
    result.places += ((path, kind) for kind in masked.found)
    return masked.text


def _object(
    masker: Masker, value: dict[str, Any], path: Path, result: MaskedValue, under: Entity | None
) -> Any:
    masked: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(masker, key, path, result)
        name = _unused(name, masked) if name != key else name
        result.has_other_keys |= name != key
        kind = _kind_of(key) or under
        masked[name] = _masked(masker, item, (*path, name), result, kind)
    return masked


def _key(masker: Masker, key: str, path: Path, result: MaskedValue) -> str:
    masked = masker.mask(key)
    result.found += masked.found
    result.places += (((*path, masked.text), kind) for kind in masked.found)
    return masked.text


def _unused(name: str, taken: dict[str, Any]) -> str:
    """Two people's entries must not become one."""
    number, given = 2, name
    while name in taken:
        name, number = f"{given} {number}", number + 1
    return name


def _kind_of(key: str) -> Entity | None:
    if len(key) > MAX_KEY:
        return None
    return KIND_OF_KEY.get(SEPARATORS.sub("", fold(key).text).casefold())


def _is_filled(item: Any) -> bool:
    """Text or a number; `true` and `{}` under such a key say nothing of a person."""
    if isinstance(item, str):
        return bool(item.strip())
    return isinstance(item, int | float) and not isinstance(item, bool)


def rendering_edits(before: str, after: str) -> tuple[Edit, ...]:
    """Where one JSON rendering was changed into the other, both of values with the same keys.

    Each string or number that differs counts as one edit, without what its two forms share at
    either end. Renderings of different structure count as one edit from end to end.
    """
    old, new = list(_tokens(before)), list(_tokens(after))
    if len(old) != len(new):
        return (Edit(0, len(before), len(after)),)
    edits, offset = [], 0
    for was, now in zip(old, new, strict=True):
        if was != now:
            edits.append(_trimmed(was, now, offset))
        offset += len(was)
    return tuple(edits)


TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^",\[\]{}:\s]+|[,\[\]{}:\s]')


def _tokens(rendering: str) -> Iterator[str]:
    return (found[0] for found in TOKENS.finditer(rendering))


def _trimmed(was: str, now: str, offset: int) -> Edit:
    shortest = min(len(was), len(now))
    head = next((i for i in range(shortest) if was[i] != now[i]), shortest)
    rest = shortest - head
    tail = next((i for i in range(rest) if was[-1 - i] != now[-1 - i]), rest)
    return Edit(offset + head, offset + len(was) - tail, len(now) - head - tail)
