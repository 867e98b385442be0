"""What a run starts from."""

import asyncio
import errno

import pytest
from pydantic import SecretStr

from heed_cli.workplace import at_workplace
from services.trainer.config import TrainerSettings
from services.trainer.workplace import open_workplace, tidy
from shared.errors import ConfigError, DatabaseUnavailable


async def test_a_database_of_another_secret_is_refused(settings: TrainerSettings, database_url):
    async with open_workplace(settings, database_url):
        pass

    other = settings.model_copy(update={"secret_key": SecretStr("another secret" * 4)})
    with pytest.raises(ConfigError, match="belongs to another HEED_SECRET_KEY"):
        async with open_workplace(other, database_url):
            pass


async def test_encryption_without_a_master_key_is_refused(settings: TrainerSettings, database_url):
    sealed = settings.model_copy(update={"encryption": "on"})

    with pytest.raises(ConfigError, match="needs a master key"):
        async with open_workplace(sealed, database_url):
            pass


async def test_what_cannot_be_cleared_away_stays_and_holds_up_nothing_else(settings, database_url):
    async with open_workplace(settings, database_url) as workplace:
        partial = workplace.store.root / ".partial"
        (partial / "b").mkdir(parents=True)
        (partial / "a").symlink_to("a")  # opening it fails, and not because it is held

        await tidy(workplace)

    assert [path.name for path in partial.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("met", "told_as", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/file"), ConfigError, "a/file"),
        (OSError(errno.ENOSPC, "No space left on device"), ConfigError, "disk .* No space left"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), DatabaseUnavailable, "database"),
        (FileNotFoundError(errno.ENOENT, "no socket"), DatabaseUnavailable, "database"),
    ],
    ids=["file", "full disk", "refused", "no socket"],
)
async def test_a_command_tells_a_file_from_the_database(as_settings, met, told_as, words):
    async def work(_: object) -> None:
        raise met

    with pytest.raises(told_as, match=words):
        await asyncio.to_thread(at_workplace, None, work)
