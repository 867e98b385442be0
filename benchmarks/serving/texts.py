"""Texts to score, of the bundled sample's sentences: real words, lengths as asked, no two alike.

A text that comes again may be remembered by a server; only rows about that send one again.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import heed_cli
from shared.ml.backbones import default_encoder_folder
from shared.ml.tokens import TextTokenizer

SAMPLE = Path(heed_cli.__file__).parent / "sample" / "feedback.jsonl"
SHORTEST, LONGEST = 28, 173
QUERY_TOKENS = 20
CANDIDATES = 10

Words = list[tuple[str, int]]


class Texts:
    """Draws texts by a seed. Lengths are tokens of the default encoder without special ones."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._tokenizer = TextTokenizer(default_encoder_folder())
        prompts, sentences = _of_the_sample()
        self._prompts, self._sentences = self._in_words(prompts), self._in_words(sentences)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self._tokenizer.ids(texts)]

    def query(self, tokens: int = QUERY_TOKENS) -> str:
        """A question of so many tokens, or a few more: the last word is whole."""
        return self._text(self._prompts, tokens)

    def document(self, tokens: int | None = None) -> str:
        """A response of so many tokens, or a few more; if not said, of a drawn length."""
        return self._text(self._sentences, tokens or self._length())

    def documents(self, number: int = CANDIDATES, tokens: int | None = None) -> list[str]:
        """Candidates of one request."""
        return [self.document(tokens) for _ in range(number)]

    def _length(self) -> int:
        """Tokens of a document: 60 on average, 28 to 173, most of them short."""
        return round(min(max(self._draw.lognormvariate(3.95, 0.53), SHORTEST), LONGEST))

    def _text(self, parts: Sequence[Words], tokens: int) -> str:
        """Whole parts in a drawn order, the last one cut, after a number that none else has."""
        words = self._in_words([f"Case {self._draw.randrange(10**9)}:"])[0]
        kept: list[str] = []
        while tokens > 0:
            for word, size in words:
                if tokens > 0:
                    kept.append(word)
                    tokens -= size
            words = self._draw.choice(parts)
        return " ".join(kept)

    def _in_words(self, texts: Sequence[str]) -> list[Words]:
        return [
            list(zip(words, self.count(words), strict=True))
            for words in (text.split() for text in texts)
        ]


def _of_the_sample() -> tuple[list[str], list[str]]:
    """The prompts, and the sentences of the responses."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    rated = [row for row in rows if row["kind"] == "feedback"]
    prompts = {row["prompt"] for row in rated}
    sentences = {one for row in rated for one in re.split(r"(?<=[.!?]) ", row["response"])}
    return sorted(prompts), sorted(sentences)
