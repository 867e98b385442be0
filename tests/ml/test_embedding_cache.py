"""What is remembered of encoded texts, for how long, and what happens between threads.

The encoder stands where a processor stands: it can be held, broken, and counted.
"""

import gc
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from shared.ml.embedding_cache import EmbeddingCache
from shared.ml.encoder import VIEWS, Encoder

DIM = 4
ENTRY = VIEWS * DIM * 4 + 400


class CountingEncoder:
    """Vectors made of the ids themselves; remembers what it was asked; waits while `go` is off."""

    engine = "counting"
    dim = DIM
    max_tokens = 512

    def __init__(self, sha256: str = "0" * 64) -> None:
        self.sha256 = sha256
        self.tokenizer = object()
        self.asked: list[tuple[int, ...]] = []
        self.has_begun = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.error: BaseException | None = None

    def embed(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        return self.views(token_ids)[:, 0] + 0.5

    def views(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        self.asked += [tuple(ids) for ids in token_ids]
        self.has_begun.set()
        self.go.wait(20)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        sums = [[[sum(ids) * 10 + view] * DIM for view in range(VIEWS)] for ids in token_ids]
        return np.array(sums, dtype=np.float32).reshape(len(token_ids), VIEWS, DIM)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


def read(encoder: Encoder, *texts: Sequence[int]) -> list[float]:
    """The first number of each text's vectors."""
    return encoder.views(texts)[:, 0, 0].tolist()


def test_a_text_that_comes_again_is_not_encoded_again(encoder):
    cache = EmbeddingCache(10_000)
    cached = cache.wrap(encoder)

    first = cached.views([[1, 2], [3]])
    again = cached.views([[3], [4], [1, 2]])

    assert encoder.asked == [(1, 2), (3,), (4,)]
    assert np.array_equal(again[[2, 0]], first)
    assert again[1, :, 0].tolist() == [40, 41, 42]
    assert (cache.hits, cache.misses) == (2, 3)


def test_a_thread_knows_how_much_it_did_not_have_to_read(encoder):
    cache = EmbeddingCache(10_000)
    cached = cache.wrap(encoder)
    read(cached, [1, 2, 3], [4])
    counts = [cache.remembered_here]

    read(cached, [4], [1, 2, 3], [5])
    elsewhere = threading.Thread(target=lambda: counts.append(cache.remembered_here))
    elsewhere.start()
    elsewhere.join()

    assert [*counts, cache.remembered_here] == [0, 0, 4]


def test_equal_texts_of_one_call_are_encoded_once(encoder):
    cached = EmbeddingCache(10_000).wrap(encoder)

    assert read(cached, [5], [6], [5]) == [50, 60, 50]
    assert encoder.asked == [(5,), (6,)]


def test_embeddings_and_views_of_a_text_are_two_things(encoder):
    cached = EmbeddingCache(10_000).wrap(encoder)

    views, embedding = cached.views([[7]]), cached.embed([[7]])

    assert views.shape == (1, VIEWS, DIM)
    assert embedding.tolist() == [[70.5] * DIM]


def test_no_text_gives_no_vector(encoder):
    cached = EmbeddingCache(10_000).wrap(encoder)

    assert cached.views([]).shape == (0, VIEWS, DIM)


def test_memory_is_bounded_and_the_longest_unused_goes_first(encoder):
    cache = EmbeddingCache(3 * ENTRY)
    cached = cache.wrap(encoder)
    read(cached, [1], [2], [3])
    read(cached, [1])

    read(cached, [4])
    encoder.asked.clear()
    read(cached, [1], [3], [4])
    read(cached, [2])

    assert cache.held_bytes == 3 * ENTRY
    assert encoder.asked == [(2,)]


def test_what_is_kept_does_not_hold_the_batch_it_came_in(encoder):
    cache = EmbeddingCache(10_000)
    cached = cache.wrap(encoder)
    read(cached, [1], [2])

    found = cached.views([[1]])
    found += 1

    assert read(cached, [1]) == [10]


def test_a_cache_of_no_bytes_keeps_nothing(encoder):
    cache = EmbeddingCache(0)
    cached = cache.wrap(encoder)

    read(cached, [1])

    assert read(cached, [1]) == [10]
    assert encoder.asked == [(1,), (1,)]
    assert cache.held_bytes == 0


@pytest.mark.parametrize("capacity_bytes", [0, 10_000])
def test_a_text_that_two_threads_read_at_once_is_encoded_once(encoder, capacity_bytes):
    cached = EmbeddingCache(capacity_bytes).wrap(encoder)
    encoder.go.clear()
    found: dict[str, list[float]] = {}

    def ask(name: str, *texts: Sequence[int]) -> threading.Thread:
        encoder.has_begun.clear()
        work = threading.Thread(target=lambda: found.update({name: read(cached, *texts)}))
        work.start()
        assert encoder.has_begun.wait(20)
        return work

    threads = [ask("first", [1], [2]), ask("second", [1], [3])]
    encoder.go.set()
    for thread in threads:
        thread.join(20)

    assert found == {"first": [10, 20], "second": [10, 30]}
    assert encoder.asked == [(1,), (2,), (3,)]


@pytest.mark.parametrize("error", [ValueError("cannot encode this"), SystemExit()])
def test_who_waits_for_a_thread_that_fails_encodes_the_text_itself(encoder, error):
    cached = EmbeddingCache(10_000).wrap(encoder)
    encoder.go.clear()
    encoder.error = error
    failed: list[BaseException] = []
    found: list[float] = []

    def fail() -> None:
        try:
            read(cached, [1])
        except (ValueError, SystemExit) as raised:
            failed.append(raised)

    first = threading.Thread(target=fail)
    first.start()
    assert encoder.has_begun.wait(20)
    second = threading.Thread(target=lambda: found.extend(read(cached, [1])))
    second.start()
    second.join(0.1)
    encoder.go.set()
    first.join(20)
    second.join(20)

    assert failed == [error]
    assert found == [10]


def test_one_encoder_has_one_cache_and_another_has_its_own(encoder):
    cache = EmbeddingCache(10_000)
    other = CountingEncoder(sha256="1" * 64)
    cached = cache.wrap(encoder)

    read(cached, [1])
    read(cache.wrap(encoder), [1])
    read(cache.wrap(other), [1])

    assert cache.wrap(encoder) is cached
    assert (encoder.asked, other.asked) == ([(1,)], [(1,)])


def test_vectors_go_with_their_encoder(encoder):
    cache = EmbeddingCache(10_000)
    other = CountingEncoder(sha256="1" * 64)
    cached, another = cache.wrap(encoder), cache.wrap(other)
    read(cached, [1], [2])
    read(another, [3])

    del cached
    gc.collect()

    assert cache.held_bytes == ENTRY
    assert read(cache.wrap(encoder), [1]) == [10]
    assert encoder.asked == [(1,), (2,), (1,)]


def test_the_bound_holds_over_all_encoders_together(encoder):
    cache = EmbeddingCache(2 * ENTRY)
    cached, another = cache.wrap(encoder), cache.wrap(CountingEncoder(sha256="1" * 64))

    read(cached, [1])
    read(another, [2])
    read(another, [3])

    assert cache.held_bytes == 2 * ENTRY
    read(cached, [1])
    assert encoder.asked == [(1,), (1,)]
