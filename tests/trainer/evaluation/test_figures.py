"""Contestants side by side: subsets, baselines and differences."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.evaluation.cases import Case, cases_of_dataset
from services.trainer.evaluation.figures import Contestant, evaluate_cases
from services.trainer.evaluation.outcomes import outcomes_of, split_rewards
from services.trainer.evaluation.plots import write_plots
from services.trainer.evaluation.report import Source, report
from services.trainer.examples import PreferencePair, RewardDataset


def cases(count: int) -> list[Case]:
    """Of every four responses the first is right and the longest one wrong."""
    return [
        Case(
            f"prompt {at}",
            ("right",),
            ("wrong", "bad", "far longer and wrong"),
            subset="even" if at % 2 == 0 else "odd",
            group=f"prompt {at}",
        )
        for at in range(count)
    ]


def contestant(name: str, asked: list[Case], *, wins: float) -> Contestant:
    """Wins the first share of the cases, and loses the others to one response."""
    won = len(asked) * wins
    rewards = [r for at, _ in enumerate(asked) for r in (1.0, 0.0, -1.0, 0.5 if at < won else 2.0)]
    splits = split_rewards(np.array(rewards), asked)
    return Contestant(name, True, outcomes_of(splits), splits)


def test_models_stand_beside_chance_and_length():
    asked = cases(40)

    found = evaluate_cases(asked, [contestant("good", asked, wins=0.75)], margin=0.02)

    standings = {one.contestant.name: one.overall for one in found.standings}
    assert standings["good"].best_of_n.mean == 0.75
    assert standings["random"].best_of_n.mean == 0.25
    assert standings["longest"].best_of_n.mean == 0.0
    assert standings["good"].best_of_n.low < 0.75 < standings["good"].best_of_n.high


def test_each_subset_has_figures_of_its_own_and_counts_once_in_their_mean():
    asked = cases(40)
    asked[0] = Case("a", ("right",), ("wrong", "bad", "longer"), subset="alone", group="a")

    found = evaluate_cases(asked, [contestant("good", asked, wins=0.5)], margin=0.02)

    standing = found.standings[0]
    assert set(standing.subsets) == {"alone", "even", "odd"}
    assert standing.subsets["alone"].best_of_n.mean == 1.0
    parts = [one.best_of_n.mean for one in standing.subsets.values()]
    assert standing.subset_mean == pytest.approx(sum(parts) / 3)


def test_later_models_are_compared_with_earlier_ones_on_the_same_cases():
    asked = cases(200)
    models = [contestant("old", asked, wins=0.5), contestant("new", asked, wins=0.7)]

    found = evaluate_cases(asked, models, margin=0.02)

    [overall] = [
        one for one in found.differences
        if (one.left, one.right, one.subset) == ("new", "old", "all")
    ]  # fmt: skip
    assert overall.comparison.difference == pytest.approx(0.2)
    assert overall.comparison.verdict == "better"
    assert overall.comparison.low > 0


def test_equal_models_are_not_called_better():
    asked = cases(60)
    models = [contestant("one", asked, wins=0.6), contestant("two", asked, wins=0.6)]

    found = evaluate_cases(asked, models, margin=0.02)

    assert "better" not in {
        one.comparison.verdict for one in found.differences if one.right == "one"
    }


def test_the_report_names_everything_and_holds_no_text():
    asked = cases(20)
    found = evaluate_cases(asked, [contestant("good", asked, wins=0.75)], margin=0.02)

    document = report(found, [Source("cases.jsonl", "ab", 20, {"ties": 2}, 1)], asked)

    assert document["sources"][0]["left_out"] == {"ties": 2}
    assert [one["name"] for one in document["contestants"]] == [
        "good", "random", "longest", "shortest",
    ]  # fmt: skip
    assert document["contestants"][0]["overall"]["score"] == 0.75
    assert "right" not in str([one["overall"] for one in document["contestants"]])
    assert "prompt 3" not in str(document)


def constant(asked: list[Case]) -> Contestant:
    """Gives every response the same reward."""
    splits = split_rewards(np.zeros(4 * len(asked)), asked)
    return Contestant("$x{$", True, outcomes_of(splits), splits)


def test_a_difference_is_that_of_the_accuracies_beside_it():
    """Four equal rewards give a quarter to each response, neither a tie nor a loss."""
    asked = cases(40)
    models = [constant(asked), contestant("good", asked, wins=0.75)]

    found = evaluate_cases(asked, models, margin=0.02)

    [comparison] = [
        one.comparison for one in found.differences if (one.right, one.subset) == ("$x{$", "all")
    ]
    assert comparison.opponent_accuracy == found.standings[0].overall.best_of_n.mean == 0.25
    assert comparison.difference == pytest.approx(0.5)


def test_a_few_cases_in_a_row_are_no_certainty():
    asked = cases(10)

    found = evaluate_cases(asked, [contestant("good", asked, wins=1.0)], margin=0.02)

    best_of_n = found.standings[0].overall.best_of_n
    assert (best_of_n.mean, best_of_n.high) == (1.0, 1.0)
    assert best_of_n.low == pytest.approx(0.6615, abs=1e-3)  # as of the audit's shares


def test_plots_of_odd_names_and_of_many_subsets_are_written(tmp_path):
    asked = [replace(case, subset=f"subset {at} $a{{$") for at, case in enumerate(cases(600))]

    found = evaluate_cases(asked, [constant(asked)], margin=0.02)
    written = write_plots(tmp_path, found)

    assert len(found.standings[0].subsets) == 600
    assert all(path.stat().st_size < 500_000 for path in written)


def test_plots_are_written(tmp_path):
    asked = cases(20)
    found = evaluate_cases(asked, [contestant("good", asked, wins=0.75)], margin=0.02)

    written = write_plots(tmp_path / "plots", found)

    assert [path.name for path in written] == ["accuracy.png", "differences.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_a_dataset_gives_its_held_out_side_by_slice():
    def pair(agent: str) -> PreferencePair:
        return PreferencePair("p", "a", "b", group="g", slices={"agent": agent}, row_ids=("r",))

    dataset = RewardDataset([pair("x")], [pair("y"), pair("z")], [], [], "hash")

    held_out = cases_of_dataset(dataset, side="test", by="agent")

    assert [case.subset for case in held_out] == ["y", "z"]
    assert [case.subset for case in cases_of_dataset(dataset, side="all", by=None)] == [
        "preference"
    ] * 3
