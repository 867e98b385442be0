"""What the reward service counts beside its requests, which `shared.web` counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ServingMetrics:
    """The counters of one app, on its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting_tokens = Gauge(
            "heed_reward_waiting_tokens",
            "Estimated tokens that no worker has taken yet.",
            registry=registry,
        )
        self.refused = Counter(
            "heed_reward_refused", "Requests refused because the queue was full.", registry=registry
        )
        self.dropped = Counter(
            "heed_reward_dropped",
            "Waiting pieces whose client had left or whose deadline had passed.",
            registry=registry,
        )
        self.workers_replaced = Counter(
            "heed_reward_workers_replaced", "Scoring threads that died.", registry=registry
        )
        self.batch_tokens = Histogram(
            "heed_reward_batch_tokens",
            "Estimated tokens scored at once.",
            buckets=(32, 64, 128, 256, 512, 1024, 2048),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "heed_reward_batch_seconds",
            "Time one worker needed for one batch.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self.tokens = Counter("heed_reward_tokens", "Tokens read by models.", registry=registry)
        self.fallbacks = Counter(
            "heed_reward_fallbacks", "Replies given without a model.", registry=registry
        )
        self.loads = Counter(
            "heed_reward_model_loads", "Model versions read into memory.", registry=registry
        )
        self.load_failures = Counter(
            "heed_reward_model_load_failures",
            "Model versions that could not be loaded.",
            registry=registry,
        )
