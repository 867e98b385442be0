"""Tokens with which one page may post on one target for some minutes, so that it needs no API key.

`heedw_<payload>.<mac>`: the payload is readable to the page and holds no prompt, response or
identity; the MAC is the deployment's. Nothing is stored, so a token ends by its expiry or with the
API key on whose behalf it was made.
"""

import base64
import hmac
import time
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from services.feedback_api.origins import parse_origin
from services.feedback_api.schemas import (
    ConsentIn,
    FeedbackIn,
    PreferenceIn,
    StepIn,
    TokenStepIn,
    WidgetKind,
)
from shared.errors import Detail, Forbidden, InvalidInput, Unauthenticated
from shared.privacy import mac

PREFIX = "heedw_"
HEADER = "x-widget-token"
PURPOSE = "widget-token"
COMPARISON = frozenset({"prompt", "response_a", "response_b"})
FIELDS_OF_CHOICE = frozenset({"preferred", "strength", "reasons", "presented_order"})


class Grant(BaseModel):
    """What a token allows: who says what about which target, from where and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_id: str
    key_id: str
    project_id: int
    rater: str
    kinds: frozenset[WidgetKind]
    origin: str
    expires_at: int
    interaction_id: str | None = None
    step: TokenStepIn | None = None
    comparison: str | None = None
    session_id: str | None = None
    agent_name: str | None = None
    consent: ConsentIn | None = None

    def require_project(self, project_id: int) -> None:
        """Pass when the token was made in this project, which is that of its key.

        Raises:
            Unauthenticated: the key is not the one it was.
        """
        if project_id != self.project_id:
            raise _unknown()

    def fill_feedback(self, body: FeedbackIn) -> FeedbackIn:
        """The body with what the token says about it.

        Raises:
            Forbidden: the body says more than the token allows, or names another target.
        """
        step = StepIn(**self.step.model_dump()) if self.step else None
        if self.interaction_id is None or body.interaction_id not in (None, self.interaction_id):
            raise _other_target("/interaction_id")
        if body.step not in (None, step):
            raise _other_target("/step")
        self._refuse_beyond(body, frozenset({"interaction_id", "step"}))
        filled = self._filled() | {"interaction_id": self.interaction_id, "step": step}
        return body.model_copy(update=filled)

    def fill_preference(self, body: PreferenceIn) -> PreferenceIn:
        """The same for a comparison, whose texts `require_comparison` checks afterwards."""
        self._refuse_beyond(body, COMPARISON)
        return body.model_copy(update=self._filled())

    def require_comparison(self, target: str) -> None:
        """Pass when the target is the pair of responses that the token was made for.

        Raises:
            Forbidden: it is another pair, another prompt, or no comparison at all.
        """
        if self.comparison is None or not hmac.compare_digest(target, self.comparison):
            raise _other_target("/prompt")

    def _filled(self) -> dict[str, object]:
        return {
            "session_id": self.session_id,
            "agent_name": self.agent_name,
            "consent": self.consent,
        }

    def _refuse_beyond(self, body: FeedbackIn | PreferenceIn, target: frozenset[str]) -> None:
        allowed = target | {str(kind) for kind in self.kinds}
        if WidgetKind.PREFERENCE in self.kinds:
            allowed |= FIELDS_OF_CHOICE
        for name in sorted(body.model_fields_set - allowed):
            code = "kind_not_allowed" if name in set(WidgetKind) else "field_not_allowed"
            raise _forbidden(f"/{name}", code, f"This widget token does not allow {name}")


def sign(secret: bytes, grant: Grant) -> str:
    """The token of a grant."""
    payload = _encode(grant.model_dump_json(exclude_none=True).encode())
    return f"{PREFIX}{payload}.{_encode(mac(secret, PURPOSE, payload))}"


def read(secret: bytes, token: str, *, origin: str | None) -> Grant:
    """What a token allows that comes from a page of this origin.

    Whether its API key still holds is not known here.

    Raises:
        Unauthenticated: it is not a token of this deployment, or (`token_expired`) too old.
        Forbidden: it was made for the pages of another origin.
    """
    payload, _, signature = token.removeprefix(PREFIX).partition(".")
    expected = _encode(mac(secret, PURPOSE, payload))
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise _unknown()
    try:
        grant = Grant.model_validate_json(base64.urlsafe_b64decode(payload + "=="))
    except (ValueError, ValidationError):
        raise _unknown() from None
    if grant.expires_at <= time.time():
        raise Unauthenticated(
            "The widget token has expired; the page's own server makes a new one.",
            code="token_expired",
        )
    if origin != grant.origin:
        raise _forbidden("", "wrong_origin", f"This widget token is for pages of {grant.origin}")
    return grant


def widget_token_of(token: str, headers: Mapping[str, str]) -> str | None:
    """The widget token of a request: `token` itself, or `X-Widget-Token` when there is none."""
    token = token or headers.get(HEADER, "")
    return token if token.startswith(PREFIX) else None


def origin_of(url: str) -> str:
    """An origin as browsers send it: scheme and host in small letters, no default port.

    Raises:
        InvalidInput: it is not `http(s)://host[:port]`.
    """
    origin = parse_origin(url)
    if origin is None:
        detail = "An origin is https://host or https://host:port, as the browser shows it"
        raise InvalidInput(
            f"Correct /origin: {detail}.", errors=(Detail("/origin", "origin", detail),)
        )
    return origin


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unknown() -> Unauthenticated:
    return Unauthenticated("The widget token is not one of this deployment; make a new one.")


def _other_target(pointer: str) -> Forbidden:
    return _forbidden(pointer, "other_target", "This widget token was made for another target")


def _forbidden(pointer: str, code: str, detail: str) -> Forbidden:
    return Forbidden(f"{detail}.", code=code, errors=(Detail(pointer, code, detail),))
