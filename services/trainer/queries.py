"""What the trainer reads: the posts that may be trained on, and what is known of datasets."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Select,
    String,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, UUID
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.datasets import FeedbackRow, PreferenceRow, StepRow
from shared.contracts.values import PersonKind, RunStatus, Side
from shared.db.consents import consented_posts, has_withdrawn, oldest_open
from shared.db.tables import (
    Dataset,
    Feedback,
    InteractionRecord,
    Preference,
    PromptGroup,
    ReasoningStep,
    TrainingRun,
)
from shared.errors import NotFound
from shared.privacy.fields import FieldCipher

Post = type[Feedback] | type[Preference]
_PORTION = 1000
_SAID = ("rlhf_feedback", "rlhf_interaction_records")


class RecordedStep(NamedTuple):
    """One recorded reasoning step; its text is None when its key was destroyed."""

    id: str
    order: int
    text: str | None


async def trainable_feedback(
    session: AsyncSession, project_id: int, cipher: FieldCipher, *, newest: int | None = None
) -> list[FeedbackRow]:
    """Live, settled, consented feedback on whole responses, oldest first, its texts opened.

    All of it, or so many of the newest.

    The prompt and the response are the post's own, else those of its recorded interaction, whose
    consent then counts too. Feedback on single reasoning steps is not among it, nor is what lost a
    text to a destroyed key.
    """
    own_response = col(Feedback.agent_response)
    response = case((own_response.is_(None), col(InteractionRecord.ai_response)))
    statement = _said_of_prompts(
        project_id,
        own_response,
        response.label("ai_response"),
        col(Feedback.corrected_response),
        col(Feedback.aspects),
    ).where(
        col(Feedback.step) == "",
        func.coalesce(own_response, response).is_not(None),
    )
    some = _newest(statement, Feedback, newest)
    return [_feedback_row(**row) for row in await _opened(session, some, _SAID, cipher)]


async def trainable_steps(
    session: AsyncSession, project_id: int, cipher: FieldCipher
) -> list[StepRow]:
    """Live, settled, consented feedback on single reasoning steps, oldest first, texts opened.

    The text of the step is the post's own, else that of the recorded step it names; the steps
    before it are the recorded ones of its interaction. A step of which the prompt, its own text or
    an earlier step's is unknown or lost to a destroyed key is left out.
    """
    statement = _said_of_prompts(
        project_id,
        col(Feedback.interaction_id),
        col(Feedback.step_id),
        col(Feedback.step_order),
        col(Feedback.step_content),
    ).where(col(Feedback.step) != "")
    rows = await _opened(session, statement, _SAID, cipher)
    chats = {row["interaction_id"] for row in rows} - {None}
    recorded = await _recorded_steps(session, project_id, chats, cipher)
    found = [_step_row(recorded.get(row.pop("interaction_id"), ()), **row) for row in rows]
    return [row for row in found if row is not None]


def _said_of_prompts(project_id: int, *columns: Any) -> Select[Any]:
    """Feedback that may be trained on, with its prompt, its ratings and some further columns."""
    interaction = InteractionRecord
    joined = and_(
        col(interaction.project_id) == col(Feedback.project_id),
        col(interaction.interaction_id) == col(Feedback.interaction_id),
    )
    own_prompt = col(Feedback.user_query)
    prompt = case((own_prompt.is_(None), col(interaction.user_prompt)))
    return (
        select(
            *_columns(Feedback),
            own_prompt,
            prompt.label("user_prompt"),
            col(Feedback.rating),
            col(Feedback.human_rating),
            col(Feedback.thumbs),
            *columns,
        )
        .join(interaction, joined, isouter=True)
        .where(
            *_may_be_trained_on(Feedback, project_id),
            col(Feedback.pending).is_(False),
            func.coalesce(col(interaction.consent_training), True),
            ~has_withdrawn(PersonKind.SUBJECT, project_id, col(interaction.subjects)),
            func.coalesce(own_prompt, prompt).is_not(None),
        )
        .order_by(col(Feedback.seq))
    )


def _feedback_row(
    *,
    user_query: str | None,
    agent_response: str | None,
    user_prompt: str | None,
    ai_response: str | None,
    **row: Any,
) -> FeedbackRow:
    prompt = user_prompt if user_query is None else user_query
    response = ai_response if agent_response is None else agent_response
    return FeedbackRow(prompt=prompt or "", response=response or "", **row)


def _step_row(
    recorded: Sequence[RecordedStep],
    *,
    step_id: str | None,
    step_order: int | None,
    step_content: str | None,
    user_query: str | None,
    user_prompt: str | None,
    **row: Any,
) -> StepRow | None:
    """A rated step with the steps before it; None when a text of them is not to be had."""
    named = [step for step in recorded if step_id in (None, step.id)]
    if step_id is None:
        named = [step for step in named if step.order == step_order]
    step = named[0] if named else None
    order = step.order if step else step_order
    text = step_content if step_content is not None else step and step.text
    before = [one.text for one in recorded if order is not None and one.order < order]
    earlier = tuple(one for one in before if one is not None)
    if text is None or len(earlier) < len(before):
        return None
    prompt = user_prompt if user_query is None else user_query
    return StepRow(prompt=prompt or "", response=text, earlier=earlier, **row)


async def _recorded_steps(
    session: AsyncSession, project_id: int, chats: Collection[str], cipher: FieldCipher
) -> dict[str, list[RecordedStep]]:
    """The recorded reasoning behind some interactions, in order; a lost text is None."""
    columns = (ReasoningStep.chat_id, ReasoningStep.id, ReasoningStep.step_order)
    statement = (
        select(*map(col, columns), col(ReasoningStep.project_id), col(ReasoningStep.step_content))
        .where(
            col(ReasoningStep.project_id) == project_id,
            col(ReasoningStep.chat_id) == any_(literal(sorted(chats), ARRAY(String))),
        )
        .order_by(col(ReasoningStep.chat_id), col(ReasoningStep.step_order))
    )
    found = [dict(row) for row in (await session.execute(statement)).mappings()]
    for at in range(0, len(found), _PORTION):
        await cipher.unseal("reasoning_steps", found[at : at + _PORTION])
    steps: dict[str, list[RecordedStep]] = defaultdict(list)
    for row in found:
        step = RecordedStep(row["id"], row["step_order"], row["step_content"])
        steps[row["chat_id"]].append(step)
    return steps


async def trainable_preferences(
    session: AsyncSession, project_id: int, cipher: FieldCipher, *, newest: int | None = None
) -> list[PreferenceRow]:
    """Live, settled, consented comparisons that lost no text, oldest first, their texts opened.

    All of them, or so many of the newest.
    """
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
            col(Preference.presented_order),
        )
        .where(*_may_be_trained_on(Preference, project_id))
        .order_by(col(Preference.seq))
    )
    some = _newest(statement, Preference, newest)
    rows = await _opened(session, some, ("rlhf_preferences",), cipher)
    return [PreferenceRow(**row) for row in rows]


def _newest(statement: Select[Any], table: Post, newest: int | None) -> Select[Any]:
    """Of these rows so many of the newest, still oldest first; all for None."""
    if newest is None:
        return statement
    last = statement.order_by(None).order_by(col(table.seq).desc()).limit(newest).subquery()
    return select(last).order_by(last.c.seq)


async def _opened(
    session: AsyncSession, statement: Select[Any], tables: Sequence[str], cipher: FieldCipher
) -> list[dict[str, Any]]:
    """The rows with their texts of these tables opened, without those that lost one."""
    found = [dict(row) for row in (await session.execute(statement)).mappings()]
    kept: list[dict[str, Any]] = []
    for at in range(0, len(found), _PORTION):
        portion = found[at : at + _PORTION]
        lost = [await cipher.unseal(table, portion) for table in tables]
        gone = set[int]().union(*lost)
        kept += [row for place, row in enumerate(portion) if place not in gone]
    for row in kept:
        del row["project_id"]
    return kept


async def settled_before(session: AsyncSession) -> int:
    """The oldest transaction still open: rows of older ones are all there to be read."""
    return int(await session.scalar(select(cast(oldest_open(), String))) or 0)


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


async def groups_trained_on(session: AsyncSession, project_id: int = 1) -> set[bytes]:
    """The prompt groups on the training side, by their keyed hashes."""
    statement = select(col(PromptGroup.group_hash)).where(
        col(PromptGroup.project_id) == project_id, col(PromptGroup.side) == Side.TRAIN
    )
    return set(await session.scalars(statement))


async def list_runs(session: AsyncSession, limit: int, project_id: int = 1) -> list[TrainingRun]:
    """The newest training runs, newest first."""
    statement = select(TrainingRun).where(col(TrainingRun.project_id) == project_id)
    newest = statement.order_by(col(TrainingRun.created_at).desc()).limit(limit)
    return list(await session.scalars(newest))


async def kind_of_run(session: AsyncSession, run_id: uuid.UUID) -> str | None:
    """Which recipe a run follows; None when there is no such run."""
    found = select(col(TrainingRun.kind)).where(col(TrainingRun.id) == run_id)
    kind: str | None = await session.scalar(found)
    return kind


async def unfinished_in(session: AsyncSession, queue: str) -> uuid.UUID | None:
    """The oldest run of a queue that waits, or that a worker will take up again; None without."""
    status = col(TrainingRun.status)
    is_taken_up = and_(
        status.in_([RunStatus.RUNNING, RunStatus.INTERRUPTED]),
        col(TrainingRun.attempt) < col(TrainingRun.max_attempts),
        col(TrainingRun.cancel_requested).is_(False),
    )
    found = select(col(TrainingRun.id)).where(
        col(TrainingRun.queue) == queue, or_(status == RunStatus.QUEUED, is_taken_up)
    )
    oldest: uuid.UUID | None = await session.scalar(found.order_by(col(TrainingRun.id)).limit(1))
    return oldest


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
        col(table.project_id),
        col(table.clinician_id).label("rater"),
        col(table.agent_name).label("agent"),
        col(table.task_type).label("task"),
        col(table.context),
        col(table.timestamp).label("at"),
    ]


def _may_be_trained_on(table: Post, project_id: int) -> list[Any]:
    return [*consented_posts(table, project_id), col(table.xid) < oldest_open()]


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
