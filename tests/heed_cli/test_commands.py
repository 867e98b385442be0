"""What every command has in common: one line for every failure, and no extra it can do without."""

import json
import socket
import sys

import pytest

from heed_cli.main import _COMMANDS
from shared.db import embedded


def test_help_lists_every_command_and_loads_none_of_them(heed):
    code = (
        "import sys, heed_cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([x for x in ('sqlalchemy', 'services', 'fastapi', 'torch') if x in sys.modules])"
    )

    said = heed.run([sys.executable, "-P", "-c", code]).stdout

    assert [name for name in _COMMANDS if f" {name} " not in said] == []
    assert said.strip().endswith("[]")


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_explains_itself(heed, name):
    assert "Usage: heed " + name in heed.done(name, "--help")


def test_an_unknown_command_suggests_the_one_that_was_meant(heed):
    ended = heed.afresh("satus")

    assert ended.returncode == 2
    assert "Did you mean 'status'?" in ended.stderr


def test_a_missing_extra_is_answered_with_the_pip_line(heed):
    code = "import sys; sys.modules['trl'] = None; from heed_cli.main import main; main(['demo'])"

    ended = heed.run([sys.executable, "-P", "-c", code])

    assert ended.returncode == 1
    assert 'pip install "heed-rlhf[all]"' in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "reward"), ("sklearn.linear_model", "trainer"), ("x", "all")]
)
def test_a_module_that_is_missing_names_its_extra(heed, module, extra):
    code = (
        "import heed_cli.main as m\n"
        f"def load(name): raise ModuleNotFoundError('no', name='{module}')\n"
        "m._load = load\n"
        "m.main(['status'])"
    )

    ended = heed.run([sys.executable, "-P", "-c", code])

    assert ended.returncode == 1
    assert f'run `pip install "heed-rlhf[{extra}]"`' in ended.stderr


@pytest.mark.parametrize(("level", "lines"), [("INFO", 1), ("DEBUG", None)])
def test_an_unexpected_error_shows_its_place_only_when_asked(heed, level, lines):
    code = "import heed_cli.main as m; m._load = lambda name: 1 / 0; m.main(['status'])"

    ended = heed.run([sys.executable, "-P", "-c", code], HEED_LOG_LEVEL=level)

    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    assert ("Traceback" in ended.stderr) is (lines is None)


@pytest.mark.parametrize(
    "command", [["up"], ["migrate"], ["keys", "list"], ["restore", "/dev/null"]]
)
def test_a_folder_that_cannot_be_written_is_one_line_with_the_setting(heed, command):
    said = heed.refused(*command, HEED_DATA_DIR="/proc/heed")

    assert "/proc/heed cannot be written" in said
    assert "HEED_DATA_DIR" in said


def test_a_wrong_setting_is_named(heed):
    assert "HEED_FEEDBACK_PORT" in heed.refused("status", HEED_FEEDBACK_PORT="99999")


@pytest.mark.parametrize("service", ["FEEDBACK", "REWARD"])
def test_a_port_that_is_taken_is_named_with_its_setting(heed, service):
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]

        said = heed.refused("up", **{f"HEED_{service}_PORT": str(port)})

    assert f"127.0.0.1:{port}" in said
    assert f"HEED_{service}_PORT" in said


def test_an_address_of_another_machine_is_named(heed):
    said = heed.refused("up", HEED_FEEDBACK_HOST="192.0.2.1")

    assert "192.0.2.1" in said


@pytest.mark.parametrize("service", ["feedback_api", "reward_service", "trainer"])
def test_a_service_refuses_a_database_without_tables_with_one_line(heed, service):
    heed.done("doctor")
    code = (
        "import sys; from pathlib import Path; from shared.db import embedded\n"
        "embedded.start(Path(sys.argv[1]))"
    )
    assert heed.run([sys.executable, "-P", "-c", code, str(heed.data_dir)]).returncode == 0

    ended = heed.run([sys.executable, "-P", "-m", f"services.{service}"])

    # Who started a trainer is told that nothing is wrong with the work, which waits.
    assert ended.returncode == {"trainer": 5}.get(service, 1)
    assert "run `heed migrate`" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_keys_are_made_listed_rotated_and_revoked(heed):
    assert "run `heed migrate`" in heed.refused("keys", "list")
    heed.done("migrate")
    embedded.start(heed.data_dir)  # once, instead of for each command
    token = heed.done("keys", "create", "web-app", "--scope", "score").split()[0]
    public_id = token.split("_")[1]

    assert f"{public_id}  web-app  score" in heed.done("keys", "list")
    rotated = heed.done("keys", "rotate", public_id).split()[0]
    heed.done("keys", "revoke", rotated.split("_")[1])
    listed = heed.done("keys", "list")
    assert listed.count("revoked") == 2
    assert token.split("_", 2)[2] not in listed
    assert "no key" in heed.refused("keys", "revoke", "missing")
    assert "Unknown scopes: everything" in heed.refused(
        "keys", "create", "x", "--scope", "everything"
    )
    told = [json.loads(line)["action"] for line in heed.done("audit").splitlines()]
    assert told == ["key.revoke", "key.rotate", "key.create", "key.create"]


def test_a_person_gives_and_withdraws_consent(heed):
    heed.done("migrate")
    embedded.start(heed.data_dir)

    said = heed.done("consents", "withdraw", "7", "--kind", "rater")
    heed.done("consents", "give", "7", "--kind", "rater", "--purpose", "publication")

    person = next(word for word in said.split() if word.startswith("r_"))
    shown = heed.done("consents", "show", person, "--kind", "rater").splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [["publication", "yes"], ["training", "no"]]
    assert f"rater:{person}" in heed.done("audit", "--action", "consent.record")


def test_migrating_twice_changes_nothing(heed):
    assert "new → " in heed.done("migrate")
    assert "at " in heed.done("migrate")


def test_commands_that_need_the_database_leave_it_as_they_found_it(heed):
    heed.done("migrate")

    assert '"running"' not in heed("status", "--json").stdout


def test_doctor_finds_what_must_be_repaired(heed):
    heed.done("migrate")
    (heed.data_dir / "secret.key").write_text("x" * 64)
    (heed.data_dir / "secret.key").chmod(0o644)

    ended = heed("doctor")

    assert ended.returncode == 1
    assert "chmod 600" in ended.stdout
    assert "1 of " in ended.stdout


def test_doctor_reports_a_database_that_cannot_be_reached(heed):
    ended = heed("doctor", HEED_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")

    assert ended.returncode == 1
    assert "database cannot be reached" in ended.stdout


def test_a_bad_file_stops_the_demo_before_anything_starts(heed):
    (heed.home / "own.jsonl").write_text('{"prompt": "p", "response": "r", "rating": 9}\n')

    said = heed.refused("demo", "--data", "own.jsonl")

    assert "own.jsonl, line 1: The column `rating` is 9" in said
    assert not (heed.home / ".heed-demo").exists()


def test_a_report_that_cannot_be_written_stops_the_demo_before_anything_starts(heed):
    said = heed.refused("demo", "--report", "nowhere/report.json")

    assert "nowhere/report.json cannot be written" in said
    assert not (heed.home / ".heed-demo").exists()
