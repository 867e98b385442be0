"""pg_dump and pg_restore of the deployment's database, whichever Postgres it is."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from shared.db.engine import raw_url
from shared.db.postgres_binaries import install_dir, run_binary
from shared.errors import ConfigError, DatabaseUnavailable

_EMBEDDED_MAJORS = (16, 18)
_TLS_MODES = ("require", "verify-ca", "verify-full")


def dump(url: str, major: int, path: Path) -> None:
    """One consistent picture of the database, in Postgres' custom format.

    Raises:
        DatabaseUnavailable: pg_dump failed.
        ConfigError: there is no pg_dump.
    """
    where, password = _libpq(url)
    args = ["--format=custom", "--no-owner", "--no-acl", f"--file={path}", f"--dbname={where}"]
    _run("pg_dump", args, major, password)


def load(url: str, major: int, path: Path) -> None:
    """Read such a file into an empty database: all of it or nothing.

    Raises:
        DatabaseUnavailable: pg_restore failed.
        ConfigError: there is no pg_restore.
    """
    where, password = _libpq(url)
    args = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", [*args, f"--dbname={where}", str(path)], major, password)


def _libpq(url: str) -> tuple[str, str]:
    """The URL as libpq reads it, without the password: arguments are visible to every user."""
    parsed = make_url(raw_url(url))
    bare = parsed._replace(password=None)
    return bare.render_as_string(hide_password=False), str(parsed.password or "")


def _run(name: str, args: Sequence[str], major: int, password: str) -> None:
    """Prefer the wheel's program of the server's version: a newer one may write what it rejects.

    The wheel's programs speak no TLS, so a database that is reached by it takes the installed ones.
    """
    env = {"PGPASSWORD": password}
    if any(f"sslmode={mode}" in arg for mode in _TLS_MODES for arg in args):
        _run_installed(name, args, env)
        return
    try:
        chosen = major if major in _EMBEDDED_MAJORS else max(_EMBEDDED_MAJORS)
        install_dir(chosen)
    except ConfigError:
        _run_installed(name, args, env)
    else:
        run_binary(name, args, major=chosen, env=env)


def _run_installed(name: str, args: Sequence[str], env: dict[str, str]) -> None:
    program = shutil.which(name)
    if program is None:
        raise ConfigError(
            f"There is no `{name}` here: install the Postgres client programs, or run `pip install "
            '"heed-rlhf[embedded]"`.'
        )
    ended = subprocess.run([program, *args], env=env, capture_output=True, check=False)
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace").partition("\n")[0].partition("ERROR:")[0]
        raise DatabaseUnavailable(f"{name} failed: {said.strip() or ended.returncode}")
