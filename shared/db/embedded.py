"""Postgres from a wheel: start, attach to and stop the server of one Heed data dir.

A small launcher over the real binaries, because a laptop and a server should speak the same
dialect. docs/decisions/0002-embedded-postgres.md says why each step is as it is.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote

from shared.db.postgres_binaries import ServerPrograms, binary, run_binary, version
from shared.db.postgres_user import ServerUser, open_path, server_user
from shared.errors import ConfigError, Conflict, DatabaseUnavailable

__all__ = ["EmbeddedPostgres", "PostgresStatus", "attach", "binary", "run_binary"]
__all__ += ["start", "status", "stop", "version"]

_SOCKET_PORT = 5432
_LOG_BYTES_KEPT = 10_000_000
_POLL_S = 0.05
_IMPOSSIBLE_PID = 2**31 - 1
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_IMMEDIATE_AFTER_S = 60.0

_SETTINGS = """\
# Written by Heed at every start. Use ALTER SYSTEM for settings of your own: it wins.
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0777  # the folder around it is private
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
# What people wrote must not reach the log: no failing statement, no parameter, no detail line,
# and no client error at all, since even "invalid input syntax" repeats its input.
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_statement = 'none'
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
"""
_HBA = """\
# Written by Heed at every start. The kernel says who is at the other end of the socket.
local all all peer map=heed
"""
_HBA_TCP = "host all heed 127.0.0.1/32 scram-sha-256\n"
_ROLE_AND_DATABASE = """\
SELECT 'CREATE ROLE heed LOGIN CREATEDB'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'heed') \\gexec
SELECT 'CREATE DATABASE heed OWNER heed'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'heed') \\gexec
"""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server and how to reach it."""

    data_dir: Path
    socket_dir: Path
    port: int
    major: int
    pid: int
    password_file: Path | None = None

    def url(self, database: str = "heed") -> str:
        """The URL of one database through the private socket, for the role `heed`."""
        folder = quote(str(self.socket_dir), safe="")
        return f"postgresql://heed@/{quote(database, safe='')}?host={folder}&port={self.port}"


@dataclass(frozen=True)
class PostgresStatus:
    """What is known about the server of a data dir; `version` is of the installed programs."""

    running: bool
    pid: int | None
    major: int | None
    socket_dir: Path | None
    version: str | None


def start(
    data_dir: Path, *, major: int = 18, tcp_port: int | None = None, timeout_s: float = 120
) -> EmbeddedPostgres:
    """The server of a data dir, accepting connections: started, or attached when it runs.

    Makes the database files, the role and the database `heed` when they do not exist yet. Any
    number of processes may call it at once. The server outlives the caller. With `tcp_port` it
    also listens on 127.0.0.1 and admits the role `heed` with the password of `password_file`.

    Raises:
        ConfigError: the wheel is missing, or the data dir cannot be used; one line says why.
        Conflict: it runs already, but not on this TCP port.
        DatabaseUnavailable: it does not start within `timeout_s`; the message names the log.
    """
    deadline = time.monotonic() + timeout_s
    place = _Place.of(data_dir)
    place.make()
    with place.locked(timeout_s):
        running = _attached(place)
        if running is None or not _has_socket(running):
            if running is not None:  # somebody swept its socket away: nobody can reach it
                _stop(running.pid, place, mode="fast", timeout_s=_IMMEDIATE_AFTER_S)
            _launch(place, major, tcp_port=tcp_port, deadline=deadline)
            running = _attached(place)
        elif tcp_port not in (None, running.port):
            raise Conflict(
                f"Postgres in {place.data_dir} runs without TCP port {tcp_port}: "
                "stop it first, then start it with the port."
            )
        if running is None:
            raise place.failure("stopped right after its start")
        _check_major(place, major)
        _wait_until_ready(running, place, deadline)
        _make_role_and_database(running, place, with_password=tcp_port is not None)
        return running


def attach(data_dir: Path) -> EmbeddedPostgres | None:
    """The running server of a data dir, or None."""
    running = _attached(_Place.of(data_dir))
    return running if running and _has_socket(running) else None


def stop(
    data_dir: Path,
    *,
    mode: Literal["fast", "immediate", "smart"] = "fast",
    timeout_s: float = _IMMEDIATE_AFTER_S,
) -> bool:
    """True when a running server was stopped, False when none ran.

    `fast` ends open transactions, `smart` waits for clients to leave, `immediate` leaves the
    recovery to the next start. A server that has not gone after `timeout_s` is stopped the
    harder way; no committed row is lost by that.

    Raises:
        DatabaseUnavailable: the process cannot be ended, even by force.
    """
    place = _Place.of(data_dir)
    if not place.data_dir.is_dir():
        return False
    with place.locked(timeout_s):
        running = _attached(place)
        if running is None:
            return False
        _stop(running.pid, place, mode=mode, timeout_s=timeout_s)
        return True


def status(data_dir: Path) -> PostgresStatus:
    """Whether the server of a data dir runs, and which one it is; starts nothing."""
    place = _Place.of(data_dir)
    major = place.major()
    running = _attached(place)
    return PostgresStatus(
        running=running is not None,
        pid=running.pid if running else None,
        major=major,
        socket_dir=running.socket_dir if running else None,
        version=version(major) if major else None,
    )


@dataclass(frozen=True)
class _Place:
    """Where everything of one data dir lies."""

    data_dir: Path

    @classmethod
    def of(cls, data_dir: Path) -> "_Place":
        return cls(data_dir.expanduser().resolve())

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def log(self) -> Path:
        return self.data_dir / "logs" / "postgres.log"

    @property
    def password_file(self) -> Path:
        return self.data_dir / "postgres.password"

    @property
    def tag(self) -> str:
        return hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]

    def socket_dir(self, user: ServerUser) -> Path:
        """Short whatever the data dir is called: a socket path over 107 bytes is fatal."""
        return Path("/tmp") / f"heed-{user.uid}-{self.tag}"

    def make(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.log.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.data_dir, error) from None

    def major(self) -> int | None:
        """The version that made the files, None when there are none."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise ConfigError(
                f"{self.pgdata} cannot be read as a Postgres folder by this user: run Heed as "
                "its owner, or set HEED_DATA_DIR to another folder."
            ) from None

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Nobody else starts or stops this server meanwhile; the kernel frees a dead holder's."""
        try:
            lock = (self.data_dir / "postgres.lock").open("a")
        except OSError as error:
            raise _unwritable(self.data_dir, error) from None
        with lock:
            deadline = time.monotonic() + timeout_s
            while not _take(lock):
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        f"Another process is starting or stopping Postgres in {self.data_dir} "
                        f"for over {timeout_s:g} s: see {self.log}."
                    )
                time.sleep(_POLL_S)
            yield

    def failure(self, what: str) -> DatabaseUnavailable:
        last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
        return DatabaseUnavailable(f"Postgres {what}. Its log {self.log} ends with: {last[:300]}")


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{folder} cannot be written ({error.strerror}): set HEED_DATA_DIR to a folder that can."
    )
