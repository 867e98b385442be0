"""The shapes of other servers, so that their clients can point here unchanged.

One module for each; `telling` says which of them a request is in, where their paths collide.
"""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from services.reward_service.dialects import (
    cohere,
    health,
    infinity,
    nemo,
    openrlhf,
    sglang,
    tei,
    verl,
    vllm,
)
from services.reward_service.dialects.forks import Handlers
from services.reward_service.dialects.line import Line
from services.reward_service.dialects.telling import FORKS, Dialect

_OWN: dict[Dialect, APIRouter] = {
    Dialect.VLLM: vllm.router,
    Dialect.TEI: tei.router,
    Dialect.COHERE: cohere.router,
    Dialect.INFINITY: infinity.router,
    Dialect.SGLANG: sglang.router,
    Dialect.OPENRLHF: openrlhf.router,
    Dialect.VERL: verl.router,
    Dialect.NEMO: nemo.router,
}
# What else a server of that kind has; what comes first keeps a path that both have.
_BESIDE: dict[Dialect, tuple[APIRouter, ...]] = {
    Dialect.VLLM: (cohere.router, verl.router, health.router),
    Dialect.TEI: (health.router,),
    Dialect.INFINITY: (health.router,),
    Dialect.SGLANG: (vllm.router, verl.router, health.router),
    Dialect.VERL: (vllm.router, health.router),
}


def install(app: FastAPI) -> None:
    """Add what other servers' clients ask for, after the routes of this service.

    On a path that is taken already the first route keeps it, and hands on what is not in its shape.
    Under its own name, as in `/infinity/rerank`, each has all paths to itself.
    """
    for router in (*_OWN.values(), health.router):
        app.include_router(router)
    for dialect, router in _OWN.items():
        for each in (router, *_BESIDE.get(dialect, ())):
            app.include_router(each, prefix=f"/{dialect}")
    app.state.dialects = _handlers()
    app.state.line = Line()


def _handlers() -> Handlers:
    """What replies to a dialect on a path that several share."""
    return {
        (dialect, route.path): route.get_route_handler()
        for dialect, router in _OWN.items()
        for route in router.routes
        if isinstance(route, APIRoute) and route.path in FORKS
    }
