"""What can be counted in a text without a model: its form, and the words it shares with its prompt.

Both are a handful of numbers that embeddings of topics hardly show: does a response ask back, does
it stop in the middle, does it repeat itself or the prompt.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SURFACE = 10
OVERLAP = 6

# A dialogue may be long; what a response takes up again is in its last part.
_PROMPT_CHARS = 4000
_LONG_SENTENCE = 60.0
_LONG_WORD = 30.0
_SENTENCE_END = re.compile(r"[.!?]+")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_CLOSED = (".", "!", "?", ")", '"', "'", "”")

Floats = NDArray[np.float64]


def surface(responses: Sequence[str]) -> Floats:
    """Form of each response, shape (n, SURFACE): rates and shares, none of which counts length.

    They still go with it: on three sets of human judgements words a sentence correlates .46-.66
    with log length, capitals -.21 to -.41, the others less. The audit card measures what that does.

    Question marks, exclamation marks and words a sentence; commas and line breaks a word; shares of
    digits and of capitals among characters; letters a word; 1 if it ends as sentences end; the
    share of word pairs that came before.
    """
    known = {text: _surface(text) for text in dict.fromkeys(responses)}
    rows = [known[text] for text in responses]
    return np.array(rows, dtype=np.float64).reshape(len(rows), SURFACE)


def _surface(text: str) -> list[float]:
    words = _words(text)
    pairs = list(pairwise(words))
    size, count = max(len(text), 1), max(len(words), 1)
    sentences = max(len(_SENTENCE_END.findall(text)), 1)
    return [
        text.count("?") / sentences,
        text.count("!") / sentences,
        min(count / sentences, _LONG_SENTENCE),
        text.count(",") / count,
        min(text.count("\n") / count, 1.0),
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        min(sum(map(len, words)) / count, _LONG_WORD),
        float(text.rstrip().endswith(_CLOSED)),
        1.0 - len(set(pairs)) / max(len(pairs), 1),
    ]


def overlap(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
    """How much each response repeats its prompt, shape (n, OVERLAP), each 0–1.

    For words, word pairs and triples in turn: the share of the prompt's that the response has, and
    of the response's that the prompt has.
    """
    known = {text: _grams(text[-_PROMPT_CHARS:]) for text in dict.fromkeys(prompts)}
    rows = [
        _shares(known[prompt], _grams(response))
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), OVERLAP)


_Grams = tuple[set[object], ...]


def _grams(text: str) -> _Grams:
    words = _words(text)
    pairs = list(pairwise(words))
    return set(words), set(pairs), set(pairwise(pairs))


def _shares(prompt: _Grams, response: _Grams) -> list[float]:
    return [
        len(asked & said) / max(len(side), 1)
        for asked, said in zip(prompt, response, strict=True)
        for side in (asked, said)
    ]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
