"""The terminal commands around training, as people type them."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from sqlalchemy import select

from shared import registry
from shared.contracts.values import RunStatus
from shared.db.tables import AliasChange, Feedback, TrainingRun
from shared.exports import exports_folder
from shared.ids import new_id
from shared.jobs import claim, enqueue, finish, keep_log, renew, start_foreground
from shared.privacy import pseudonym
from tests.support.commands import run_command

Run = Callable[..., CompletedProcess[str]]
SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def run(settings, monkeypatch) -> Run:
    """Runs a command in a process of its own on the test's database."""
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words: object) -> CompletedProcess[str]:
        return run_command(words)

    return command


def installed(name: str, *words: object) -> CompletedProcess[str]:
    """What a script ends with that pip installed, run as a shell would."""
    command = [SCRIPTS / name, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def registered(sessions, count: int) -> None:
    async with sessions.begin() as session:
        for _ in range(count):
            await registry.register_version(
                session,
                registry.NewVersion(
                    kind="embedding", sha256="0", uri="artifact://1/models/0", metrics={}
                ),
            )


async def test_prepare_dataset_writes_the_file_the_clients_expect(
    run, settings, insert, polite, tmp_path: Path
):
    await insert(*polite(12))
    url = settings.database_url.get_secret_value()

    ended = installed("prepare_dataset", "--feedback-db", url, "--output", tmp_path / "p.jsonl")

    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert "yours" in ended.stdout
    assert set(lines[0]) == {"prompt", "chosen", "rejected", "split", "metadata"}
    assert "12 rows" in run("heed", "dataset", "show", 1).stdout
    assert (
        "nothing held out in dataset 1 is trained on" in run("heed", "dataset", "check", 1).stdout
    )


async def test_a_file_among_the_kept_exports_is_known_to_erasures(run, settings, insert, polite):
    rows = polite(12)
    await insert(*rows)
    output = exports_folder(settings.data_dir) / "p.jsonl"

    ended = run("heed", "dataset", "prepare", "--output", output)

    assert ended.returncode == 0, ended.stderr
    assert "An erasure removes this file" in ended.stdout
    held = json.loads(output.with_name("p.jsonl.rows.json").read_text())
    assert held["seqs"] == sorted(row.seq for row in rows)


async def test_training_below_the_minimum_is_one_clear_line(run, insert, polite):
    await insert(*polite(12))

    ended = run("heed", "train", "embedding")

    assert ended.returncode == 1
    assert re.search(r"heed: Training needs at least 50 .* there are 12;.*\n\Z", ended.stderr)
    assert "Traceback" not in ended.stderr


async def test_a_model_is_trained_listed_and_copied(run, insert, polite, tmp_path: Path):
    await insert(*polite())

    trained = run("heed", "train", "embedding", "--output", tmp_path / "model")
    listed = run("heed", "models", "list")

    assert trained.returncode == 0, trained.stderr
    assert "length alone" in trained.stdout
    assert (tmp_path / "model" / "reward_model.json").exists()
    assert re.search(r"reward +1 +champion +embedding", listed.stdout)
    assert "better" in run("heed", "models", "show", "champion").stdout


def test_a_queued_run_cannot_be_copied_and_a_wrong_mode_is_refused(run, tmp_path: Path):
    queued = run("heed", "train", "embedding", "--queue", "--output", tmp_path / "model")
    mistyped = run("heed", "train", "embedding", "--mode", "orignal")

    assert queued.returncode == 1
    assert queued.stderr.splitlines() == [
        "heed: --queue returns before there is a model to copy: leave out --output or --queue."
    ]
    assert mistyped.returncode == 2
    assert "orignal" in mistyped.stderr


async def test_only_a_model_of_one_embedding_is_exported_for_sentence_transformers(
    run, insert, polite, tmp_path: Path
):
    await insert(*polite())
    run("heed", "train", "embedding", "--mode", "original")
    run("heed", "train", "embedding")

    exported = run("heed", "models", "export", 1, tmp_path / "plain")
    refused = run("heed", "models", "export", 2, tmp_path / "product")

    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "plain" / "modules.json").exists()
    assert refused.returncode == 1
    assert "--mode original" in refused.stderr
    assert not (tmp_path / "product").exists()


async def test_train_reward_sbert_takes_its_settings_from_the_environment(
    run, sessions, insert, feedback, monkeypatch
):
    await insert(
        *(feedback(rating=1 + 4 * (at % 2), agent_response=f"{at % 2} {at}") for at in range(60))
    )
    monkeypatch.setenv("HEED_SBERT_GOOD_RATING", "5")

    ended = run("train_reward_sbert")

    assert ended.returncode == 0, ended.stderr
    async with sessions() as session:
        trained = (await session.scalars(select(TrainingRun))).one()
    assert trained.params["recipe"]["mode"] == "original"
    assert trained.params["recipe"]["good_rating"] == 5.0


