"""What a run starts from."""

import pytest
from pydantic import SecretStr

from services.trainer.config import TrainerSettings
from services.trainer.workplace import open_workplace
from shared.errors import ConfigError


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
