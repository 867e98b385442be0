"""A durable outbox: posts go to disk at once and to the service when it can be reached."""

from heed_client.outbox.outbox import Counters, Outbox
from heed_client.outbox.records import Dropped, Refused

__all__ = ["Counters", "Dropped", "Outbox", "Refused"]
