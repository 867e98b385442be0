"""What the reward service counts beside its requests, which `shared.web` counts."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.ml.embedding_cache import EmbeddingCache


class ServingMetrics:
    """The counters of one app, on its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        counter = partial(Counter, registry=registry)
        self.waiting_tokens = Gauge(
            "heed_reward_waiting_tokens",
            "Estimated tokens that no worker has taken yet, or that were turned away a moment ago.",
            registry=registry,
        )
        self.refused = counter(
            "heed_reward_refused", "Requests refused because too much waited already."
        )
        self.dropped = counter(
            "heed_reward_dropped",
            "Waiting pieces whose client had left or whose deadline had passed.",
        )
        self.batches = BatchMetrics(registry)
        self.workers_replaced = counter(
            "heed_reward_workers_replaced", "Scoring threads that died."
        )
        self.tokens = counter("heed_reward_tokens", "Tokens of the texts that were scored.")
        self.fallbacks = counter("heed_reward_fallbacks", "Replies given without a model.")
        self.loads = counter("heed_reward_model_loads", "Model versions read into memory.")
        self.load_failures = counter(
            "heed_reward_model_load_failures", "Model versions that could not be loaded."
        )
        self.evictions = counter(
            "heed_reward_model_evictions", "References that made room for others."
        )


class BatchMetrics:
    """What one worker scored at once, and how long it had waited."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = partial(Histogram, registry=registry)
        self.wait_seconds = histogram(
            "heed_reward_wait_seconds",
            "Time that pieces of requests waited for a worker.",
            buckets=(0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.tokens = histogram(
            "heed_reward_batch_tokens",
            "Estimated tokens scored at once.",
            buckets=(32, 64, 128, 256, 512, 1024, 2048),
        )
        self.pairs = histogram(
            "heed_reward_batch_pairs",
            "Pairs of prompt and response scored at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self.seconds = histogram(
            "heed_reward_batch_seconds",
            "Time one worker needed for one batch.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )


class InMemory(NamedTuple):
    """One model version and its weights in memory; models that share an encoder each count it."""

    project_id: int
    name: str
    version: int
    bytes: int


class MemoryCollector(Collector):
    """Reads, when metrics are asked for, what models and remembered vectors hold in memory."""

    def __init__(self, models: Callable[[], Iterable[InMemory]], cache: EmbeddingCache) -> None:
        self._models = models
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        loaded = GaugeMetricFamily(
            "heed_reward_model_bytes",
            "Weights of each model version in memory; a shared encoder counts in each.",
            labels=("project", "model", "version"),
        )
        for model in self._models():
            labels = (str(model.project_id), model.name, str(model.version))
            loaded.add_metric(labels, model.bytes)
        yield loaded
        yield from self._of_cache()

    def _of_cache(self) -> Iterator[Metric]:
        cache = self._cache
        yield CounterMetricFamily(
            "heed_reward_cache_hits", "Texts whose vectors were remembered.", cache.hits
        )
        yield CounterMetricFamily(
            "heed_reward_cache_misses", "Texts that had to be encoded.", cache.misses
        )
        yield GaugeMetricFamily(
            "heed_reward_cache_bytes", "Memory of remembered vectors.", cache.held_bytes
        )
