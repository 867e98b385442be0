"""The gate on simulated policies: better than base and live one, and nothing suspicious."""

import pytest
from support.simulated_policies import Simulated, simulated_report

from services.trainer.config import TrainerSettings
from services.trainer.gates import Verdict, explain
from services.trainer.policies.policy_gates import compare_policies, policy_gate

SETTINGS = TrainerSettings()
SAME, BETTER, WORSE = Simulated(), Simulated(reward=1.0, gold=0.6), Simulated(reward=-1.0)
HACKED = Simulated(reward=2.0, gold=-0.5)


def test_an_honest_improvement_over_base_and_live_policy_goes_live():
    gate = policy_gate(simulated_report(SAME, BETTER), simulated_report(SAME, BETTER), SETTINGS)

    assert (gate["verdict"], gate["passed"], gate["promotes"]) == ("better", True, True)
    assert [one["opponent"] for one in gate["comparisons"]] == ["base", "champion"]


def test_a_hacked_policy_does_not_pass_however_much_its_reward_rises():
    gate = policy_gate(simulated_report(SAME, HACKED), None, SETTINGS)

    assert (gate["verdict"], gate["passed"], gate["promotes"]) == ("better", False, False)
    assert "second reward model" in gate["failures"][0]


def test_a_policy_that_does_not_beat_the_live_one_does_not_pass():
    gate = policy_gate(simulated_report(SAME, BETTER), simulated_report(BETTER, BETTER), SETTINGS)

    assert not gate["passed"]


def test_a_doubt_leaves_the_decision_to_a_person():
    longer = Simulated(reward=1.0, gold=0.6, tokens=60)

    gate = policy_gate(simulated_report(SAME, longer), None, SETTINGS)

    assert (gate["passed"], gate["promotes"]) == (True, False)
    assert "times as long" in gate["warnings"][0]


def test_an_unchanged_policy_is_rarely_better():
    verdicts = [
        compare_policies(simulated_report(SAME, SAME, prompts=24, seed=seed), "base").verdict
        for seed in range(100)
    ]

    assert verdicts.count(Verdict.BETTER) <= 100 * 0.1


def test_a_policy_that_lost_reward_is_worse():
    assert compare_policies(simulated_report(SAME, WORSE), "base").verdict is Verdict.WORSE


@pytest.mark.parametrize("prompts", [1, 3])
def test_equal_responses_to_few_prompts_prove_nothing(prompts: int):
    report = simulated_report(SAME, SAME, prompts=prompts)
    equal = report.model_copy(
        update={"rows": [row.model_copy(update={"after": row.before}) for row in report.rows]}
    )

    found = compare_policies(equal, "base")

    assert found.verdict is Verdict.UNDECIDABLE
    assert (found.wins, found.losses) == (0, 0)


def test_without_a_reward_the_second_model_decides():
    report = simulated_report(SAME, BETTER)
    blind = report.model_copy(
        update={
            "changes": {name: one for name, one in report.changes.items() if name != "reward"},
            "win_rate": None,
        }
    )

    found = compare_policies(blind, "base")

    assert found.verdict is Verdict.BETTER
    assert found.told.startswith("second reward model's reward")


def test_a_policy_that_nothing_judged_waits_for_a_person():
    report = simulated_report(SAME, BETTER, has_gold=False)
    blind = report.model_copy(
        update={"changes": {k: v for k, v in report.changes.items() if k != "reward"}}
    )

    gate = policy_gate(blind, None, SETTINGS)

    assert (gate["verdict"], gate["passed"]) == ("undecidable", False)
    assert "a person has to decide" in explain(gate)


def test_the_gate_is_told_in_words_of_rewards():
    gate = policy_gate(simulated_report(SAME, BETTER), None, SETTINGS)

    assert "held-out prompts, difference +1." in explain(gate)
