"""Postgres from a wheel: start, attach to and stop the server of one Heed data dir.

A small launcher over the real binaries, so that a laptop and a server speak the same dialect.
docs/decisions/0002-embedded-postgres.md says why each step is as it is.
"""

import os
import secrets
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from shared.db.postgres_binaries import ServerPrograms, binary, run_binary, version
from shared.db.postgres_folder import POLL_S, PostgresFolder, Postmaster
from shared.db.postgres_user import open_path, server_user
from shared.errors import ConfigError, Conflict, DatabaseUnavailable

__all__ = [
    "EmbeddedPostgres",
    "PostgresStatus",
    "attach",
    "binary",
    "run_binary",
    "start",
    "status",
    "stop",
    "version",
]

Mode = Literal["fast", "immediate", "smart"]
_HARDER = {  # what is tried next when a way of stopping takes too long
    signal.SIGTERM: signal.SIGINT,
    signal.SIGINT: signal.SIGQUIT,
    signal.SIGQUIT: signal.SIGKILL,
}
_SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_ORPHANS_REMAIN = "pre-existing shared memory block"
_ROLE_AND_DATABASE = """\
SELECT 'CREATE ROLE heed LOGIN CREATEDB'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'heed') \\gexec
SELECT 'CREATE DATABASE heed OWNER heed'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'heed') \\gexec
"""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A running server and how to reach it; `data_dir` holds the database files."""

    data_dir: Path
    socket_dir: Path
    port: int
    major: int
    pid: int
    password_file: Path | None = None

    def url(self, database: str = "heed") -> str:
        """The URL of one database through the private socket, for the role `heed`."""
        folder = quote(str(self.socket_dir))
        return f"postgresql://heed@/{quote(database)}?host={folder}&port={self.port}"


@dataclass(frozen=True)
class PostgresStatus:
    """What is known about the server of a data dir; `version` is that of the programs."""

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
    also listens on 127.0.0.1 and admits the role `heed` with the password in `password_file`.

    Raises:
        ConfigError: the wheel is missing, or the data dir cannot be used; one line says why.
        Conflict: it runs already, but not on this TCP port.
        DatabaseUnavailable: it does not start within `timeout_s`; the message names the log.
    """
    deadline = time.monotonic() + timeout_s
    folder = PostgresFolder.of(data_dir)
    folder.make()
    with folder.locked(timeout_s):
        folder.check_major(major)
        user = server_user(folder.data_dir, folder.pgdata)
        open_path(folder.data_dir, user)
        running = folder.postmaster()
        if running and not running.socket_dir.exists():  # swept from /tmp: nobody can reach it
            _end(running, folder, signal.SIGINT, timeout_s)
            running = None
        if running is None:
            running = _launch(
                folder, ServerPrograms(user, major, folder.data_dir), tcp_port, deadline
            )
        if tcp_port is not None and (running.port, running.listens_on_tcp) != (tcp_port, True):
            raise Conflict(
                f"Postgres in {folder.data_dir} runs without TCP port {tcp_port}: "
                "stop it, then start it with the port."
            )
        _wait_until_ready(running, folder, deadline)
        _make_role_and_database(running, folder, major)
    return _described(running, folder)


def attach(data_dir: Path) -> EmbeddedPostgres | None:
    """The running server of a data dir, or None; it may still be recovering from a crash."""
    folder = PostgresFolder.of(data_dir)
    running = folder.postmaster()
    return _described(running, folder) if running and running.socket_dir.exists() else None


def stop(data_dir: Path, *, mode: Mode = "fast", timeout_s: float = 60) -> bool:
    """True when a running server was stopped, False when none ran.

    `smart` waits for clients to leave, `fast` ends their transactions, `immediate` leaves a
    recovery to the next start. A server that is not gone after `timeout_s` is stopped the next
    harder way, at last by force; no way loses a committed row.

    Raises:
        ConfigError: the server belongs to another user.
        DatabaseUnavailable: the process cannot be ended even by force.
    """
    folder = PostgresFolder.of(data_dir)
    if not os.access(folder.pgdata, os.F_OK):
        return False
    with folder.locked(timeout_s):
        running = folder.postmaster()
        if running is None:
            return False
        _end(running, folder, _SIGNALS[mode], timeout_s)
        with suppress(OSError):  # a folder with something of somebody's in it stays
            running.socket_dir.rmdir()
    return True


def status(data_dir: Path) -> PostgresStatus:
    """Whether the server of a data dir runs, and which one it is; starts nothing."""
    folder = PostgresFolder.of(data_dir)
    major, running = folder.major(), folder.postmaster()
    return PostgresStatus(
        running=running is not None,
        pid=running.pid if running else None,
        major=major,
        socket_dir=running.socket_dir if running else None,
        version=version(major) if major else None,
    )


def _described(running: Postmaster, folder: PostgresFolder) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        data_dir=folder.pgdata,
        socket_dir=running.socket_dir,
        port=running.port,
        major=folder.major() or 0,
        pid=running.pid,
        password_file=folder.password_file if running.listens_on_tcp else None,
    )


