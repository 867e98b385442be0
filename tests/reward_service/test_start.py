"""What the start of the service must not bring in, and what must not slow its requests."""

import inspect
import subprocess
import sys
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from services.reward_service.routes import router

SECRET = b"a secret that is long enough for tests"


def imported(code: str) -> set[str]:
    """Which of the heavy libraries are imported once the code has run."""
    heavy = {"torch", "transformers", "sklearn", "scipy", "pandas", "datasets", "openvino"}
    told = f"{code}; import sys; print(*sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_the_service_answers_before_torch_is_imported():
    assert imported("import services.reward_service.app") == set()


def test_an_embedding_model_needs_torch_and_no_other_heavy_library(kind_model):
    code = (
        "from pathlib import Path; from shared.ml.artifact import load_scorer; "
        f"load_scorer(Path({str(kind_model)!r}), secret={SECRET!r}, engine='auto')"
    )

    assert imported(code) == {"torch"}


def test_no_dependency_of_the_scoring_routes_waits_for_a_thread():
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    scoring = [route.dependant for route in routes if route.path in {"/score", "/rerank"}]

    calls = [dependant for route in scoring for dependant in _below(route)]

    assert len(calls) > 4
    assert [str(found.call) for found in calls if not _is_async(found.call)] == []


def _is_async(call: object) -> bool:
    """Whether a function, or an object that is called, runs on the event loop."""
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - the method itself is looked at
    )


def _below(dependant: Dependant) -> Iterator[Dependant]:
    for found in dependant.dependencies:
        yield found
        yield from _below(found)
