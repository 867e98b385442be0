"""Vectors of texts that were encoded a moment ago: the same prompt comes again and again.

It holds vectors under keyed hashes of token ids, in memory only, and no text. What an encoder gave
goes when the encoder goes; models that share an encoder share what it gave.
"""

import hashlib
import secrets
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from itertools import count
from typing import NamedTuple
from weakref import WeakSet, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from shared.ml.encoder import Encoder, WrappedEncoder

Vectors = NDArray[np.float32]
Read = Callable[[Sequence[Sequence[int]]], Vectors]

_ENTRY_BYTES = 400  # of an entry beside its vector: key, places in dictionaries, array header


class _Kept(NamedTuple):
    """One text's vectors, and when they were last asked for."""

    vectors: Vectors
    used: int


class _Coming(NamedTuple):
    """One text's place among the vectors that some thread computes now."""

    computed: Future[Vectors]
    row: int


class _Here(threading.local):
    """What one thread did."""

    remembered_tokens = 0


class Shelf:
    """What one encoder gave; dies with it. Guarded by its cache's lock."""

    def __init__(self) -> None:
        self.kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self.coming: dict[bytes, _Coming] = {}
        self.bytes = 0

    @property
    def oldest(self) -> int:
        """When the entry that was asked for longest ago was asked for."""
        return next(iter(self.kept.values())).used

    def drop_oldest(self) -> None:
        """Forget the entry that was asked for longest ago."""
        _, kept = self.kept.popitem(last=False)
        self.bytes -= _size(kept.vectors)


class EmbeddingCache:
    """Bounds the memory of all encoders' vectors together; the longest unused go first."""

    def __init__(self, capacity_bytes: int) -> None:
        """Keep at most so many bytes; 0 keeps nothing, but joins texts that two threads read."""
        self.capacity_bytes = capacity_bytes
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._here = _Here()
        self._clock = count()
        self._secret = secrets.token_bytes(16)
        self._shelves: WeakSet[Shelf] = WeakSet()
        self._encoders: WeakValueDictionary[int, CachedEncoder] = WeakValueDictionary()

    def wrap(self, encoder: Encoder) -> Encoder:
        """The encoder behind this cache; the same one for the same encoder."""
        name = id(encoder)  # held by what stands for it here, so that no other gets the number
        with self._lock:
            found = self._encoders.get(name)
            if found is None:
                shelf = Shelf()
                self._shelves.add(shelf)
                found = self._encoders[name] = CachedEncoder(encoder, self, shelf)
            return found

    @property
    def remembered_here(self) -> int:
        """Tokens that the calling thread did not have to read since it began."""
        return self._here.remembered_tokens

    @property
    def held_bytes(self) -> int:
        """Memory that vectors take now."""
        with self._lock:
            return self._held_bytes()

    def read(
        self, shelf: Shelf, kind: bytes, token_ids: Sequence[Sequence[int]], read: Read
    ) -> Vectors:
        """Vectors of rows of ids: kept ones, those another thread computes now, new ones."""
        keys = [self._key(kind, ids) for ids in token_ids]
        ids_by_key = dict(zip(keys, token_ids, strict=True))
        ours: Future[Vectors] = Future()
        mine: list[bytes] = []
        try:
            found, theirs = self._claim(shelf, ids_by_key, ours, mine)
            self._here.remembered_tokens += sum(len(ids_by_key[key]) for key in found)
            if mine:
                ours.set_result(read([ids_by_key[key] for key in mine]))
        finally:
            self._settle(shelf, mine, ours)
        if mine:
            found.update(zip(mine, ours.result(), strict=True))
        for key, coming in theirs.items():
            found[key] = _awaited(coming, ids_by_key[key], read)
        return np.stack([found[key] for key in keys])

    def _key(self, kind: bytes, ids: Sequence[int]) -> bytes:
        content = array("i", ids).tobytes()
        return hashlib.blake2b(content, digest_size=16, key=self._secret, person=kind).digest()

    def _claim(
        self, shelf: Shelf, keys: Iterable[bytes], ours: Future[Vectors], mine: list[bytes]
    ) -> tuple[dict[bytes, Vectors], dict[bytes, _Coming]]:
        """What is kept and what others compute now; the rest is added to `mine`."""
        found: dict[bytes, Vectors] = {}
        theirs: dict[bytes, _Coming] = {}
        with self._lock:
            for key in keys:
                if (kept := shelf.kept.get(key)) is not None:
                    found[key] = kept.vectors
                    shelf.kept[key] = kept._replace(used=next(self._clock))
                    shelf.kept.move_to_end(key)
                elif (coming := shelf.coming.get(key)) is not None:
                    theirs[key] = coming
                else:
                    mine.append(key)
                    shelf.coming[key] = _Coming(ours, len(mine) - 1)
            self.hits += len(found) + len(theirs)
            self.misses += len(mine)
        return found, theirs

    def _settle(self, shelf: Shelf, mine: Sequence[bytes], ours: Future[Vectors]) -> None:
        """Keep what was computed; without it, whoever waits for it has to compute it itself."""
        is_done = not ours.cancel()
        with self._lock:
            for row, key in enumerate(mine):
                shelf.coming.pop(key, None)
                if is_done:
                    self._keep(shelf, key, ours.result()[row])

    def _keep(self, shelf: Shelf, key: bytes, vectors: Vectors) -> None:
        if _size(vectors) > self.capacity_bytes:
            return
        copied = vectors.copy()  # a view would hold the whole batch
        shelf.kept[key] = _Kept(copied, next(self._clock))
        shelf.bytes += _size(copied)
        while self._held_bytes() > self.capacity_bytes:
            min((other for other in self._shelves if other.kept), key=_age).drop_oldest()

    def _held_bytes(self) -> int:
        return sum(shelf.bytes for shelf in self._shelves)


class CachedEncoder(WrappedEncoder):
    """An encoder that remembers; see `shared.ml.encoder.Encoder`."""

    def __init__(self, encoder: Encoder, cache: EmbeddingCache, shelf: Shelf) -> None:
        super().__init__(encoder)
        self._cache = cache
        self._shelf = shelf

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Embeddings of rows of ids (special tokens included), shape (n, dim)."""
        return self._read(b"embed", token_ids, self.encoder.embed)

    def views(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Embedding, middle and peak of rows of ids, shape (n, VIEWS, dim)."""
        return self._read(b"views", token_ids, self.encoder.views)

    def _read(self, kind: bytes, token_ids: Sequence[Sequence[int]], read: Read) -> Vectors:
        if not token_ids:
            return read(token_ids)
        return self._cache.read(self._shelf, kind, token_ids, read)


def _awaited(coming: _Coming, ids: Sequence[int], read: Read) -> Vectors:
    """What another thread computes; if it failed, the error may be another text's, so try alone."""
    try:
        found: Vectors = coming.computed.result()[coming.row]
    except CancelledError:
        found = read([ids])[0]
    return found


def _size(vectors: Vectors) -> int:
    return vectors.nbytes + _ENTRY_BYTES


def _age(shelf: Shelf) -> int:
    return shelf.oldest
