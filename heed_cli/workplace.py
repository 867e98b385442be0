"""How commands that train or look at models reach the deployment."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, TypeVar

from heed_cli.terminal import note
from shared.config import load_settings
from shared.db.connect import database
from shared.errors import ConfigError

if TYPE_CHECKING:
    from services.trainer.config import TrainerSettings
    from services.trainer.workplace import Workplace

T = TypeVar("T")


def trainer_settings(
    data_dir: Path | None = None, database_url: str | None = None
) -> "TrainerSettings":
    """The settings of our environment, or of a given data dir or database.

    Raises:
        ConfigError: a variable has a wrong value.
    """
    from services.trainer.config import TrainerSettings

    given = {"data_dir": data_dir, "database_url": database_url}
    return load_settings(TrainerSettings, **{k: v for k, v in given.items() if v is not None})


def at_workplace(
    data_dir: Path | None,
    work: "Callable[[Workplace], Awaitable[T]]",
    *,
    database_url: str | None = None,
) -> T:
    """What `work` returns; runs that went silent are marked and named first.

    Raises:
        HeedError: the database cannot be reached, its schema is not current, a file cannot be used,
            or `work` refused.
    """
    from services.trainer.execution import interrupted_notice
    from services.trainer.workplace import open_workplace, tidy
    from shared.db.faults import reaching_database

    settings = trainer_settings(data_dir, database_url)

    async def run(url: str) -> T:
        async with open_workplace(settings, url) as workplace:
            for interrupted in await tidy(workplace):
                note("interrupted", interrupted_notice(interrupted))
            with _naming_files(), reaching_database():
                return await work(workplace)

    with database(settings) as url:
        return asyncio.run(run(url))


@contextmanager
def _naming_files() -> Iterator[None]:
    """Inside, what a file or a full disk refuses is told in one line."""
    try:
        yield
    except OSError as error:
        place = "The disk" if error.filename is None else str(error.filename)
        raise ConfigError(
            f"{place} cannot be used: {error.strerror}. See who may read and write there, and that "
            "there is room."
        ) from error


def this_command() -> str:
    """What was typed, so that it can be typed again."""
    return join([Path(sys.argv[0]).name, *sys.argv[1:]])
