import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.trainer.trained import TrainedReward
from shared.errors import ArtifactError
from shared.ml.artifact import load_scorer, write_artifact
from shared.ml.backbones import default_encoder_folder
from shared.ml.golden import golden_pairs
from shared.ml.scorer import Pair
from shared.ml.staging import staged_folder

Spoil = Callable[[str, Callable[[bytes], bytes]], Path]


def test_a_whole_artifact_loads_and_names_itself(trained: TrainedReward, secret: bytes) -> None:
    scorer = load_scorer(trained.folder, secret=secret)

    assert scorer.manifest == trained.manifest
    assert scorer.manifest.golden.rows >= 100
    assert {"head.safetensors", "golden.jsonl", "card.md"} <= set(scorer.manifest.files)


def test_another_secret_is_refused(trained: TrainedReward) -> None:
    with pytest.raises(ArtifactError, match="not signed with this deployment's secret"):
        load_scorer(trained.folder, secret=b"quite another secret, also long enough")


def test_a_manifest_edited_by_hand_is_refused(spoil: Spoil, secret: bytes) -> None:
    folder = spoil(
        "reward_model.json", lambda old: old.replace(b'"code_version"', b'"code_version" ')
    )
    assert load_scorer(folder, secret=secret)
    folder = spoil("reward_model.json", lambda old: old.replace(b'"test"', b'"tampered"'))

    with pytest.raises(ArtifactError, match="not signed"):
        load_scorer(folder, secret=secret)


def test_a_broken_manifest_is_refused_with_the_place(spoil: Spoil, secret: bytes) -> None:
    folder = spoil("reward_model.json", lambda old: old.replace(b'"embedding"', b'"magic"', 1))

    with pytest.raises(ArtifactError, match="kind is wrong"):
        load_scorer(folder, secret=secret)


@pytest.mark.parametrize("name", ["head.safetensors", "golden.jsonl", "card.md"])
def test_a_changed_file_is_refused_by_name(spoil: Spoil, secret: bytes, name: str) -> None:
    folder = spoil(name, lambda old: old[:-2] + b"xx")

    with pytest.raises(ArtifactError, match=f"{name} was changed"):
        load_scorer(folder, secret=secret)


def test_a_missing_file_is_refused_by_name(copied: Path, secret: bytes) -> None:
    (copied / "head.safetensors").unlink()

    with pytest.raises(ArtifactError, match=r"head\.safetensors is missing"):
        load_scorer(copied, secret=secret)


def test_a_file_that_nobody_signed_is_refused(copied: Path, secret: bytes) -> None:
    (copied / "notes.txt").write_text("hello")

    with pytest.raises(ArtifactError, match=r"notes\.txt is not in the manifest"):
        load_scorer(copied, secret=secret)


def test_a_pickle_beside_the_weights_is_refused(copied: Path, secret: bytes) -> None:
    (copied / "training_args.bin").touch()

    with pytest.raises(ArtifactError, match=r"training_args\.bin"):
        load_scorer(copied, secret=secret)


def test_golden_rows_that_score_differently_are_refused(
    trained: TrainedReward, tmp_path: Path, secret: bytes
) -> None:
    def fill(stage: Path) -> None:
        (stage / "head.safetensors").write_bytes((trained.folder / "head.safetensors").read_bytes())

    folder = tmp_path / "model"
    write_artifact(folder, trained.manifest, fill=fill, secret=secret)
    rows = [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]
    rows[0]["reward"] += 0.01
    resign(folder, "\n".join(json.dumps(row) for row in rows), secret)

    with pytest.raises(ArtifactError, match="golden rows 0.01 away"):
        load_scorer(folder, secret=secret)
    assert load_scorer(folder, secret=secret, verify=False).score([Pair("a", "b")])


def resign(folder: Path, golden: str, secret: bytes) -> None:
    from shared.ml import artifact

    (folder / "golden.jsonl").write_text(golden)
    manifest = artifact.read_manifest(folder, secret=secret)
    changed = manifest.model_copy(update={"files": artifact._hash_files(folder)})
    signed = changed.model_copy(update={"signature": artifact._signature(changed, secret)})
    (folder / "reward_model.json").write_text(signed.model_dump_json())


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, trained: TrainedReward) -> None:
    def fill(stage: Path) -> None:
        (stage / "head.safetensors").write_bytes(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_artifact(tmp_path / "model", trained.manifest, fill=fill, secret=b"x" * 32)

    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_never_overwritten(trained: TrainedReward) -> None:
    with pytest.raises(ArtifactError, match="never overwritten"), staged_folder(trained.folder):
        pass


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(ArtifactError, match="cannot be written"),
        staged_folder(tmp_path / "file" / "model"),
    ):
        pass


def test_golden_pairs_are_the_same_on_every_call_and_pass_every_window() -> None:
    pairs = golden_pairs()

    assert pairs == golden_pairs()
    assert len(pairs) == len(set(pairs)) >= 100
    assert max(len(pair.response.split()) for pair in pairs) > 512


def test_the_card_and_the_golden_rows_hold_no_text_that_people_wrote(
    trained: TrainedReward,
) -> None:
    for name in ("card.md", "golden.jsonl", "reward_model.json"):
        assert "Gladly" not in (trained.folder / name).read_text()


def test_an_encoder_whose_tokenizer_changed_is_refused(
    trained: TrainedReward, tmp_path: Path, secret: bytes
) -> None:
    def fill(stage: Path) -> None:
        head = (trained.folder / "head.safetensors").read_bytes()
        (stage / "head.safetensors").write_bytes(head)
        shutil.copytree(default_encoder_folder(), stage / "encoder")
        tokenizer = stage / "encoder" / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text().replace('"lowercase":true', '"lowercase":false'))

    moved = trained.manifest.backbone.model_copy(update={"path": "encoder"})
    draft = trained.manifest.model_copy(update={"backbone": moved})

    with pytest.raises(ArtifactError, match="is not the one this model was trained on"):
        write_artifact(tmp_path / "model", draft, fill=fill, secret=secret)