async def test_a_model_that_is_not_there_is_one_line_naming_the_flag(
    run, insert, polite, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = [
        {"prompt": row.prompt, "chosen": row.response_a, "rejected": row.response_b}
        for row in polite(60)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    ended = run("train_reward_model", "--dataset", tmp_path / "p.jsonl", "--epochs", 1)

    assert ended.returncode == 1
    assert "--base-model bert-base-uncased" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


async def test_overriding_the_gate_needs_a_reason_and_rolling_back_undoes_it(
    run, sessions, settings
):
    (settings.artifacts / "1" / "models" / "0").mkdir(parents=True)
    await registered(sessions, 2)

    refused = run("heed", "models", "promote", 1)
    first = run("heed", "models", "promote", 1, "--reason", "the first")
    run("heed", "models", "promote", 2, "--reason", "try it")
    back = run("heed", "models", "rollback", "--reason", "worse")

    assert (refused.returncode, first.returncode, back.returncode) == (1, 0, 0)
    assert "--reason" in refused.stderr
    assert "reward version 1" in back.stdout
    async with sessions() as session:
        changes = (await session.scalars(select(AliasChange).order_by(AliasChange.id))).all()
    assert [change.reason for change in changes] == ["the first", "try it", "worse"]


async def test_the_next_command_names_a_run_that_went_silent(run, sessions):
    async with sessions.begin() as session:
        silent = await start_foreground(
            session, TrainingRun, kind="reward_embedding", owner="gone:1", created_by="me",
            params={"command": "heed train embedding --mode original"},
        )  # fmt: skip
        silent.heartbeat_at = silent.heartbeat_at.replace(year=2020)

    ended = run("heed", "train", "runs")

    assert "heed train embedding --mode original" in ended.stdout
    assert re.search(rf"{silent.id} +embedding +interrupted", ended.stdout)


async def test_a_queued_run_is_one_however_often_it_is_asked_for_and_can_be_taken_back(
    run, sessions
):
    queued = run("heed", "train", "embedding", "--queue")
    again = run("heed", "train", "embedding", "--queue", "--priority", 5)
    run_id = re.search(r"[0-9a-f-]{36}", queued.stdout)[0]
    cancelled = run("heed", "train", "cancel", run_id)
    resumed = run("heed", "train", "resume", run_id)

    assert f"{run_id}, the same training, waits already" in again.stdout
    assert "cancelled" in cancelled.stdout
    assert "waits for the worker" in resumed.stdout
    async with sessions() as session:
        (row,) = await session.scalars(select(TrainingRun))
    assert (row.status, row.priority, row.max_attempts) == ("queued", 5, 3)


async def test_a_run_of_another_machine_is_shown_with_the_last_it_wrote(run, sessions):
    async with sessions.begin() as session:
        await enqueue(session, TrainingRun, kind="reward_transformer", params={}, queue="gpu")
        found = await claim(session, TrainingRun, queues=["gpu"], owner="far:1")
        told = {"fraction": 0.25, "stage": "train", "step": 7, "loss": 0.5, "eta_s": 90}
        uri, tail = "file://far/run.log", "one line\n"
        await renew(session, found, progress=told, log_uri=uri, log_tail=tail)

    shown = run("heed", "train", "show", found.id).stdout
    log = run("heed", "train", "log", found.id)
    unknown = run("heed", "train", "show", new_id())

    for words in ("running, 25% train", "queue gpu", "far:1", "seconds left    90", "loss"):
        assert words in shown
    assert log.stdout == "one line\n"
    assert unknown.stderr.startswith("heed: There is no training run")


async def test_a_log_is_followed_until_its_worker_has_stored_the_last_of_it(invoke, sessions):
    async with sessions.begin() as session:
        await enqueue(session, TrainingRun, kind="reward_transformer", params={})
        found = await claim(session, TrainingRun, queues=["cpu"], owner="far:1")
        await renew(session, found, log_uri="file://far/run.log", log_tail="one\n")
    async with sessions.begin() as session:
        await finish(session, found, RunStatus.SUCCEEDED)

    following = asyncio.create_task(invoke("train", "log", found.id, "--follow"))
    await asyncio.sleep(1.5)  # it has looked by then; storing before it looks would do no harm
    async with sessions.begin() as session:
        await keep_log(session, found, "one\ntwo\n--- end of attempt 1\n")

    assert (await following).stdout == "one\ntwo\n--- end of attempt 1\n"


async def test_a_rater_is_found_by_the_id_the_application_sent(
    run, sessions, settings, insert, feedback
):
    rater = pseudonym(settings.secret_key.get_secret_value().encode(), 1, "rater", 123)
    await insert(feedback(rating=3, clinician_id=rater))

    ended = run("heed", "raters", "lookup", "123")

    assert ended.stdout.split() == [rater, "1", "live", "posts"]
    async with sessions() as session:
        assert (await session.scalars(select(Feedback.clinician_id))).all() == [rater]


def test_a_further_parameter_without_a_value_is_refused(run):
    unnamed = run("heed", "train", "reward", "--set", "lora_rank")

    assert unnamed.returncode == 1
    assert unnamed.stderr == "heed: --set lora_rank is not of the form name=value.\n"


def test_an_option_without_a_text_is_refused_by_its_name(run):
    for option in ("--allow-near-duplicates", "--name"):
        ended = run("heed", "train", "embedding", option, "")

        assert ended.stderr.startswith(f"heed: {option} is wrong")


async def test_an_unknown_further_parameter_is_refused_by_its_name(run, insert, polite):
    await insert(*polite())

    ended = run("heed", "train", "reward", "--set", "lora_rang=8")

    assert ended.returncode == 1
    assert "lora_rang" in ended.stderr
