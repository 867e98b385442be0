"""Eight bits: steps that were fixed once, so that no text's numbers depend on its neighbours."""

import numpy as np
import pytest
import torch

from shared.errors import ArtifactError
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder, open_int8_encoder
from shared.ml.quantised import (
    Step,
    quantised,
    read_ranges,
    refuse_without_int8,
    write_ranges,
)

_DRAW = np.random.default_rng(3)
_ROWS = [
    [101, *_DRAW.integers(1000, 29000, length).tolist(), 102]
    for length in (*range(0, 60, 3), 100, 180, 254)
]


def needs_int8() -> None:
    """Skip, and say why, where the processor has no such instructions."""
    try:
        refuse_without_int8()
    except ArtifactError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def int8():
    needs_int8()
    return open_int8_encoder(default_encoder_folder(), _ROWS)


def test_levels_hold_zero_exactly_and_clip_what_lies_outside() -> None:
    step = Step.between(-1.0, 1.55)

    levels = step.levels(torch.tensor([-9.0, -1.0, 0.0, 0.01, 1.55, 9.0]))

    assert step.scale == pytest.approx(0.01)
    assert levels.tolist() == [0, 0, 100, 101, 255, 255]


def test_a_product_is_off_by_no_more_than_its_levels() -> None:
    needs_int8()
    draw = torch.Generator().manual_seed(1)
    weight, rows = torch.randn(24, 64, generator=draw), torch.randn(16, 64, generator=draw)
    bias = torch.randn(24, generator=draw)
    ends = float(rows.min()), float(rows.max())
    expected = rows @ weight.T + bias

    plain = quantised(weight, bias, taken=ends, given=None)
    wide = quantised(weight, bias, taken=ends, given=(-0.2, float(expected.max())))

    assert (plain(rows) - expected).abs().max() < 0.03 * expected.std() * 8
    gelu = torch.nn.functional.gelu(expected)
    found = (wide.gelu(rows).float() - wide.given.zero) * wide.given.scale
    assert (found - gelu).abs().max() < wide.given.scale + 0.03 * expected.std() * 8
    assert wide.gelu(rows).dtype == torch.uint8


def test_embeddings_in_eight_bits_are_near_and_are_not_the_reference(int8) -> None:
    encoder, _ = int8

    found, exact = encoder.embed(_ROWS), open_encoder(default_encoder_folder()).embed(_ROWS)

    cosines = np.sum(found * exact, axis=1)
    assert encoder.engine == "torch-packed-int8"
    assert 0.93 < cosines.min() < 0.9999


@pytest.mark.parametrize("size", [1, 8, 64])
def test_a_text_has_the_same_vectors_in_any_batch(int8, size) -> None:
    encoder, _ = int8

    together = encoder.views(_ROWS)

    parts = [encoder.views(_ROWS[at : at + size]) for at in range(0, len(_ROWS), size)]
    np.testing.assert_allclose(np.concatenate(parts), together, rtol=0, atol=1e-6)


def test_ends_are_kept_and_read_back(int8, tmp_path) -> None:
    encoder, ranges = int8

    write_ranges(tmp_path, ranges)

    again = open_encoder(default_encoder_folder(), ranges=read_ranges(tmp_path))
    assert again is encoder
    assert len(ranges) == 6 * 4


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [1]}'])
def test_broken_ends_are_refused(tmp_path, text) -> None:
    (tmp_path / "int8.json").write_text(text)

    with pytest.raises(ArtifactError, match=r"int8\.json"):
        read_ranges(tmp_path)


def test_ends_of_another_encoder_are_refused() -> None:
    needs_int8()

    with pytest.raises(ArtifactError, match="no ends for encoder.layer.0"):
        open_encoder(default_encoder_folder(), ranges={"encoder.layer.9.qkv": (0.0, 1.0)})


def test_a_processor_without_the_instructions_is_told_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)

    with pytest.raises(ArtifactError, match="train and serve with engine fp32"):
        refuse_without_int8()
