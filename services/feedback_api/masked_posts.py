"""The stage that masks posts, or refuses those that hold personal data.

It fails closed: a post whose masking fails is refused, never stored as it came. The MACs of the
body and of the target were taken before, of the raw text.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter

from services.feedback_api.admission import Stage
from services.feedback_api.config import FeedbackSettings
from services.feedback_api.masking.pool import MaskingPool
from services.feedback_api.masking.rows import Row, to_mask
from services.feedback_api.writer import Post
from shared.errors import Detail, InvalidInput, PersonalData
from shared.web.problems import MAX_ERRORS, json_pointer


class MaskingMetrics:
    """How much was masked, blocked or failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entities = Counter(
            "heed_masked_entities_total",
            "Entities found in posts, by kind.",
            ["kind"],
            registry=registry,
        )
        self.blocked = Counter(
            "heed_masking_blocked_posts_total",
            "Posts refused because they hold personal data.",
            registry=registry,
        )
        self.failures = Counter(
            "heed_masking_failures_total",
            "Failures of the masker by reason; the posts concerned were refused.",
            ["reason"],
            registry=registry,
        )

    def fail(self, reason: str) -> None:
        """Count one failure."""
        self.failures.labels(reason).inc()


@asynccontextmanager
async def masking(
    settings: FeedbackSettings, registry: CollectorRegistry
) -> AsyncIterator[tuple[Stage, ...]]:
    """The masking stage with its processes running; no stage when masking is off."""
    if settings.masking == "off":
        yield ()
        return
    metrics = MaskingMetrics(registry)
    pool = MaskingPool(
        processes=settings.masking_processes,
        budget_s=settings.masking_budget_s,
        max_pending=settings.feedback_max_pending,
        on_failure=metrics.fail,
    )
    async with pool.running():
        yield (MaskingStage(pool, metrics, blocks=settings.masking == "block"),)


class MaskingStage:
    """Masks a post's row in place, or refuses the post."""

    def __init__(self, pool: MaskingPool, metrics: MaskingMetrics, *, blocks: bool) -> None:
        self._pool = pool
        self._metrics = metrics
        self._blocks = blocks

    async def __call__(self, post: Post) -> None:
        """Change the post's row to what may be stored.

        Raises:
            PersonalData: it holds an identifier and this deployment blocks those.
            InvalidInput: it annotates a response that it does not hold.
            MaskingUnavailable, Overloaded: it could not be masked; nothing is stored.
        """
        _require_response(post.row)
        result = await self._pool.mask(to_mask(post.row))
        for kind, count in result["found"].items():
            self._metrics.entities.labels(kind).inc(count)
        if self._blocks and result["places"]:
            self._metrics.blocked.inc()
            raise _personal_data(result["places"])
        post.row.update(result["changed"])


def _require_response(row: Row) -> None:
    """Refuse spans whose offsets nobody could move: the stored response may be a masked one."""
    if row.get("annotations") and row.get("agent_response") is None:
        detail = "Send the response with its annotations, so that masking can move them"
        raise InvalidInput(
            f"Correct /annotations: {detail}.",
            errors=(Detail("/annotations", "response_missing", detail),),
        )


def _personal_data(places: list[tuple[list[int | str], str]]) -> PersonalData:
    wrong = dict.fromkeys((json_pointer(path), kind) for path, kind in places)
    details = tuple(
        Detail(pointer, f"personal_data_{kind.lower()}", f"Holds an entity of kind {kind}")
        for pointer, kind in wrong
    )
    named = ", ".join(dict.fromkeys(detail.pointer for detail in details[:3]))
    return PersonalData(
        f"Remove personal data from {named}; nothing of the post was stored.",
        errors=details[:MAX_ERRORS],
    )
