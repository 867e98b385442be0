"""Which stored rows may be trained on: by what they say themselves, and by what people said since.

Training and exports ask the same question here, in SQL, so that they never differ.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, any_, func, select
from sqlalchemy.dialects.postgresql import array, distinct_on
from sqlmodel import col

from shared.contracts.values import PersonKind
from shared.db.tables import Consent, Feedback, InteractionRecord, Preference

TRAINING = "training"


def consented_posts(
    table: type[Feedback] | type[Preference], project_id: int
) -> list[ColumnElement[bool]]:
    """The posts of a project whose rater and subjects allow training."""
    rater = array([col(table.clinician_id)])
    return [
        *_consented(table, project_id),
        ~has_withdrawn(PersonKind.RATER, project_id, rater),
    ]


def consented_interactions(project_id: int) -> list[ColumnElement[bool]]:
    """The recorded interactions of a project whose subjects allow training."""
    return _consented(InteractionRecord, project_id)


def has_withdrawn(kind: PersonKind, project_id: int, people: Any) -> ColumnElement[bool]:
    """Whether the newest word of one of these people takes consent to training back."""
    newest = _newest_consents(kind, project_id).subquery()
    return (
        select(newest.c.person)
        .where(newest.c.granted.is_(False), newest.c.person == any_(people))
        .exists()
    )


def oldest_open() -> ColumnElement[int]:
    """Rows by transactions before this one are settled; a sequence or a clock would lose rows."""
    return func.pg_snapshot_xmin(func.pg_current_snapshot())


def _consented(table: Any, project_id: int) -> list[ColumnElement[bool]]:
    return [
        col(table.project_id) == project_id,
        col(table.consent_training).is_(True),
        ~has_withdrawn(PersonKind.SUBJECT, project_id, col(table.subjects)),
    ]


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
