"""GET /lineage: what came of what, and what still holds something of erased rows."""

from typing import Annotated

from fastapi import APIRouter, Path

from services.feedback_api.deps import ModelsDep, SessionDep
from services.feedback_api.routes.posting import FIND_ERRORS
from services.feedback_api.views import LineageView
from shared.lineage import find_origin

router = APIRouter(tags=["lineage"])


@router.get("/lineage/{node}", responses=FIND_ERRORS, summary="Read where something comes from")
async def get_lineage(
    node: Annotated[
        str,
        Path(
            max_length=100,
            pattern=r"^[a-z_]+:[0-9a-f-]+$",
            description="`dataset:7`, `model:<uuid>` or `erasure:<uuid>`.",
        ),
    ],
    principal: ModelsDep,
    session: SessionDep,
) -> LineageView:
    """Ancestors, descendants, and the erasures that taint it."""
    return LineageView.model_validate(await find_origin(session, node, principal.project_id))
