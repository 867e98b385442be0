"""Words and word pairs of a response as a hashed TF-IDF vector, without a vocabulary to store."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BUCKETS = 2**15

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[!?]")


def bucket_counts(text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Buckets of a text's words and word pairs, ascending, and 1 + ln(count) of each."""
    words = _WORD.findall(text.lower())
    terms = [*words, *(f"{left} {right}" for left, right in pairwise(words))]
    counts = Counter(crc32(term.encode()) % BUCKETS for term in terms)
    buckets = np.array(sorted(counts), dtype=np.int64)
    found = np.array([counts[bucket] for bucket in buckets], dtype=np.float64)
    return buckets, 1.0 + np.log(found)


@dataclass(frozen=True)
class LexicalWeights:
    """A linear model over hashed TF-IDF; `idf` and `weights` have shape (BUCKETS,), float32."""

    idf: NDArray[np.float32]
    weights: NDArray[np.float32]

    def reward(self, text: str) -> float:
        """The share of the reward that comes from the words of one response."""
        buckets, values = tfidf(text, self.idf)
        return float(values @ self.weights[buckets].astype(np.float64))

    def rewards(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`reward` of each text, shape (n,)."""
        return np.array([self.reward(text) for text in texts], dtype=np.float64)


def tfidf(text: str, idf: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Buckets of one text and their TF-IDF values, of length 1 in the Euclidean norm."""
    buckets, values = bucket_counts(text)
    weighted = values * idf[buckets].astype(np.float64)
    length = float(np.linalg.norm(weighted))
    return buckets, weighted / length if length > 0 else weighted


def inverse_document_frequencies(texts: Sequence[str]) -> NDArray[np.float32]:
    """ln((1 + n) / (1 + documents with the bucket)) + 1, shape (BUCKETS,)."""
    seen = np.zeros(BUCKETS)
    for text in texts:
        seen[bucket_counts(text)[0]] += 1
    return (np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float32)
