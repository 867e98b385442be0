"""A running feedback API on a fresh database."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel, col

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings
from shared.keys import Scope, create_key

Sessions = async_sessionmaker[AsyncSession]
Rows = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> FeedbackSettings:
    return FeedbackSettings(
        data_dir=tmp_path,
        database_url=database_url,
        secret_key=secrets.token_hex(32),
        feedback_retry_s=1.0,
    )


@pytest.fixture
async def app(settings: FeedbackSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
async def token(sessions: Sessions) -> str:
    async with sessions.begin() as session:
        return await create_key(session, name="tests", scopes=list(Scope))


@pytest.fixture
async def client(app: FastAPI, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the started app, with a key that may do everything."""
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(_with_state(app, state))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://heed", headers=headers
        ) as client:
            yield client


def _with_state(app: FastAPI, state: Any) -> Any:
    """The app as a server calls it after its lifespan has yielded `state`."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = dict(state)
        await app(scope, receive, send)

    return call


@pytest.fixture
def rows(sessions: Sessions) -> Rows:
    """Reads all rows of a table, oldest version first."""

    async def read(table: type[SQLModel]) -> list[Any]:
        async with sessions() as session:
            order = col(getattr(table, "seq", None) or table.created_at)
            return list(await session.scalars(select(table).order_by(order)))

    return read


def body(**changes: Any) -> dict[str, Any]:
    """A post of feedback on one prompt and response."""
    return {"prompt": "What is carbon?", "response": "An element.", "rating": 4} | changes
