"""Texts that say the same with a word dropped, swapped, added or spelt otherwise.

Two texts are near-duplicates when the Jaccard similarity of their shingles reaches `NEAR`, and
clusters are what such pairs connect. MinHash with locality-sensitive hashing proposes the pairs and
each is verified on the shingles themselves, so chance decides what is looked at, never what counts.

Shingles are four characters within a word: the order of the words does not matter, a long word
counts more than a short one, and a typing error costs a part of its word. A number counts as much
as a long word, since short questions often differ in nothing else. Words that more than half of all
texts hold, such as those of a system prompt, say nothing about which text it is and are left out.

Sources: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman &
Ullman 2020, "Mining of Massive Datasets", section 3.4 (the banding technique).
"""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from unicodedata import category

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.int64]

NEAR = 0.7
BANDS, ROWS = 40, 6  # proposes 99.3 % of pairs at 0.7, 99.999 % at 0.8, 1 % at 0.25

_SHINGLE = 4
_NUMBER_SHINGLES = 8
_BOILERPLATE_SHARE, _BOILERPLATE_TEXTS = 0.5, 20
_PROPOSED_WITHIN = 64  # of a bucket with more texts, each is paired with its neighbours in it
_MIXED = np.random.default_rng(0).integers(2**64, size=ROWS, dtype=np.uint64) | np.uint64(1)
_ESTIMATE_SLACK = 0.15  # five standard errors of the estimate from 240 hashes
_CHUNK = 4096
# Thai, Lao, Burmese, Khmer, Chinese and Japanese are written without spaces between words; their
# punctuation, \u3000 to \u303f but for a few letters, is no part of them.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3040-\u9fff\uf900-\ufaff"
)
_LETTER = rf"[^\W\d{_UNSPACED}]"
# Vowels and accents that are characters of their own, as in Hindi, Tamil or vocalised Arabic: no
# word ends there, though `re` thinks so.
_MARKS = "".join(at for at in map(chr, range(0x300, 0xAC00)) if category(at)[0] == "M")
_TOKEN = re.compile(rf"\d+|[{_UNSPACED}]+|{_LETTER}(?:{_LETTER}|[{_MARKS}])*")
_RUN = re.compile(rf"[{_UNSPACED}]{{2,}}")


def near_clusters(texts: Sequence[str]) -> Indices:
    """The number of each text's cluster, shape (texts,).

    Args:
        texts: normalised texts (see `splits.normalise_prompt`).
    """
    pairs = near_pairs(texts)
    return connected(len(texts), pairs)


def near_pairs(texts: Sequence[str]) -> Indices:
    """Pairs of texts that are near-duplicates, as places in `texts`, shape (pairs, 2).

    Enough of them to connect every cluster, and all of them where a cluster is small.
    """
    return _Shingled(texts).verified()


def near_across(texts: Sequence[str], others: Sequence[str]) -> Indices:
    """Pairs of a text and one of the others that are near-duplicates, as places in both.

    What more than half of either hold says nothing about which text it is. Shape (pairs, 2).
    """
    first = len(texts)
    pairs = _Shingled([*texts, *others], parts=(first, len(others))).verified()
    crossing = pairs[(pairs[:, 0] < first) & (pairs[:, 1] >= first)]
    return np.asarray(crossing - np.array([0, first]), dtype=np.int64)


def connected(count: int, pairs: Indices) -> Indices:
    """The number of each item's connected component, shape (count,)."""
    if not count:
        return np.empty(0, dtype=np.int64)
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def words_of(text: str) -> set[str]:
    """The words and numbers of a text; of a script without spaces, every two characters."""
    found = set[str]()
    for token in _TOKEN.findall(text):
        if _RUN.fullmatch(token):
            found.update(token[at : at + 2] for at in range(len(token) - 1))
        else:
            found.add(token)
    return found or {text}


def shingles_of(word: str) -> list[str]:
    """What a word counts as: its runs of four characters, or a fixed number for a number."""
    if word.isdigit():
        return [f"{word}#{at}" for at in range(_NUMBER_SHINGLES)]
    if _RUN.fullmatch(word):
        return [word]
    padded = f" {word} "
    return [padded[at : at + _SHINGLE] for at in range(max(1, len(padded) - _SHINGLE + 1))]


