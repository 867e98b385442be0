"""How much text one request may bring."""

from collections.abc import Iterable

from services.reward_service.config import RewardSettings
from shared.errors import Detail, TooLarge
from shared.web.problems import json_pointer

_CROWD = 1000  # items that a list or an object may hold in any case
_MOST_FIELDS = 20  # of one input; it has three, and a pair two


def refuse_too_many(count: int, where: str, settings: RewardSettings) -> None:
    """Pass when the list at a JSON pointer is short enough.

    Raises:
        TooLarge: it is not.
    """
    if count > settings.reward_max_texts:
        raise _too_many(count, where, settings.reward_max_texts)


def refuse_too_long(texts: Iterable[tuple[str, str]], settings: RewardSettings) -> None:
    """Pass when every text, given with its JSON pointer, is short enough.

    Raises:
        TooLarge: one is not.
    """
    most = settings.reward_max_text_chars
    for pointer, text in texts:
        if len(text) > most:
            raise _too_large(f"has {len(text)} characters of at most {most}", pointer)


def refuse_crowded(body: object, settings: RewardSettings) -> None:
    """Pass a body, parsed and not yet validated, in which nothing holds too many items.

    Validating hundreds of thousands of items, or naming what is wrong with each, would hold up
    everybody else.

    Raises:
        TooLarge: a list or an object holds more items than any may.
    """
    most = max(_CROWD, settings.reward_max_texts)
    _refuse_crowd(body, (), most)
    if isinstance(body, dict):
        for name, item in body.items():
            _refuse_crowd(item, (name,), most)
        if isinstance(inputs := body.get("inputs"), list):
            for at, item in enumerate(inputs):
                _refuse_crowd(item, ("inputs", at), _MOST_FIELDS)


def _refuse_crowd(held: object, where: tuple[str | int, ...], most: int) -> None:
    if isinstance(held, list | dict) and len(held) > most:
        raise _too_many(len(held), json_pointer(where), most)


def _too_many(count: int, where: str, most: int) -> TooLarge:
    return _too_large(f"holds {count} items of at most {most}", where)


def _too_large(what: str, pointer: str) -> TooLarge:
    detail = Detail(pointer, "too_large", what)
    return TooLarge(f"{pointer or 'The body'} {what}; send less at once.", errors=(detail,))
