"""`heed backup` and `heed restore`: database, artifacts and secret key in one file.

The dump comes before the artifacts: those are named by their content and only ever added, so every
artifact that the dump speaks of is in the file.
"""

import hashlib
import hmac
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from heed_cli.archive import Facts, new_archive, unpack
from heed_cli.database import in_transaction, require_known, upgrade
from heed_cli.deployment import UNFINISHED_RESTORE, Deployment
from heed_cli.postgres_dump import dump, load
from heed_cli.services import DataDir
from heed_cli.stored import files_of, missing_artifacts, send_all
from heed_cli.terminal import done, hint, note, say, working
from shared.artifacts import open_store
from shared.config import Settings
from shared.db import embedded, migrate
from shared.db.connect import database
from shared.db.restored import settle_transactions
from shared.errors import ConfigError, Conflict, StoreUnavailable
from shared.privacy import fingerprint, load_secret
from shared.privacy.resealing import master_keys_in_use

app = typer.Typer()
_DUMP, _SECRET, _ARTIFACTS = "database.dump", "secret.key", "artifacts"
_LOADING = "restore.loading"
_KEPT = (_SECRET, _LOADING)
_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname !~ '^pg_|^information_schema$'"
File = Annotated[Path, typer.Argument(help="The backup, such as `heed-2026-01-31.tar`.")]


@app.command()
def backup(
    file: File,
    secret_key: Annotated[
        bool, typer.Option(help="Include the secret key, which models and pseudonyms depend on.")
    ] = True,
    data_dir: DataDir = None,
) -> None:
    """Write database and models into one file. The services may go on meanwhile.

    What lies in a bucket stays there: it is named in the file, and looked for.
    """
    settings = Deployment.of(data_dir).settings
    with (
        working("backing up …"),
        database(settings) as url,
        new_archive(file) as archive,
        TemporaryDirectory(dir=file.absolute().parent, prefix=".heed-backup-") as aside,
    ):
        facts = _facts(settings, url)
        dump(url, facts["postgres"], Path(aside, _DUMP))
        archive.add(Path(aside, _DUMP), _DUMP)
        if secret_key:
            Path(aside, _SECRET).write_bytes(load_secret(settings))
            archive.add(Path(aside, _SECRET), _SECRET)
        if settings.artifact_url is None:
            for path in files_of(settings.artifacts):
                name = path.relative_to(settings.artifacts).as_posix()
                archive.add(path, f"{_ARTIFACTS}/{name}")
        else:
            _look_for_artifacts(settings, url)
        archive.finish(facts)
    done("backup", f"{file}, {file.stat().st_size / 1e6:.1f} MB")
    if secret_key:
        hint("    It holds what people wrote and the secret key: keep it as private.")


@app.command()
def restore(file: File, data_dir: DataDir = None) -> None:
    """Read a backup into an empty data folder and an empty database."""
    settings = Deployment.of(data_dir).settings
    with working("restoring …"), _emptied_on_failure(settings) as aside:
        facts = unpack(file, aside)
        require_known(facts["schema"])
        secret = _secret_of(settings, aside, facts["secret_fingerprint"])
        with database(settings) as url:
            is_loaded = _is_loaded(settings, url, aside / _DUMP)
            _put_artifacts(settings, aside / _ARTIFACTS)
            if not is_loaded:
                _load(settings, url, aside / _DUMP)
            schema = upgrade(url)
            in_transaction(url, settle_transactions)
            master_keys = in_transaction(url, master_keys_in_use)
        if secret is not None:
            secret.rename(settings.data_dir / _SECRET)
    done("restore", f"{settings.data_dir}: backup of {facts['made_at']:.16}, schema {schema}")
    if facts.get("artifact_url") not in (None, settings.artifact_url):
        note("artifacts", f"they are in {facts['artifact_url']}: set HEED_ARTIFACT_URL to it")
    if master_keys:
        note("encryption", f"put back the master keys {', '.join(master_keys)}: no backup has them")
    say("    Start it with: heed up")


def _facts(settings: Settings, url: str) -> Facts:
    return {
        "made_at": datetime.now(UTC).isoformat(),
        "heed": version("heed-rlhf"),
        "schema": migrate.current(url),
        "postgres": in_transaction(url, _major),
        "secret_fingerprint": fingerprint(load_secret(settings)).hex(),
        "artifact_url": settings.artifact_url,
    }


