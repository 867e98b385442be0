"""Erasing people, and rows that were kept long enough.

`holdings` finds and locks, `removal` deletes, `recording` leaves row, receipt, audit entry and
job, `requests` puts them together for a person, `retention` for old rows; `taint` says what
becomes of models, `hourly` keeps what was promised for later.
"""

from services.feedback_api.erasure.holdings import Person
from services.feedback_api.erasure.requests import (
    Asked,
    erase_person,
    find_erasure,
    list_erasures,
)
from services.feedback_api.erasure.taint import ErasurePolicy, apply_policy

__all__ = [
    "Asked",
    "ErasurePolicy",
    "Person",
    "apply_policy",
    "erase_person",
    "find_erasure",
    "list_erasures",
]
