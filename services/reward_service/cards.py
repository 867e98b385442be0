"""The audit card of a model version: JSON, Markdown and plots, never a text that people wrote."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from services.reward_service.deps import PrincipalDep
from services.reward_service.live_models import Find
from services.reward_service.references import Reference
from shared.artifacts import ArtifactStore
from shared.contracts.audit import AUDIT_FILE, CARD_FILE, AuditReport, Plot
from shared.errors import (
    ArtifactError,
    DatabaseUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthenticated,
)
from shared.web import problems

_ERRORS = (
    Unauthenticated,
    Forbidden,
    NotFound,
    InvalidInput,
    ArtifactError,
    DatabaseUnavailable,
)

router = APIRouter(prefix="/models/{name}/{version}", tags=["models"])


@dataclass(frozen=True)
class Cards:
    """Reads the cards of the versions that the registry knows."""

    find: Find
    store: ArtifactStore
    secret: bytes

    async def read(self, reference: Reference, file: str) -> bytes:
        """One file of a version's card.

        Raises:
            NotFound: there is no such version, or it came without such a file.
            ArtifactError: the artifact is missing or was changed.
            DatabaseUnavailable: Postgres cannot be reached.
            StoreUnavailable: the bucket that it lies in cannot be reached.
        """
        version = await self.find(reference)
        if version is None:
            raise NotFound(
                f"There is no model {reference}; `heed models list` shows what there is.",
                code="unknown_model",
            )
        return await asyncio.to_thread(self._read, version.uri, reference.project_id, file)

    def _read(self, uri: str, project_id: int, file: str) -> bytes:
        from shared.ml.signed_files import read_signed

        folder = self.store.of_project(project_id).path(uri)
        return read_signed(folder, file, secret=self.secret)


def _cards(request: Request) -> Cards:
    cards: Cards = request.state.cards
    return cards


CardsDep = Annotated[Cards, Depends(_cards)]


def _reference(
    principal: PrincipalDep,
    name: Annotated[str, Path(description="Name of the model.", examples=["reward"])],
    version: Annotated[
        str, Path(description="A version's number, or an alias.", examples=["champion"])
    ],
) -> Reference:
    mark = "@" if version.isdecimal() else ":"
    return Reference.parse(f"{name}{mark}{version}", principal.project_id)


ReferenceDep = Annotated[Reference, Depends(_reference)]


@router.get(
    "/card",
    summary="The audit of a model version",
    response_model=AuditReport,
    responses=problems(*_ERRORS),
)
async def get_card(reference: ReferenceDep, cards: CardsDep) -> Response:
    """How far the model can be trusted: findings in sentences, and the numbers behind them."""
    return Response(await cards.read(reference, AUDIT_FILE), media_type="application/json")


@router.get(
    "/card.md",
    summary="The audit of a model version, to read",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}}}, **problems(*_ERRORS)},
)
async def get_card_text(reference: ReferenceDep, cards: CardsDep) -> Response:
    """The card as Markdown; its plots are beside it."""
    return Response(await cards.read(reference, CARD_FILE), media_type="text/markdown")


@router.get(
    "/{plot}",
    summary="A plot of a model version's audit",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(*_ERRORS)},
)
async def get_plot(reference: ReferenceDep, cards: CardsDep, plot: Plot) -> Response:
    """One plot as PNG; 404 where the model has nothing to show in it."""
    return Response(await cards.read(reference, plot), media_type="image/png")
