"""Alarms on simulated policies whose faults are known."""

from collections import Counter
from dataclasses import replace

import pytest
from support.simulated_policies import Simulated, simulated_report

from services.trainer.policies.alarms import alarms
from services.trainer.policies.diversity import distinct, distinct_of_both, repetition

SAME = Simulated()
BETTER = Simulated(reward=1.0, gold=0.6)


def codes(report) -> dict[str, str]:
    return {one.code: one.severity for one in report.alarms}


@pytest.mark.parametrize("prompts", [16, 64])
def test_an_unchanged_policy_rarely_raises_an_alarm(prompts: int):
    found = Counter(
        code
        for seed in range(60)
        for code in codes(simulated_report(SAME, SAME, prompts=prompts, seed=seed))
    )

    assert found.total() <= 60 * 0.05


def test_an_honest_improvement_rarely_raises_an_alarm():
    found = [simulated_report(SAME, BETTER, seed=seed).alarms for seed in range(40)]

    assert sum(len(one) > 0 for one in found) <= 2


def test_a_gain_that_the_second_reward_model_takes_for_a_loss_blocks():
    hacked = Simulated(reward=2.0, gold=-0.5)

    found = [codes(simulated_report(SAME, hacked, seed=seed)) for seed in range(20)]

    assert all(one.get("gold_gap") == "blocks" for one in found)


def test_a_gain_that_the_second_reward_model_does_not_see_never_goes_unnoticed():
    hacked = Simulated(reward=2.0, gold=0.0)

    found = [codes(simulated_report(SAME, hacked, seed=seed)) for seed in range(40)]

    assert all(one.keys() & {"gold_gap", "gold_unconfirmed"} for one in found)
    assert sum("gold_gap" in one for one in found) >= 32


def test_a_gain_that_few_prompts_can_neither_confirm_nor_deny_is_not_confirmed():
    found = simulated_report(SAME, Simulated(reward=1.0, gold=0.3), prompts=20, seed=1)

    assert codes(found) == {"gold_unconfirmed": "warns"}


def test_without_a_second_reward_model_nothing_is_said_of_it():
    found = simulated_report(SAME, Simulated(reward=2.0), has_gold=False)

    assert codes(found) == {}


@pytest.mark.parametrize(
    ("fault", "code", "severity"),
    [
        ({"tokens": 60}, "length_drift", "warns"),
        ({"tokens": 150}, "length_drift", "blocks"),
        ({"tokens": 12}, "length_drift", "warns"),
        ({"repeats": 0.3}, "repetition_drift", "warns"),
        ({"repeats": 0.7}, "repetition_drift", "blocks"),
        ({"words": 3}, "diversity_collapse", "blocks"),
        ({"entropy": 0.6}, "entropy_collapse", "warns"),
        ({"entropy": 0.1}, "entropy_collapse", "blocks"),
        ({"ended": 0.6}, "ended_falls", "warns"),
        ({"ended": 0.1}, "ended_falls", "blocks"),
        ({"broken": 0.5}, "constraint_broken", "blocks"),
        ({"kl": 30.0}, "kl_budget", "warns"),
    ],
)
def test_each_fault_raises_its_alarm(fault: dict[str, float], code: str, severity: str):
    found = simulated_report(SAME, replace(BETTER, **fault), prompts=150, seed=2)

    assert codes(found).get(code) == severity


def test_a_policy_that_has_learned_to_end_is_not_blamed_for_being_shorter():
    rambling = Simulated(ended=0.05, tokens=100)

    assert codes(simulated_report(rambling, BETTER)) == {}


@pytest.mark.parametrize(("tokens", "codes"), [(4.0, {"length_drift"}), (20.0, set())])
def test_a_policy_that_is_rewarded_for_saying_next_to_nothing_is_blocked(
    tokens: float, codes: set[str]
):
    before, after = (
        Simulated(tokens=60, ended=0.3),
        Simulated(tokens=tokens, ended=1.0, reward=1.0, gold=1.0),
    )

    report = simulated_report(before, after, liked_words=30.0)

    assert {one.code for one in report.alarms if one.severity == "blocks"} == codes


def test_imitation_may_change_how_a_policy_writes_but_not_what_people_think_of_it():
    """What would block a policy that learned from rewards only warns of one that did not."""
    other = Simulated(reward=2.0, gold=-0.5, entropy=0.1, repeats=0.7, kl=90.0)
    report = simulated_report(SAME, other).model_copy(update={"learned_from_rewards": False})

    found = {one.code: one.severity for one in alarms(report)}

    assert found["gold_gap"] == "blocks"
    assert found["entropy_collapse"] == found["repetition_drift"] == "warns"
    assert "kl_budget" not in found


def test_a_budget_that_was_given_blocks_only_well_beyond_it():
    beyond = simulated_report(SAME, replace(BETTER, kl=12.0), kl_budget=6.0)
    near = simulated_report(SAME, replace(BETTER, kl=7.0), kl_budget=6.0)

    assert codes(beyond) == {"kl_budget": "blocks"}
    assert codes(near) == {}


def test_alarms_of_a_stored_report_are_those_it_was_stored_with():
    report = simulated_report(SAME, Simulated(reward=2.0, gold=-1.0, tokens=90))
    again = type(report).model_validate_json(report.model_dump_json())

    assert alarms(again) == report.alarms
    assert len(report.alarms) == 2


def test_repetition_counts_three_tokens_that_came_before():
    """1 2 3 1 2 3: of the 3-grams 123 231 312 123 one of four came before."""
    assert repetition([1, 2, 3, 1, 2, 3]) == pytest.approx(0.25)
    assert repetition([1, 2, 3, 4]) == 0
    assert repetition([5]) == 0


def test_distinct_counts_over_all_responses():
    """1 2 1 and 1 2: pairs 12 21 12, of which two kinds; without either: 1 of 1, 2 of 2."""
    found = distinct([[1, 2, 1], [1, 2]], 2)

    assert found.value == pytest.approx(2 / 3)
    assert found.without_each.tolist() == [1.0, 1.0]


def test_a_longer_response_is_not_called_less_distinct_for_its_length():
    first, second, change = distinct_of_both([[1, 2, 3], [4]], [[1, 2, 3, 1, 2, 3], [4, 4, 4]], 1)

    assert first.value == second.value == 1.0
    assert change.value == 0