def _launch(
    folder: PostgresFolder, programs: ServerPrograms, tcp_port: int | None, deadline: float
) -> Postmaster:
    if folder.major() is None:
        _initialise(folder, programs, deadline)
    folder.disown_stale_pid()
    folder.configure(programs.user, tcp_port)
    socket_dir = folder.make_socket_dir(programs.user)
    asked_at = folder.log_size()
    while not _started(folder, programs, socket_dir, deadline):
        if time.monotonic() > deadline or not folder.log_tells(_ORPHANS_REMAIN, asked_at):
            raise _failure(folder, "did not start")
        time.sleep(POLL_S)
        asked_at = folder.log_size()
    running = folder.postmaster()
    if running is None:
        raise _failure(folder, "stopped right after its start")
    return running


def _started(
    folder: PostgresFolder, programs: ServerPrograms, socket_dir: Path, deadline: float
) -> bool:
    """Whether one `pg_ctl start` worked, or left a server that is still recovering.

    The folder is given by its name under the working folder, because pg_ctl builds a shell
    command that a `$` or a quote in the path would break. pg_ctl detaches the server from our
    session, so it survives us and a Ctrl-C on our terminal.
    """
    wait_s = max(1, round(deadline - time.monotonic()))
    args = ["start", "-s", "-w", "-t", str(wait_s), "-D", folder.pgdata.name]
    with folder.open_log() as log:
        code = programs.run(
            "pg_ctl",
            [*args, "-o", f"-k {socket_dir}"],
            cwd=folder.data_dir,
            output=log,
            timeout_s=wait_s + 30,
        )
    return code == 0 or folder.postmaster() is not None


def _initialise(folder: PostgresFolder, programs: ServerPrograms, deadline: float) -> None:
    """Make the database files aside and move them into place, so that no half-made ones stay."""
    unfinished = folder.data_dir / "postgres.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if not programs.user.is_current:
        os.chown(unfinished, programs.user.uid, programs.user.gid)
    args = ["-D", unfinished.name, "-U", "postgres", "--auth=reject", "--data-checksums"]
    args += ["--encoding=UTF8", "--locale=C", "--no-sync"]
    if programs.major >= 17:  # letters of every language, still the same order on every machine
        args += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    with folder.open_log() as log:
        code = programs.run(
            "initdb",
            args,
            cwd=folder.data_dir,
            output=log,
            timeout_s=max(0, deadline - time.monotonic()),
        )
    if code != 0:
        raise _failure(folder, "could not make its files")
    os.sync()  # once, in half the time of initdb's thousand single ones
    unfinished.rename(folder.pgdata)


def _wait_until_ready(running: Postmaster, folder: PostgresFolder, deadline: float) -> None:
    where = ["-h", str(running.socket_dir), "-p", str(running.port)]
    args = [*where, "-U", "postgres", "-d", "postgres", "-t", "5"]
    while True:
        try:
            run_binary("pg_isready", args, major=folder.major() or 18, timeout_s=30)
        except DatabaseUnavailable:
            if folder.postmaster() is None:
                raise _failure(folder, "stopped while starting") from None
            if time.monotonic() > deadline:
                raise _failure(folder, "is not ready yet; it goes on, so try again") from None
            time.sleep(POLL_S)
        else:
            return


def _make_role_and_database(running: Postmaster, folder: PostgresFolder, major: int) -> None:
    """Idempotent, since a start may have been killed between two of these statements."""
    statements = _ROLE_AND_DATABASE
    if running.listens_on_tcp:
        statements += f"ALTER ROLE heed PASSWORD '{_password(folder)}';\n"
    where = ["-h", str(running.socket_dir), "-p", str(running.port), "-U", "postgres"]
    run_binary(
        "psql",
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "-d", "postgres"],
        major=major,
        send=statements.encode(),
        timeout_s=60,
    )


def _password(folder: PostgresFolder) -> str:
    """The password over TCP, made once and readable by the owner of the data dir only."""
    path = folder.password_file
    if not path.exists():
        path.touch(mode=0o600)
    if not path.read_text():
        path.write_text(secrets.token_hex(24))
    return path.read_text()


def _end(
    running: Postmaster, folder: PostgresFolder, first: signal.Signals, timeout_s: float
) -> None:
    step: signal.Signals | None = first
    while step is not None:
        _send(running.pid, step, folder)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not folder.is_server(running.pid):
                return
            time.sleep(POLL_S)
        step = _HARDER.get(step)
    raise DatabaseUnavailable(f"Postgres (process {running.pid}) cannot be ended, even by force.")


def _send(pid: int, step: signal.Signals, folder: PostgresFolder) -> None:
    try:
        os.kill(pid, step)
    except ProcessLookupError:
        return
    except PermissionError:
        raise ConfigError(
            f"Postgres in {folder.data_dir} belongs to another user: stop it as that user."
        ) from None


def _failure(folder: PostgresFolder, what: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"Postgres {what}. Its log {folder.log} ends with: {folder.last_failure()}"
    )