class _Shingled:
    """Texts as sets of words, with what is needed to propose and to verify pairs."""

    def __init__(self, texts: Sequence[str], parts: Sequence[int] = ()) -> None:
        """Texts, and how many of them after one another are of one kind; none: all of them."""
        self._texts = texts
        self._number: dict[str, int] = {}
        self._words = [
            [self._number.setdefault(word, len(self._number)) for word in words_of(text)]
            for text in texts
        ]
        self._drop_boilerplate(parts or (len(texts),))
        self._shingles = [frozenset(shingles_of(word)) for word in self._number]

    def verified(self) -> Indices:
        """The proposed pairs whose Jaccard similarity reaches `NEAR`, shape (pairs, 2)."""
        found = [
            (one, other)
            for one, other in self._proposed().tolist()
            if self._jaccard(one, other) >= NEAR
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _drop_boilerplate(self, parts: Sequence[int]) -> None:
        common = set[int]()
        for start, count in zip(accumulate(parts, initial=0), parts, strict=False):
            if count >= _BOILERPLATE_TEXTS:
                held_by = np.bincount(
                    np.concatenate(
                        [np.array(words, dtype=np.int64) for words in self._words[start:][:count]]
                    )
                )
                common.update(np.flatnonzero(held_by > _BOILERPLATE_SHARE * count).tolist())
        self._words = [
            [word for word in words if word not in common] or words for words in self._words
        ]

    @cached_property
    def _signatures(self) -> NDArray[np.uint32]:
        """MinHash of each text, shape (texts, BANDS * ROWS): the least of its words' hashes."""
        from datasketch import MinHash  # a second of imports, which who compares nothing is spared

        empty = MinHash(BANDS * ROWS)
        by_word = np.empty((len(self._shingles), BANDS * ROWS), dtype=empty.hashvalues.dtype)
        for place, shingles in enumerate(self._shingles):
            signed = empty.copy()
            signed.update_batch(shingle.encode() for shingle in shingles)
            by_word[place] = signed.hashvalues
        signatures = np.empty((len(self._words), BANDS * ROWS), dtype=empty.hashvalues.dtype)
        for place, words in enumerate(self._words):
            by_word[words].min(axis=0, out=signatures[place])
        return signatures

    def _proposed(self) -> Indices:
        """Pairs that share a band and look alike by all of them, each once, shape (pairs, 2)."""
        if len(self._texts) < 2:
            return np.empty((0, 2), dtype=np.int64)
        coded = np.concatenate([self._likely(self._pairs_in(band)) for band in range(BANDS)])
        return np.stack(np.divmod(np.unique(coded), len(self._texts)), axis=1)

    def _pairs_in(self, band: int) -> Indices:
        """The pairs of the buckets of one band, as smaller place · texts + larger place.

        One band at a time, since tables of all bands take ten times the memory of the signatures.
        """
        order, starts, sizes = self._buckets(band)
        found = [np.empty(0, dtype=np.int64)]
        for size in np.unique(sizes[sizes > 1]).tolist():
            alike = order[starts[sizes == size, None] + np.arange(size)]
            if size > _PROPOSED_WITHIN:
                alike = np.array([sorted(one, key=self._texts.__getitem__) for one in alike])
            pairs = _twos(alike)
            found.append(pairs.min(axis=1) * len(self._texts) + pairs.max(axis=1))
        return np.concatenate(found)

    def _buckets(self, band: int) -> tuple[Indices, Indices, Indices]:
        """The texts in the order of their buckets, and where each bucket starts and its size."""
        hashes = self._signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        keys = hashes @ _MIXED  # modulo 2^64; what is mixed up is verified like anything else
        order = np.argsort(keys, kind="stable")
        starts = np.append(0, np.flatnonzero(np.diff(keys[order])) + 1)
        return order, starts, np.diff(starts, append=len(order))

    def _likely(self, coded: Indices) -> Indices:
        """Those of the pairs that are worth verifying by what their signatures estimate."""
        kept = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(coded), _CHUNK):
            some = coded[start : start + _CHUNK]
            left, right = np.divmod(some, len(self._texts))
            estimate = (self._signatures[left] == self._signatures[right]).mean(axis=1)
            kept.append(some[estimate >= NEAR - _ESTIMATE_SLACK])
        return np.concatenate(kept)

    def _jaccard(self, one: int, other: int) -> float:
        left, right = self._set_of(one), self._set_of(other)
        return len(left & right) / len(left | right)

    def _set_of(self, place: int) -> frozenset[str]:
        return frozenset().union(*(self._shingles[word] for word in self._words[place]))


def _twos(buckets: Indices) -> Indices:
    """Every two of each bucket, or of large ones each with some neighbours, shape (pairs, 2).

    Args:
        buckets: of one size, shape (buckets, size).
    """
    size = buckets.shape[1]
    reach = size - 1 if size <= _PROPOSED_WITHIN else _PROPOSED_WITHIN // 2
    left = np.repeat(np.arange(size), reach)
    right = left + np.tile(np.arange(1, reach + 1), size)
    both = np.stack([left, right], axis=1)[right < size]
    return buckets[:, both].reshape(-1, 2)
