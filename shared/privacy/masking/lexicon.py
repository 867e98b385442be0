"""The word lists of `lexicon.toml`."""

import tomllib
from functools import cache
from importlib.resources import files


@cache
def _lists() -> dict[str, str]:
    return tomllib.loads(files(__package__).joinpath("lexicon.toml").read_text("utf-8"))


def words(name: str) -> frozenset[str]:
    """The words of one list, in small letters."""
    return frozenset(_lists()[name].split())
