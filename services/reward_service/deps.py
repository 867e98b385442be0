"""What a route is given: the caller, the models, and the way to score."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer

from services.reward_service.asked import Asked
from services.reward_service.config import RewardSettings
from services.reward_service.live_models import LiveModels
from services.reward_service.scoring import Call, Scoring
from shared.keys import KeyCache, Principal, Scope, require, token_of


@dataclass(frozen=True)
class Service:
    """What lives as long as the process."""

    settings: RewardSettings
    keys: KeyCache
    live: LiveModels
    scoring: Scoring


async def _service(request: Request) -> Service:
    service: Service = request.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


# For the API description only: the key is read by `token_of`, as the feedback API does.
_documented = HTTPBearer(
    scheme_name="ApiKey",
    description="`Authorization: Bearer heed_<id>_<secret>`, or the same in `X-API-Key`.",
    auto_error=False,
)


async def _scorer(
    request: Request, service: ServiceDep, _: Annotated[object, Depends(_documented)]
) -> Principal:
    principal = await service.keys.check(token_of(request.headers))
    require(principal, Scope.SCORE)
    return principal


PrincipalDep = Annotated[Principal, Depends(_scorer)]


@dataclass(frozen=True)
class Caller:
    """Who asks, for how long at most, and of which model whatever the body says."""

    principal: Principal
    deadline_s: float
    pinned: str | None = None

    def call(self, model: str | None, asked: Asked) -> Call:
        """A call of this caller for one model; the header's stands above the body's."""
        return Call(self.principal.project_id, self.pinned or model, self.deadline_s, asked)


async def _caller(
    service: ServiceDep,
    principal: PrincipalDep,
    x_deadline_ms: Annotated[
        int | None,
        Header(ge=1, description="How long the caller waits, milliseconds; later work is dropped."),
    ] = None,
    x_heed_model: Annotated[
        str | None,
        Header(
            max_length=200,
            description="The model that is to score, such as `reward@3`; stands above the body's "
            "`model`, so that clients of other servers can be pinned too.",
        ),
    ] = None,
) -> Caller:
    longest_s = service.settings.reward_timeout_s
    deadline_s = min(longest_s, x_deadline_ms / 1000) if x_deadline_ms else longest_s
    return Caller(principal, deadline_s, x_heed_model)


CallerDep = Annotated[Caller, Depends(_caller)]
