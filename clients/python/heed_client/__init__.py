"""Sends human feedback to Heed; see `Heed` and `AsyncHeed`."""

from heed_client.client import AsyncHeed, Heed
from heed_client.errors import (
    HeedError,
    HeedMisuse,
    HeedProblem,
    HeedUnreachable,
    Problem,
    WrongPlace,
)
from heed_client.fields import (
    Candidate,
    Correction,
    ProofreadingCorrection,
    RagCorrection,
    Span,
    TextCorrection,
    TracingCorrection,
)
from heed_client.outbox import Counters, Dropped, Outbox, Refused

__all__ = [
    "AsyncHeed",
    "Candidate",
    "Correction",
    "Counters",
    "Dropped",
    "Heed",
    "HeedError",
    "HeedMisuse",
    "HeedProblem",
    "HeedUnreachable",
    "Outbox",
    "Problem",
    "ProofreadingCorrection",
    "RagCorrection",
    "Refused",
    "Span",
    "TextCorrection",
    "TracingCorrection",
    "WrongPlace",
]
