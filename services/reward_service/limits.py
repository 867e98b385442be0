"""How much text one request may bring."""

from collections.abc import Iterable

from services.reward_service.config import RewardSettings
from shared.errors import Detail, TooLarge


def refuse_too_many(count: int, where: str, settings: RewardSettings) -> None:
    """Pass when the list at a JSON pointer is short enough.

    Raises:
        TooLarge: it is not.
    """
    if count > settings.reward_max_texts:
        raise _too_large(f"holds {count} items of at most {settings.reward_max_texts}", where)


def refuse_too_long(texts: Iterable[tuple[str, str]], settings: RewardSettings) -> None:
    """Pass when every text, given with its JSON pointer, is short enough.

    Raises:
        TooLarge: one is not.
    """
    most = settings.reward_max_text_chars
    for pointer, text in texts:
        if len(text) > most:
            raise _too_large(f"has {len(text)} characters of at most {most}", pointer)


def _too_large(what: str, pointer: str) -> TooLarge:
    detail = Detail(pointer, "too_large", what)
    return TooLarge(f"{pointer} {what}; send less at once.", errors=(detail,))
