"""The closed sets of values that wire shapes and CHECK constraints share."""

from enum import StrEnum


class Thumb(StrEnum):
    UP = "up"
    DOWN = "down"


class FeedbackType(StrEnum):
    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"


class Outcome(StrEnum):
    """What a comparison said; `preferred` repeats it for a and b only."""

    A = "a"
    B = "b"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    RANKING = "ranking"


class Side(StrEnum):
    TRAIN = "train"
    TEST = "test"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class PersonKind(StrEnum):
    """Who can give consent and be erased: who rated, or whom the text is about."""

    RATER = "rater"
    SUBJECT = "subject"


class ErasureKind(StrEnum):
    """Why rows were erased: a person asked for it, or they had been kept long enough."""

    RATER = "rater"
    SUBJECT = "subject"
    RETENTION = "retention"


class Event(StrEnum):
    """What the outbox tells; webhooks hand it out."""

    FEEDBACK_CREATED = "feedback.created"
    PREFERENCE_CREATED = "preference.created"
    DATASET_FROZEN = "dataset.frozen"
    SUBJECT_ERASED = "subject.erased"
    MONITORING_WARNED = "monitoring.warned"


class RolloutStatus(StrEnum):
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
