"""`/health`, which clients of TEI, vLLM, Infinity and SGLang look at before they ask anything."""

from fastapi import APIRouter
from starlette.responses import Response

from services.reward_service.deps import ServiceDep
from services.reward_service.dialects.asking import not_ready
from services.reward_service.dialects.tei_bodies import TeiForm
from services.reward_service.scoring import reason_for

router = APIRouter(route_class=TeiForm, include_in_schema=False)


@router.get("/health")
async def health(service: ServiceDep) -> Response:
    """An empty 200 while there is a live model, without any key."""
    if service.live.default.model is None:
        raise not_ready(reason_for(service.live.default))
    return Response()
