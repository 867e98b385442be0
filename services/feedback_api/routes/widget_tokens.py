"""POST /widget-tokens: an application's server asks for a token that it hands to one page."""

import secrets
import time
from dataclasses import replace
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from services.feedback_api.deps import Runtime, WriterDep, runtime
from services.feedback_api.intake import Source, interaction_post
from services.feedback_api.routes.posting import RECORD_ERRORS
from services.feedback_api.schemas import InteractionIn, WidgetKind, WidgetToken, WidgetTokenIn
from services.feedback_api.widget_tokens import Grant, origin_of, sign
from services.feedback_api.writer import record_interaction
from shared.contracts.posts import render_response
from shared.errors import Conflict, Detail, InvalidInput

router = APIRouter(tags=["widget"])

OF_EXCHANGE = {
    "prompt",
    "response",
    "session_id",
    "agent_name",
    "model_version",
    "decision_id",
    "subject_ids",
    "consent",
}
COMPARING = frozenset({WidgetKind.PREFERENCE, WidgetKind.COMMENT})


@router.post(
    "/widget-tokens",
    status_code=201,
    responses=RECORD_ERRORS,
    summary="Make a token for one page",
)
async def post_widget_token(
    body: WidgetTokenIn, principal: WriterDep, request: Request, response: Response
) -> WidgetToken:
    """Let one page post feedback on one target for at most 15 minutes, without an API key."""
    _require_one_target(body)
    origin = origin_of(body.origin)
    running = runtime(request)
    source = Source(
        principal=principal,
        secret=running.secret,
        default_consent=running.settings.default_training_consent,
        raw_body=b"",
    )
    grant = _grant(body, source, await _interaction_id(running, body, source), origin)
    response.headers["Cache-Control"] = "no-store"
    return WidgetToken(
        token=sign(running.secret, grant),
        expires_at=datetime.fromtimestamp(grant.expires_at, UTC),
        interaction_id=grant.interaction_id,
    )


def _require_one_target(body: WidgetTokenIn) -> None:
    has_texts = body.prompt is not None and body.response is not None
    if (body.prompt is None) != (body.response is None):
        raise _wrong("/response", "half_a_target", "Send prompt and response together")
    if [body.interaction_id is not None, has_texts, body.compare is not None].count(True) != 1:
        detail = "Send one target: an interaction_id, prompt and response, or compare"
        raise _wrong("", "one_target", detail)
    if body.compare is not None and body.step is not None:
        raise _wrong("/step", "one_target", "Responses are compared as a whole; leave out step")
    possible = COMPARING if body.compare else set(WidgetKind) - {WidgetKind.PREFERENCE}
    if unfit := sorted(set(body.kinds) - possible):
        raise _wrong("/kinds", "unfit_kind", f"This target cannot take {', '.join(unfit)}")


async def _interaction_id(running: Runtime, body: WidgetTokenIn, source: Source) -> str | None:
    """The interaction that feedback is about; texts are recorded as one first.

    Its id follows from its content, so that the next token for the same exchange finds it again.
    """
    if body.prompt is None or body.response is None:
        return body.interaction_id
    text = render_response(body.response)
    interaction_id = source.target(body.session_id, body.agent_name, body.prompt, text)
    given = body.model_dump(include=OF_EXCHANGE, exclude_none=True)
    exchange = InteractionIn.model_validate(given | {"interaction_id": interaction_id})
    await _record(running, exchange, source)
    return interaction_id


async def _record(running: Runtime, exchange: InteractionIn, source: Source) -> None:
    """Record the exchange, once for all tokens about it."""
    source = replace(source, raw_body=to_json(exchange.model_dump()))
    post = await running.admit(interaction_post(exchange, source))
    try:
        await record_interaction(running.pool, post, retry_s=running.settings.feedback_retry_s)
    except Conflict:
        return  # recorded already, with other circumstances; what was recorded first stays


def _grant(body: WidgetTokenIn, source: Source, interaction_id: str | None, origin: str) -> Grant:
    token_id = secrets.token_urlsafe(12)
    return Grant(
        token_id=token_id,
        key_id=source.principal.public_id,
        project_id=source.principal.project_id,
        # Without a rater, the token itself is one: whoever holds it has one live row.
        rater=source.person("rater", body.rater_id or f"widget:{token_id}"),
        kinds=frozenset(body.kinds),
        origin=origin,
        expires_at=int(time.time()) + body.expires_in_s,
        interaction_id=interaction_id,
        step=body.step,
        comparison=_comparison(body, source),
        session_id=body.session_id,
        agent_name=body.agent_name,
        consent=body.consent,
    )


def _comparison(body: WidgetTokenIn, source: Source) -> str | None:
    """The MAC of what is compared; the page sends the texts, and they have to match."""
    if body.compare is None:
        return None
    pair = sorted((body.compare.response_a, body.compare.response_b))
    return source.target(body.session_id, body.agent_name, body.compare.prompt, *pair)


def _wrong(pointer: str, code: str, detail: str) -> InvalidInput:
    errors = (Detail(pointer, code, detail),)
    return InvalidInput(f"Correct {pointer or 'the body'}: {detail}.", errors=errors)
