import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from shared.errors import ArtifactError
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import EMBEDDING, VIEWS, open_encoder, read_pooling
from shared.ml.folders import sha256_of_backbone
from shared.ml.plain import PlainEncoder

TEXTS = [
    "short",
    "A sentence of a normal length, with punctuation; and a number 42.",
    "long text " * 80,
    "Ünïcödé 雪 🙂",
    "",
]


def ids_of(texts: list[str]) -> list[list[int]]:
    encoder = open_encoder(default_encoder_folder())
    tokenizer = encoder.tokenizer
    return [tokenizer.head_window(ids, encoder.max_tokens).ids for ids in tokenizer.ids(texts)]


def test_the_packed_engine_gives_the_embeddings_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(default_encoder_folder()), device="cpu").encode(TEXTS)

    found = open_encoder(default_encoder_folder()).embed(ids_of(TEXTS))

    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize("size", [1, 8, 64])
def test_an_embedding_does_not_depend_on_its_batch(size: int) -> None:
    encoder = open_encoder(default_encoder_folder())
    rows = ids_of([f"{text} {at}" for at in range(13) for text in TEXTS])
    whole = encoder.embed(rows)

    parts = [encoder.embed(rows[at : at + size]) for at in range(0, len(rows), size)]

    assert np.abs(np.concatenate(parts) - whole).max() <= 1e-6


def test_no_rows_give_no_embeddings() -> None:
    assert open_encoder(default_encoder_folder()).embed([]).shape == (0, 384)


def test_models_on_one_backbone_share_one_copy_of_it() -> None:
    assert open_encoder(default_encoder_folder()) is open_encoder(default_encoder_folder())


def test_another_architecture_runs_through_transformers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = DistilBertConfig(vocab_size=30522, dim=16, hidden_dim=32, n_layers=1, n_heads=2)
    model = DistilBertModel(config).eval()
    model.save_pretrained(tmp_path)
    shutil.copy(default_encoder_folder() / "tokenizer.json", tmp_path)
    rows = ids_of(TEXTS[:2])
    with torch.inference_mode():
        expected = model(torch.tensor([rows[1]])).last_hidden_state[0].mean(dim=0).numpy()

    encoder = open_encoder(tmp_path)

    assert encoder.engine == "transformers-fp32"
    assert np.abs(encoder.embed(rows)[1] - expected).max() <= 1e-5


def test_the_hash_of_a_backbone_changes_with_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    before = sha256_of_backbone(folder)

    (folder / "tokenizer.json").write_text('{"changed": true}')

    assert sha256_of_backbone(folder) != before


@pytest.mark.parametrize("name", ["weights.bin", "weights.pt", "head.pkl", "modeling.py"])
def test_a_folder_whose_files_can_run_code_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    with pytest.raises(ArtifactError, match=name):
        open_encoder(tmp_path)


def test_a_folder_that_asks_for_remote_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))

    with pytest.raises(ArtifactError, match="auto_map"):
        open_encoder(tmp_path)


def test_an_unknown_sentence_transformers_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "my.Evil", "path": ""}]))

    with pytest.raises(ArtifactError, match="Evil"):
        open_encoder(tmp_path)


def test_weights_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    shutil.copytree(default_encoder_folder(), tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(ArtifactError, match="cannot be read"):
        open_encoder(tmp_path / "encoder")


def test_both_engines_see_the_same_views() -> None:
    folder = default_encoder_folder()
    packed, rows = open_encoder(folder), ids_of(TEXTS)
    plain = PlainEncoder(folder, read_pooling(folder), sha256="")

    ours, theirs = packed.views(rows), plain.views(rows)

    assert ours.shape == (len(TEXTS), VIEWS, 384)
    assert np.abs(ours - theirs).max() <= 1e-4
    assert np.abs(ours[:, EMBEDDING] - packed.embed(rows)).max() <= 1e-6


def test_the_names_that_the_oldest_berts_give_their_norms_are_known(tmp_path: Path) -> None:
    folder = bare(tmp_path / "bert", BertModel(BertConfig(**TINY)))
    expected = open_encoder(folder).embed(ids_of(TEXTS[:2]))
    path = folder / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {
        name.replace(today, once): tensor
        for name, tensor in load_file(path).items()
        for today, once in old.items()
        if today in name
    }
    others = {name: one for name, one in load_file(path).items() if "LayerNorm" not in name}
    save_file(renamed | others, path, metadata={"format": "pt"})

    found = open_encoder(folder)

    assert found.engine == "torch-packed-fp32"
    assert np.array_equal(found.embed(ids_of(TEXTS[:2])), expected)


def test_a_family_with_fewer_places_than_positions_reads_texts_of_any_length(
    tmp_path: Path,
) -> None:
    places = TINY | {"max_position_embeddings": 66, "pad_token_id": 1}
    folder = bare(tmp_path / "roberta", RobertaModel(RobertaConfig(**places)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    shutil.copyfile(default_encoder_folder() / "modules.json", folder / "modules.json")
    shutil.copytree(
        default_encoder_folder() / "1_Pooling", folder / "1_Pooling", copy_function=shutil.copyfile
    )

    encoder = open_encoder(folder)

    window = encoder.tokenizer.head_window(range(3, 500), encoder.max_tokens)
    assert len(window.ids) == 64
    assert np.isfinite(encoder.embed([window.ids])).all()


TINY = {
    "vocab_size": 30_522,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def bare(folder: Path, model: BertModel | RobertaModel) -> Path:
    """A small encoder with random weights and the default encoder's tokenizer."""
    model.save_pretrained(folder)
    shutil.copyfile(default_encoder_folder() / "tokenizer.json", folder / "tokenizer.json")
    return folder
