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
from collections.abc import Iterator, Sequence
from functools import cached_property
from unicodedata import category

import numpy as np
from datasketch import MinHash
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

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._number: dict[str, int] = {}
        self._words = [
            [self._number.setdefault(word, len(self._number)) for word in words_of(text)]
            for text in texts
        ]
        self._drop_boilerplate()
        self._shingles = [frozenset(shingles_of(word)) for word in self._number]

    def verified(self) -> Indices:
        """The proposed pairs whose Jaccard similarity reaches `NEAR`, shape (pairs, 2)."""
        found = [
            (one, other)
            for one, other in self._likely(self._proposed())
            if self._jaccard(one, other) >= NEAR
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def _drop_boilerplate(self) -> None:
        count = len(self._texts)
        if count < _BOILERPLATE_TEXTS:
            return
        held_by = np.bincount(
            np.concatenate([np.array(words, dtype=np.int64) for words in self._words])
        )
        common = set(np.flatnonzero(held_by > _BOILERPLATE_SHARE * count).tolist())
        self._words = [
            [word for word in words if word not in common] or words for words in self._words
        ]

    @cached_property
    def _signatures(self) -> NDArray[np.uint32]:
        """MinHash of each text, shape (texts, BANDS * ROWS): the least of its words' hashes."""
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
        """Pairs that share a band, each once, shape (pairs, 2)."""
        if len(self._texts) < 2:
            return np.empty((0, 2), dtype=np.int64)
        coded = np.unique(np.concatenate([self._pairs_in(band) for band in range(BANDS)]))
        return np.stack(np.divmod(coded, len(self._texts)), axis=1)

    def _pairs_in(self, band: int) -> Indices:
        """The pairs of each bucket of one band, as smaller place · texts + larger place."""
        found = [np.empty(0, dtype=np.int64)]
        for bucket in self._buckets(band):
            pairs = _twos(bucket)
            found.append(pairs.min(axis=1) * len(self._texts) + pairs.max(axis=1))
        return np.unique(np.concatenate(found))

    def _buckets(self, band: int) -> Iterator[list[int]]:
        """The texts alike in a band where they are several, like beside like where many.

        One band at a time, since tables of all bands take ten times the memory of the signatures.
        """
        hashes = self._signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        keys = hashes @ _MIXED  # modulo 2^64; what is mixed up is verified like anything else
        order = np.argsort(keys, kind="stable")
        inner = np.flatnonzero(np.diff(keys[order])) + 1
        bounds = np.concatenate([[0], inner, [len(order)]])
        for at in np.flatnonzero(np.diff(bounds) > 1):
            bucket = order[bounds[at] : bounds[at + 1]].tolist()
            if len(bucket) > _PROPOSED_WITHIN:
                bucket.sort(key=self._texts.__getitem__)
            yield bucket

    def _likely(self, pairs: Indices) -> Iterator[list[int]]:
        """The pairs that are worth verifying by what their signatures estimate."""
        for start in range(0, len(pairs), _CHUNK):
            some = pairs[start : start + _CHUNK]
            left, right = self._signatures[some[:, 0]], self._signatures[some[:, 1]]
            estimate = (left == right).mean(axis=1)
            yield from some[estimate >= NEAR - _ESTIMATE_SLACK].tolist()

    def _jaccard(self, one: int, other: int) -> float:
        left, right = self._set_of(one), self._set_of(other)
        return len(left & right) / len(left | right)

    def _set_of(self, place: int) -> frozenset[str]:
        return frozenset().union(*(self._shingles[word] for word in self._words[place]))


def _twos(bucket: Sequence[int]) -> Indices:
    """Every two of a bucket, or with very many each with some neighbours, shape (pairs, 2)."""
    count = len(bucket)
    reach = count - 1 if count <= _PROPOSED_WITHIN else _PROPOSED_WITHIN // 2
    places = np.array(bucket, dtype=np.int64)
    return np.concatenate(
        [np.stack([places[:-step], places[step:]], axis=1) for step in range(1, reach + 1)]
    )
