"""Arithmetic of different precision: the same text scores the same in any batch of one engine."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import ArtifactError
from shared.ml import engines
from shared.ml.attention import attend, varying
from shared.ml.backbones import default_encoder_folder
from shared.ml.cores import on_cores
from shared.ml.encoder import open_encoder
from shared.ml.engines import BF16, FP32, arithmetic_for
from shared.ml.golden import tolerance_of
from shared.ml.products import product, slack

# One length after another, so that batches of all sizes end at all of them.
_ROWS = [[101, *range(1000, 1000 + length), 102] for length in (*range(0, 60, 3), 100, 180, 254)]


@pytest.mark.parametrize("engine", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [2, 8, 64])
def test_a_text_has_the_same_vectors_alone_and_in_any_batch(engine, size) -> None:
    encoder = open_encoder(default_encoder_folder(), engine=engine)

    alone = np.concatenate([encoder.views([ids]) for ids in _ROWS])
    together = [encoder.views(_ROWS[at : at + size]) for at in range(0, len(_ROWS), size)]

    np.testing.assert_allclose(alone, np.concatenate(together), rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["fp32", "bf16"])
@pytest.mark.parametrize("cores", [2, 3, 8])
def test_a_text_has_the_same_vectors_on_any_number_of_cores(engine, cores) -> None:
    encoder = open_encoder(default_encoder_folder(), engine=engine)

    on_one = np.concatenate([encoder.views([ids]) for ids in _ROWS])
    with on_cores(cores):
        assert torch.get_num_threads() == cores
        on_many = np.concatenate([encoder.views([ids]) for ids in _ROWS])

    assert torch.get_num_threads() == 1
    np.testing.assert_allclose(on_one, on_many, rtol=0, atol=1e-6)


def test_half_the_bits_give_nearly_the_same_embeddings() -> None:
    whole, half = (
        open_encoder(default_encoder_folder(), engine=choice).embed(_ROWS)
        for choice in ("fp32", "bf16")
    )

    cosines = np.sum(whole * half, axis=1)
    assert 0.999 < cosines.min() < 1


def test_engines_do_not_share_weights_and_the_same_one_does() -> None:
    folder = default_encoder_folder()

    assert open_encoder(folder, engine="bf16") is open_encoder(folder, engine="bf16")
    assert open_encoder(folder, engine="bf16") is not open_encoder(folder, engine="fp32")
    assert open_encoder(folder, engine="fp32") is open_encoder(folder)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, BF16), (False, FP32)])
def test_auto_takes_bf16_only_where_the_processor_multiplies_it(
    monkeypatch, has_bf16, expected
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bf16})

    assert arithmetic_for("auto") is expected
    assert arithmetic_for("fitted") is FP32
    assert arithmetic_for("bf16") is BF16


@pytest.mark.parametrize("is_emulated", [False, True])
def test_a_gpu_that_multiplies_bf16_itself_is_taken_before_the_processor(
    monkeypatch, is_emulated
) -> None:
    def is_supported(*, including_emulation: bool = True) -> bool:
        return including_emulation or not is_emulated

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)

    assert (arithmetic_for("auto") is engines.CUDA_BF16) is not is_emulated
    assert arithmetic_for("fitted") is FP32


def test_golden_rewards_may_differ_more_only_where_the_engine_is_coarser() -> None:
    fp32, bf16 = "torch-packed-fp32", "torch-packed-bf16"

    assert tolerance_of(fp32, fp32, 1e-4, spread=4) == 1e-4
    assert tolerance_of(bf16, fp32, 1e-4, spread=0.5) == 0.03
    assert tolerance_of(bf16, fp32, 1e-4, spread=4) == pytest.approx(0.12)
    assert tolerance_of(bf16, bf16, 1e-4, spread=4) == 1e-4


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_attention_of_all_texts_at_once_is_that_of_each_by_itself() -> None:
    packed = torch.randn(48, 3 * 64, generator=torch.Generator().manual_seed(1))
    spans = [(0, 1), (1, 8), (8, 40)]

    np.testing.assert_allclose(
        varying(packed, spans, 4), attend(packed, spans, heads=4), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("is_onednn", [True, False])
def test_a_product_is_that_of_its_weights_with_or_without_onednn(monkeypatch, is_onednn) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: is_onednn)
    draw = torch.Generator().manual_seed(1)
    weight, bias, rows = (torch.randn(shape, generator=draw) for shape in ((24, 8), (24,), (16, 8)))

    found = product(weight, bias, dtype=torch.float32)

    expected = rows @ weight.T + bias
    np.testing.assert_allclose(found(rows), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        found.gelu(rows), torch.nn.functional.gelu(expected), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("rows", "expected"), [(1, 16), (16, 16), (129, 160), (513, 576)])
def test_products_get_whole_blocks_of_rows(rows, expected) -> None:
    assert rows + slack(rows) == expected


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(default_encoder_folder(), tmp_path / "encoder", copy_function=shutil.copyfile)
    path = tmp_path / "encoder" / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in weights if name.endswith("layer.3.output.dense.bias"))]
    save_file(weights, path)

    with pytest.raises(ArtifactError, match="layer.3.output.dense.bias"):
        open_encoder(tmp_path / "encoder")