def _look_for_artifacts(settings: Settings, url: str) -> None:
    """Say whether the bucket has what the backup speaks of; the database is kept in any case."""
    try:
        missing = missing_artifacts(url, open_store(settings))
    except (StoreUnavailable, ConfigError) as error:
        note("artifacts", f"not in this file, and not looked for: {error.detail}")
        return
    found = f"{len(missing)} are missing: heed artifacts check" if missing else "all are there"
    note("artifacts", f"not in this file but in {settings.artifact_url}; {found}")


def _put_artifacts(settings: Settings, folder: Path) -> None:
    if not folder.exists():
        return
    if settings.artifact_url is None:
        shutil.copytree(folder, settings.artifacts, dirs_exist_ok=True)
    else:
        send_all(folder, open_store(settings))


async def _major(session: AsyncSession) -> int:
    return int(await session.scalar(text("SHOW server_version_num"))) // 10_000


@contextmanager
def _emptied_on_failure(settings: Settings) -> Iterator[Path]:
    """A folder to unpack into; while it exists, the data dir is known to be half restored.

    It stays once the database of a server may hold the backup, which we must not empty.
    """
    aside = settings.data_dir / UNFINISHED_RESTORE
    if not aside.exists():
        _require_no_files(settings)
    _clear(settings)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"{settings.data_dir} cannot be written ({error.strerror}): "
            "set HEED_DATA_DIR to a folder that can."
        ) from None
    try:
        yield aside
    except BaseException:
        _clear(settings)
        if (settings.data_dir / _LOADING).exists():
            aside.mkdir(mode=0o700)
        raise
    shutil.rmtree(aside)
    (settings.data_dir / _LOADING).unlink(missing_ok=True)


def _require_no_files(settings: Settings) -> None:
    there = {path.name for path in settings.data_dir.glob("*")} - set(_KEPT)
    if there or any(settings.artifacts.glob("*")):
        raise Conflict(
            f"{settings.data_dir} is in use: restore into an empty folder (--data-dir), "
            "then move it here if you wish."
        )


def _clear(settings: Settings) -> None:
    """Remove what an unfinished restore left in a folder that was empty before it."""
    embedded.stop(settings.data_dir)
    for path in (*settings.artifacts.glob("*"), *settings.data_dir.glob("*")):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in _KEPT:
            path.unlink(missing_ok=True)


def _secret_of(settings: Settings, aside: Path, expected: str) -> Path | None:
    """The file of the backup's secret when it is needed; ours must be the same one.

    Models and pseudonyms mean nothing under another secret.
    """
    target, stored = settings.data_dir / _SECRET, aside / _SECRET
    if settings.secret_key is None and not target.exists():
        if stored.exists():
            return stored
        raise ConfigError(
            f"This backup was made without its secret key: set HEED_SECRET_KEY, or put the key "
            f"into {target}, then restore again."
        )
    if not hmac.compare_digest(fingerprint(load_secret(settings)).hex(), expected):
        raise ConfigError(
            "The secret key of HEED_SECRET_KEY or `secret.key` is not the one of this backup: "
            "without it neither models nor pseudonyms can be used."
        )
    return None


def _is_loaded(settings: Settings, url: str, dump_file: Path) -> bool:
    """Whether an attempt that was killed had loaded this very dump into this very database.

    Raises:
        Conflict: the database holds something else.
    """
    if not in_transaction(url, lambda session: session.scalar(text(_TABLES)), on_any_schema=True):
        return False
    mark = settings.data_dir / _LOADING
    if mark.exists() and mark.read_text() == _mark(url, dump_file):
        return True
    raise Conflict("The database at HEED_DATABASE_URL has tables: restore into an empty one.")


def _load(settings: Settings, url: str, dump_file: Path) -> None:
    """All of the dump or nothing; it is marked first, since a kill may come after the commit."""
    if settings.database_url is not None:
        (settings.data_dir / _LOADING).write_text(_mark(url, dump_file))
    load(url, in_transaction(url, _major, on_any_schema=True), dump_file)


def _mark(url: str, dump_file: Path) -> str:
    with dump_file.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    where = make_url(url).render_as_string()  # without the password
    return hashlib.sha256(f"{where} {content}".encode()).hexdigest()
