"""The feedback API as the ingest benchmark runs it: as it is, or with another writer in its place.

Everything else is the production app: its frame, key check, scopes, validation and masking.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any

import typer
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings
from services.feedback_api.deps import Runtime
from services.feedback_api.writer import Accepted, Post
from shared.config import load_settings
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine
from shared.db.tables import Feedback
from shared.web import serve

ORM_CONNECTIONS = 20


class Path(StrEnum):
    DURABLE = "durable"
    CEILING = "ceiling"
    ORM = "orm"


class InstantWriter:
    """Acknowledges at once and keeps nothing: what the frame can do when writing is free."""

    async def submit(self, post: Post) -> Accepted:
        return Accepted(post.reply(), is_new=True)


class OrmWriter:
    """One SQLModel add and commit per post, the same row in the same table."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def submit(self, post: Post) -> Accepted:
        async with self._sessions() as session:
            session.add(Feedback(**post.row))
            await session.commit()
        return Accepted(post.reply(), is_new=True)


def app_of(path: Path, settings: FeedbackSettings) -> FastAPI:
    """The production app, whose writer is replaced unless the path is `durable`."""
    app = create_app(settings)
    if path is Path.DURABLE:
        return app
    production = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any] | None]:
        engine = create_engine(resolve_database_url(settings), pool_size=ORM_CONNECTIONS)
        writer: Any = (
            InstantWriter()
            if path is Path.CEILING
            else OrmWriter(async_sessionmaker(engine, expire_on_commit=False))
        )
        async with production(app) as state:
            assert state is not None
            runtime: Runtime = state["runtime"]
            yield {**state, "runtime": replace(runtime, feedback=writer)}
        await engine.dispose()

    app.router.lifespan_context = lifespan
    return app


def main(path: Path, port: int) -> None:
    """Serve one path on 127.0.0.1 until SIGTERM, with the settings of the environment."""
    settings = load_settings(FeedbackSettings)
    serve(lambda: app_of(path, settings), "127.0.0.1", port, port_setting="the argument PORT")


if __name__ == "__main__":
    typer.run(main)
