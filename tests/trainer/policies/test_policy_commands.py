"""`heed policy generate | report`, in this process."""

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import select
from support.tiny_policy import save_tiny_policy

from services.trainer.snapshots import read_lines, store_snapshot
from shared.artifacts import FolderStore
from shared.contracts.policy_report import PolicyReport
from shared.db.tables import AuditEntry, Dataset
from shared.errors import ConfigError, InvalidInput, NotFound
from shared.registry import NewVersion, register_version

SHORT = ("--max-tokens", 6)


@pytest.fixture
def heed(invoke):
    """What a command says."""

    async def command(*words: object) -> str:
        return (await invoke(*words)).stdout

    return command


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_policy(tmp_path / "base")


@pytest.fixture
async def trained(heed, insert, polite, base) -> None:
    """A policy that learned to imitate, judged on three held-out prompts."""
    await insert(*polite())
    await heed("train", "sft", "--base-model", base, "--set", "evaluate_prompts=3",
               "--set", "max_response_tokens=6")  # fmt: skip


@pytest.mark.usefixtures("trained")
async def test_samples_are_read_on_record_and_never_once_their_prompts_are_gone(
    heed, sessions, settings, tmp_path
):
    told = await heed("policy", "report", 1, "--samples", 1, "--html", tmp_path / "page.html")
    report = PolicyReport.model_validate_json(await heed("policy", "report", 1, "--json"))
    await heed("policy", "generate", "--model", "policy@1", "--prompt", "what is", *SHORT)
    prompt = json.loads(re.search(r"prompt: (.*)", told)[1])

    await _forget_held_out(sessions, FolderStore(settings.artifacts))
    later = await heed("policy", "report", 1, "--samples", 3)

    async with sessions() as session:
        read = await session.scalars(
            select(AuditEntry.detail)
            .where(AuditEntry.action == "policy.samples.read")
            .order_by(AuditEntry.created_at)
        )
        assert [detail["samples"] for detail in read] == [3, 0]
    assert prompt in (tmp_path / "page.html").read_text()
    assert prompt not in report.model_dump_json()
    assert later.count("no longer there") == 3
    assert "prompt:" not in later


async def _forget_held_out(sessions, store: FolderStore) -> None:
    """What an erasure of these rows does to the dataset."""
    async with sessions.begin() as session:
        dataset = await session.scalar(select(Dataset))
        kept = [line for line in read_lines(dataset, store) if line["split"] == "train"]
        dataset.uri, dataset.sha256 = store_snapshot(store, kept)


async def test_equal_seeds_write_equal_responses_and_a_file_is_answered_line_by_line(
    heed, base, tmp_path
):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "what is the sky"}\n\n{"prompt": "who are you"}\n')
    asked = ("policy", "generate", "--model", base, "--file", prompts, *SHORT)

    first, second, other = [await heed(*asked, "--seed", seed) for seed in (1, 1, 2)]

    rows = [json.loads(line) for line in first.splitlines()]
    assert [row["prompt"] for row in rows] == ["what is the sky", "who are you"]
    assert all(set(row) == {"prompt", "response", "ended"} for row in rows)
    assert first == second != other


async def test_temperature_0_is_the_likeliest_response_whatever_the_seed(heed, base):
    asked = ("policy", "generate", "--model", base, "--prompt", "is it far", *SHORT)

    assert await heed(*asked, "--temperature", 0) == await heed(
        *asked, "--temperature", 0, "--seed", 3
    )


async def test_what_is_not_there_is_said(heed, tmp_path):
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"prompt": "what"}\n{"text": "what"}\n')

    with pytest.raises(NotFound, match="policy has no version 'champion'"):
        await heed("policy", "generate", "--prompt", "what")
    with pytest.raises(NotFound, match="policy has no version '7'"):
        await heed("policy", "report", 7)
    with pytest.raises(ConfigError, match="--model no-such-model is not on this machine"):
        await heed("policy", "generate", "--model", "no-such-model", "--prompt", "what")
    with pytest.raises(InvalidInput, match="--prompt TEXT"):
        await heed("policy", "generate")
    with pytest.raises(InvalidInput, match="line 2: say"):
        await heed("policy", "generate", "--file", wrong)


async def test_a_reward_model_writes_no_text(heed, sessions, settings, tmp_path):
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "reward_model.json").write_text("{}")
    uri, sha256 = FolderStore(settings.artifacts).put_folder(tmp_path / "reward")
    async with sessions.begin() as session:
        await register_version(session, NewVersion("embedding", sha256, uri, {}))

    with pytest.raises(InvalidInput, match="reward@1 is a reward model"):
        await heed("policy", "generate", "--model", "reward@1", "--prompt", "what")
