import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support.postgres import (
    ENV,
    REPOSITORY,
    START,
    has_command_line,
    kill_hard,
    query,
    wait_until,
)

from shared.db import embedded
from shared.db.embedded import EmbeddedPostgres


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
