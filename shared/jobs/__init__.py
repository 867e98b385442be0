"""Work that waits in a table: training runs and small jobs, claimed by whoever comes first.

The row is the queue entry. A claim counts `attempt` up, and every later write names the attempt it
belongs to, so a worker that was believed dead cannot overwrite what its successor does.
"""

from shared.jobs.claiming import claim, finish, keep_log, release, renew, retry
from shared.jobs.fence import CHANNEL, FOREGROUND, STALE_AFTER_S, Control
from shared.jobs.placing import (
    DEFAULT_QUEUE,
    Placed,
    Placement,
    cancel,
    enqueue,
    pending_key,
    place,
    resume,
    start_foreground,
)
from shared.jobs.silence import mark_interrupted, requeue_interrupted

__all__ = [
    "CHANNEL",
    "DEFAULT_QUEUE",
    "FOREGROUND",
    "STALE_AFTER_S",
    "Control",
    "Placed",
    "Placement",
    "cancel",
    "claim",
    "enqueue",
    "finish",
    "keep_log",
    "mark_interrupted",
    "pending_key",
    "place",
    "release",
    "renew",
    "requeue_interrupted",
    "resume",
    "retry",
    "start_foreground",
]
