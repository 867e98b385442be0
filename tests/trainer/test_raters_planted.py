"""Random and adversarial raters, planted among a hundred: what they cost a model with weights."""

import numpy as np
import pytest

from benchmarks.raters import compare, summarise


def test_weights_win_back_most_of_what_planted_raters_cost():
    judged = [(0, "once"), (1, "once"), (1, "stars")]
    runs = [compare(seed, design, 3000) for seed, design in judged]

    mean = {name: np.mean([run[name] for run in runs]) for name in runs[0]}
    assert mean["by_agreement_and_model"] > mean["unweighted"] + 0.005
    assert mean["by_agreement_and_model"] > mean["oracle"] - 0.015


@pytest.mark.slow
def test_ten_thousand_pairs_with_planted_raters_cost_less_than_a_point_with_weights():
    found = summarise([compare(seed, "once", 10_000) for seed in range(2)])

    assert found["by_agreement_and_model"]["cost_points"] < 1.0
    assert found["by_agreement_and_model"]["accuracy"] > found["unweighted"]["accuracy"]
