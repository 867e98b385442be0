"""Which database a process talks to."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.config import Settings
from shared.db import embedded
from shared.errors import DatabaseUnavailable


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The URL of the deployment's database; an embedded one that did not run stops afterwards.

    Raises:
        HeedError: it cannot be reached or started.
    """
    was_running = settings.database_url is not None or embedded.attach(settings.data_dir)
    try:
        yield resolve_database_url(settings, start=True)
    finally:
        if not was_running:
            embedded.stop(settings.data_dir)


def resolve_database_url(settings: Settings, *, start: bool = False) -> str:
    """HEED_DATABASE_URL, else the URL of the data dir's embedded Postgres.

    Args:
        settings: of this process.
        start: start the embedded Postgres when it does not run; otherwise only attach to it.

    Raises:
        DatabaseUnavailable: neither is there.
        ConfigError: the embedded Postgres cannot be started here.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = embedded.start(settings.data_dir) if start else embedded.attach(settings.data_dir)
    if server is None:
        raise DatabaseUnavailable(
            f"No Postgres runs in {settings.data_dir}: run `heed up`, or set HEED_DATABASE_URL."
        )
    return server.url()
