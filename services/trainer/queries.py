"""What the trainer reads: the posts that may be trained on, and what is known of datasets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    any_,
    cast,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, UUID, array, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.datasets import FeedbackRow, PreferenceRow
from shared.contracts.values import PersonKind
from shared.db.tables import (
    Consent,
    Dataset,
    Feedback,
    InteractionRecord,
    Preference,
    TrainingRun,
)
from shared.errors import NotFound

TRAINING = "training"

Post = type[Feedback] | type[Preference]


async def trainable_feedback(session: AsyncSession, project_id: int) -> list[FeedbackRow]:
    """Live, settled, consented feedback on whole responses, oldest first.

    The prompt and the response are the post's own, else those of its recorded interaction, whose
    consent then counts too. Feedback on single reasoning steps is not among it.
    """
    interaction = InteractionRecord
    joined = and_(
        col(interaction.project_id) == col(Feedback.project_id),
        col(interaction.interaction_id) == col(Feedback.interaction_id),
    )
    prompt = func.coalesce(col(Feedback.user_query), col(interaction.user_prompt))
    response = func.coalesce(col(Feedback.agent_response), col(interaction.ai_response))
    statement = (
        select(
            *_columns(Feedback),
            prompt.label("prompt"),
            response.label("response"),
            col(Feedback.rating),
            col(Feedback.human_rating),
            col(Feedback.thumbs),
            col(Feedback.corrected_response),
        )
        .join(interaction, joined, isouter=True)
        .where(
            *_may_be_trained_on(Feedback, project_id),
            col(Feedback.pending).is_(False),
            col(Feedback.step) == "",
            func.coalesce(col(interaction.consent_training), True),
            ~_has_withdrawn(PersonKind.SUBJECT, project_id, col(interaction.subjects)),
            prompt.is_not(None),
            response.is_not(None),
        )
        .order_by(col(Feedback.seq))
    )
    return [FeedbackRow(**row) for row in (await session.execute(statement)).mappings()]


async def trainable_preferences(session: AsyncSession, project_id: int) -> list[PreferenceRow]:
    """Live, settled, consented comparisons, oldest first."""
    statement = (
        select(
            *_columns(Preference),
            col(Preference.prompt),
            col(Preference.response_a),
            col(Preference.response_b),
            col(Preference.outcome),
            col(Preference.candidates),
            col(Preference.ranking),
            col(Preference.strength),
        )
        .where(*_may_be_trained_on(Preference, project_id))
        .order_by(col(Preference.seq))
    )
    return [PreferenceRow(**row) for row in (await session.execute(statement)).mappings()]


async def settled_before(session: AsyncSession) -> int:
    """The oldest transaction still open: rows of older ones are all there to be read."""
    return int(await session.scalar(select(cast(_oldest_open(), String))) or 0)


async def mark_processed(session: AsyncSession, seqs: Sequence[int]) -> None:
    """Set `processed` on these row versions, where they are still live."""
    for table in (Feedback, Preference):
        ids = (await session.scalars(_unprocessed(table, seqs))).all()
        await session.execute(
            update(table)
            .where(col(table.id) == any_(literal(list(ids), ARRAY(UUID))))
            .values(processed=True)
            .execution_options(synchronize_session=False)
        )


async def find_dataset(session: AsyncSession, dataset_id: int, project_id: int = 1) -> Dataset:
    """One frozen dataset.

    Raises:
        NotFound: the project has none of this number.
    """
    found = await session.get(Dataset, dataset_id)
    if found is None or found.project_id != project_id:
        raise NotFound(f"There is no dataset {dataset_id}; see `heed dataset list`.")
    return found


async def list_datasets(session: AsyncSession, project_id: int = 1) -> list[Dataset]:
    """Every frozen dataset, newest first."""
    statement = select(Dataset).where(col(Dataset.project_id) == project_id)
    return list(await session.scalars(statement.order_by(col(Dataset.id).desc())))


async def list_runs(session: AsyncSession, limit: int, project_id: int = 1) -> list[TrainingRun]:
    """The newest training runs, newest first."""
    statement = select(TrainingRun).where(col(TrainingRun.project_id) == project_id)
    newest = statement.order_by(col(TrainingRun.created_at).desc()).limit(limit)
    return list(await session.scalars(newest))


async def count_posts_of(session: AsyncSession, rater: str, project_id: int = 1) -> int:
    """How many live posts a rater has, by pseudonym."""
    counts = [
        await session.scalar(
            select(func.count())
            .select_from(table)
            .where(col(table.project_id) == project_id, col(table.clinician_id) == rater)
        )
        for table in (Feedback, Preference)
    ]
    return sum(count or 0 for count in counts)


def _columns(table: Post) -> list[Any]:
    return [
        col(table.seq),
        col(table.id),
        col(table.clinician_id).label("rater"),
        col(table.agent_name).label("agent"),
        col(table.task_type).label("task"),
        col(table.context),
    ]


def _may_be_trained_on(table: Post, project_id: int) -> list[Any]:
    return [
        col(table.project_id) == project_id,
        col(table.consent_training),
        col(table.xid) < _oldest_open(),
        ~_has_withdrawn(PersonKind.RATER, project_id, array([col(table.clinician_id)])),
        ~_has_withdrawn(PersonKind.SUBJECT, project_id, col(table.subjects)),
    ]


def _oldest_open() -> ColumnElement[int]:
    """Rows by transactions before this one are settled; a sequence or a clock would lose rows."""
    return func.pg_snapshot_xmin(func.pg_current_snapshot())


def _has_withdrawn(kind: PersonKind, project_id: int, people: Any) -> ColumnElement[bool]:
    """Whether the newest word of one of these people takes consent to training back."""
    newest = _newest_consents(kind, project_id).subquery()
    return (
        select(newest.c.person)
        .where(newest.c.granted.is_(False), newest.c.person == any_(people))
        .exists()
    )


def _newest_consents(kind: PersonKind, project_id: int) -> Select[str, bool]:
    return (
        select(col(Consent.person), col(Consent.granted))
        .where(
            col(Consent.project_id) == project_id,
            col(Consent.kind) == kind,
            col(Consent.purpose) == TRAINING,
        )
        .ext(distinct_on(col(Consent.person)))
        .order_by(col(Consent.person), col(Consent.created_at).desc(), col(Consent.id).desc())
    )


def _unprocessed(table: Post, seqs: Sequence[int]) -> Select[Any]:
    """Locked in the order of the natural key, as the feedback writer locks them."""
    key = [col(table.target), col(table.clinician_id)]
    if table is Feedback:
        key.insert(1, col(Feedback.step))
    return (
        select(col(table.id))
        .where(
            col(table.seq) == any_(literal(list(seqs), ARRAY(BIGINT))),
            col(table.processed).is_(False),
        )
        .order_by(*key)
        .with_for_update()
    )
