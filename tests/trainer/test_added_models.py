"""Reward models that were made elsewhere: what is refused, and what becomes of the others."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import torch
from anyio import to_thread
from safetensors.torch import load_file, save_file
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from support.tiny_bert import save_tiny_bert
from support.tiny_chat import FAMILIES, save_tiny_chat, save_tokenizer
from support.tiny_llama import save_tiny_llama
from typer.testing import CliRunner

from heed_cli.evaluate import app as evaluate_app
from heed_cli.models import app
from services.trainer.config import TrainerSettings
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.foreign import AddedParams, open_foreign
from services.trainer.recipes.added_reward import store_unjudged, train
from shared.db.tables import Preference
from shared.errors import ArtifactError, ConfigError, HeedError, NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair
from shared.registry import find_version

SECRET = b"a secret of at least thirty-two bytes"


def judged(rows: int) -> RewardDataset:
    """Comparisons and ratings of two responses, a quarter of them held out."""
    kind, rude = "Less salt, and more movement.", "Go away."
    pairs = [
        PreferencePair(f"What lowers it, case {at}?", kind, rude, group=str(at), row_ids=(str(at),))
        for at in range(rows)
    ]
    rated = [
        RatedResponse(f"Tell me of case {at}.", (kind, rude)[at % 2], (5.0, 1.0)[at % 2],
                      f"rated {at}", f"r{at}")
        for at in range(rows)
    ]  # fmt: skip
    cut = rows * 3 // 4
    return RewardDataset(pairs[:cut], pairs[cut:], rated[:cut], rated[cut:], "sha256:test")


def spoil_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_head(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = {name: one for name, one in load_file(path).items() if name != "score.weight"}
    save_file(weights, path, metadata={"format": "pt"})


def nan_head(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["score.weight"] = torch.full_like(weights["score.weight"], torch.nan)
    save_file(weights, path, metadata={"format": "pt"})


def as_pickle(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")


def only_adapters(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickle": (as_pickle, "pytorch_model.bin, which can run code"),
    "remote code": (lambda at: spoil_config(at, auto_map={"a": "b.c"}), "remote code"),
    "adapters": (only_adapters, "adapters only"),
    "causal": (
        lambda at: spoil_config(at, architectures=["LlamaForCausalLM"]),
        "no score head.*heed train reward --base-model",
    ),
    "no architecture": (lambda at: spoil_config(at, architectures=None), "no named architecture"),
    "labels": (
        lambda at: spoil_config(at, id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1}),
        "has 2 outputs",
    ),
    "quantised": (
        lambda at: spoil_config(at, quantization_config={"quant_method": "gptq"}),
        "quantised",
    ),
    "unknown": (lambda at: spoil_config(at, model_type="no such model"), "not one that transf"),
    "weights": (without_weights, "no model.safetensors"),
    "head": (without_head, "lack score.weight"),
    "not a number": (nan_head, "rewards nan and nan"),
    "tokenizer": (without_tokenizer, "no tokenizer that can be opened"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_cannot_be_served_is_refused_with_what_to_do(tmp_path: Path, how: str) -> None:
    source = save_tiny_chat(tmp_path / "published")
    spoil, why = SPOILED[how]
    spoil(source)

    with pytest.raises(ArtifactError, match=why):
        store_unjudged(
            AddedParams(model=str(source)),
            output=tmp_path / "model",
            secret=SECRET,
            code_version="test",
        )

    assert sorted(path.name for path in tmp_path.iterdir()) == ["published"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        open_foreign(
            AddedParams(model=str(tmp_path / "none")), tmp_path / "aside", code_version="test"
        )


@pytest.mark.parametrize("save", [save_tiny_llama, save_tiny_bert])
def test_a_bare_encoder_or_decoder_is_refused(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    source = save(tmp_path / "bare")

    with pytest.raises(HeedError, match="no score head"):
        open_foreign(AddedParams(model=str(source)), tmp_path / "aside", code_version="test")


def test_without_feedback_a_model_is_stored_as_it_is(tmp_path: Path) -> None:
    source = save_tiny_chat(tmp_path / "published", "gpt2")

    manifest = store_unjudged(
        AddedParams(model=str(source)), output=tmp_path / "model", secret=SECRET,
        code_version="test",
    )  # fmt: skip

    scorer = load_scorer(tmp_path / "model", secret=SECRET)
    assert (manifest.mode, manifest.template, manifest.calibration.method) == (
        "added", "chat", "none",
    )  # fmt: skip
    assert scorer.score([Pair("a", "b")]).reward[0] != 0
    card = (tmp_path / "model" / "card.md").read_text()
    assert "not known" in card
    assert "plain text" in card  # this template's turns are not parted by special tokens
    assert str(tmp_path) not in card


def test_feedback_calibrates_and_judges_a_model_without_changing_its_rewards(
    tmp_path: Path,
) -> None:
    source = save_tiny_chat(tmp_path / "published", "qwen3")
    plain = open_foreign(AddedParams(model=str(source)), tmp_path / "plain", code_version="test")
    dataset = judged(40)

    trained = train(
        dataset, AddedParams(model=str(source), min_rated=20), output=tmp_path / "model",
        secret=SECRET, progress=lambda *_: None, code_version="test",
    )  # fmt: skip

    scorer = load_scorer(trained.folder, secret=SECRET)
    pairs = [pair.sides[0] for pair in dataset.test_pairs]
    assert scorer.score(pairs).reward.tolist() == plain.scorer.score(pairs).reward.tolist()
    manifest = trained.manifest
    assert manifest.calibration.method == "platt-grouped-out-of-fold"
    assert manifest.conformal is not None
    assert manifest.dataset_snapshot == "sha256:test"
    assert manifest.metrics["test_pairs"] == 10
    assert scorer.score(pairs, details=True).low is not None
    assert "published" in (trained.folder / "card.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "plain", "published"]


def test_too_little_feedback_is_said_before_the_model_is_opened(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="at least 50"):
        train(
            judged(10), AddedParams(model=str(tmp_path)), output=tmp_path / "model",
            secret=SECRET, progress=lambda *_: None, code_version="test",
        )  # fmt: skip


def test_a_template_can_be_asked_for(tmp_path: Path) -> None:
    source = save_tiny_chat(tmp_path / "published")
    (bare := tmp_path / "bare").mkdir()
    save_tiny_chat(bare)
    made = save_tokenizer(bare, FAMILIES["llama"])
    made.chat_template = None
    (bare / "chat_template.jinja").unlink()
    made.save_pretrained(bare)

    def opened(model: Path, **more: str) -> str:
        params = AddedParams(model=str(model), **more)
        aside = tmp_path / f"{model.name} {more}"
        return open_foreign(params, aside, code_version="test").draft.template

    assert opened(source, template="pair") == "pair"
    assert opened(bare) == "pair"
    with pytest.raises(ArtifactError, match="no chat template"):
        opened(bare, template="chat")


async def test_the_command_gates_a_model_on_the_feedback_that_there_is(
    *,
    settings: TrainerSettings,
    sessions: async_sessionmaker[AsyncSession],
    insert: Callable[..., Awaitable[None]],
    polite: Callable[..., list[Preference]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.database_url is not None
    await insert(*polite(40))
    source = save_tiny_chat(tmp_path / "published", "qwen2")
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())

    words = ["add", str(source), "--min-rated", "20"]
    ended = await to_thread.run_sync(CliRunner().invoke, app, words)

    assert ended.exit_code == 0, ended.exception
    async with sessions() as session:
        version = await find_version(session, 1)
    assert version.kind == "transformer"
    assert version.gate is not None
    assert version.gate["comparisons"]
    assert (version.dataset_id, version.metrics["made_elsewhere"]) == (1, "yes")


async def test_nobody_knows_which_cases_a_model_made_elsewhere_has_learned(
    settings: TrainerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database_url is not None
    source = save_tiny_chat(tmp_path / "published", "qwen2")
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())
    cases = [{"prompt": f"Why {at}?", "chosen": "Less salt.", "rejected": "No."} for at in range(5)]
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in cases))

    added = await to_thread.run_sync(CliRunner().invoke, app, ["add", str(source)])
    words = [str(file), "--model", "reward@1"]
    ended = await to_thread.run_sync(CliRunner().invoke, evaluate_app, words)

    assert (added.exit_code, ended.exit_code) == (0, 0), ended.exception
    assert "what reward@1 learned from: it was made elsewhere" in " ".join(ended.output.split())
