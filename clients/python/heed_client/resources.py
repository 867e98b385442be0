"""The methods of both clients, side by side."""

from heed_client import calls, reading
from heed_client.surface import AsyncListed, AsyncResource, Awaited, Listed, Resource, Sent


class Judged(Resource):
    """Ways to say what a person thinks of a response."""

    thumbs = Sent(calls.thumbs)
    stars = Sent(calls.stars)
    rating = Sent(calls.rating)
    comment = Sent(calls.comment)
    correction = Sent(calls.correction)
    annotate = Sent(calls.annotate)
    aspects = Sent(calls.aspects)
    implicit = Sent(calls.implicit)
    send = Sent(calls.send)


class Feedback(Judged):
    """Posts feedback and comparisons, and reads them."""

    batch = Sent(calls.batch)
    prefer = Sent(calls.prefer)
    list = Listed(reading.list_feedback)
    get = Sent(reading.get_feedback)
    list_preferences = Listed(reading.list_preferences)
    get_preference = Sent(reading.get_preference)


class Interactions(Resource):
    """Records exchanges and their reasoning steps, and reads them."""

    record = Sent(calls.record)
    record_steps = Sent(calls.record_steps)
    list = Listed(reading.list_interactions)
    get = Sent(reading.get_interaction)
    steps = Sent(reading.get_steps)


class AsyncJudged(AsyncResource):
    """Ways to say what a person thinks of a response."""

    thumbs = Awaited(calls.thumbs)
    stars = Awaited(calls.stars)
    rating = Awaited(calls.rating)
    comment = Awaited(calls.comment)
    correction = Awaited(calls.correction)
    annotate = Awaited(calls.annotate)
    aspects = Awaited(calls.aspects)
    implicit = Awaited(calls.implicit)
    send = Awaited(calls.send)


class AsyncFeedback(AsyncJudged):
    """Posts feedback and comparisons, and reads them."""

    batch = Awaited(calls.batch)
    prefer = Awaited(calls.prefer)
    list = AsyncListed(reading.list_feedback)
    get = Awaited(reading.get_feedback)
    list_preferences = AsyncListed(reading.list_preferences)
    get_preference = Awaited(reading.get_preference)


class AsyncInteractions(AsyncResource):
    """Records exchanges and their reasoning steps, and reads them."""

    record = Awaited(calls.record)
    record_steps = Awaited(calls.record_steps)
    list = AsyncListed(reading.list_interactions)
    get = Awaited(reading.get_interaction)
    steps = Awaited(reading.get_steps)
