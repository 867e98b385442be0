from pathlib import Path

import numpy as np
import pytest

from shared.errors import ArtifactError
from shared.ml.head import HEAD_FILE, Embedded, RewardHead, dense_features, read_head


def embedded() -> Embedded:
    """Two responses of two dimensions: (1, 0) and (0, 2)."""
    response = np.array([[1.0, 0.0], [0.0, 2.0]], dtype=np.float32)
    return Embedded(response, response, np.array([3, 4]), ["one", "two"])


def test_each_aspect_has_a_reward_of_its_own() -> None:
    aspects = {"accuracy": np.array([1.0, 2.0, 0.5]), "tone": np.array([0.0, -1.0, 0.0])}
    head = RewardHead(("response",), np.array([3.0, 4.0]), 1.0, aspects=aspects)

    found = head.aspect_rewards(dense_features(head.features, embedded()))

    assert head.rewards(embedded()).tolist() == [4.0, 9.0]
    assert {name: values.tolist() for name, values in found.items()} == {
        "accuracy": [1.5, 4.5],
        "tone": [0.0, -2.0],
    }


def test_a_stored_head_comes_back_with_its_aspects(tmp_path: Path) -> None:
    head = RewardHead(
        ("response",), np.array([3.0, 4.0]), 1.0, aspects={"tone": np.array([0.1, 0.2, 0.3])}
    )
    (tmp_path / HEAD_FILE).write_bytes(head.to_bytes())

    read = read_head(tmp_path, ("response",), dim=2)

    assert read.weights.tolist() == [3.0, 4.0]
    assert {name: found.tolist() for name, found in read.aspects.items()} == {
        "tone": [0.1, 0.2, 0.3]
    }


def test_an_aspect_that_does_not_fit_the_features_is_refused(tmp_path: Path) -> None:
    head = RewardHead(("response",), np.array([3.0, 4.0]), 1.0, aspects={"tone": np.ones(2)})
    (tmp_path / HEAD_FILE).write_bytes(head.to_bytes())

    with pytest.raises(ArtifactError, match="does not fit the features"):
        read_head(tmp_path, ("response",), dim=2)
