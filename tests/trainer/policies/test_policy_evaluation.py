"""Tiny policies that write and are judged: unchanged, honestly better, and hacked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_policy import TEXTS, save_tiny_policy

from services.trainer.backbones import resolve_backbone
from services.trainer.config import TrainerSettings
from services.trainer.policies.evaluation import evaluate_policy, respond
from services.trainer.policies.generation import log_probs
from services.trainer.policies.opening import Opened, open_policy
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.policy_gates import policy_gate
from services.trainer.policies.rewards import Part, Rewards, Source
from services.trainer.policies.samples import reference, unseal
from shared.contracts.policy_report import PolicyReport
from shared.errors import ArtifactError, Unavailable

SECRET = b"a secret for the tests, long enough."
PROMPTS = [f"{question} {more}" for question in TEXTS[:10] for more in ("today", "please", "now")]
PARAMS = OnlineParams(max_response_tokens=10, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def base(folder: Path, tmp_path: Path) -> Opened:
    return _opened(folder, tmp_path / "base")


@pytest.fixture
def other(folder: Path, tmp_path: Path) -> Opened:
    return _opened(folder, tmp_path / "other")


def _opened(folder: Path, kept: Path) -> Opened:
    kept.mkdir()
    return open_policy(resolve_backbone(str(folder)), PARAMS, kept)


def prefer(policy: Opened, *words: str, by: float = 3.0) -> None:
    """Make a policy say these words more often, whatever it is asked."""
    head = policy.model.lm_head
    kept = policy.model.model.norm.weight  # the head has no bias: push along a common direction
    ids = policy.text.tokenizer.convert_tokens_to_ids(list(words))
    with torch.no_grad():
        kept[0] = 1.0
        states = policy.model.model.norm
        states.register_forward_hook(lambda _m, _i, out: _steady(out))
        head.weight[:, 0] = 0.0
        head.weight[ids, 0] = by


def _steady(states: torch.Tensor) -> torch.Tensor:
    states = states.clone()
    states[..., 0] = 1.0
    return states


def counting(*words: str):
    """A reward: how many of a response's words are among these."""
    return lambda _, responses: [
        float(sum(word in words for word in one.split())) for one in responses
    ]


def rewards(*words: str) -> Rewards:
    return Rewards([Part(Source("reward@1"), counting(*words))])


def evaluated(before: Opened, after: Opened, **given) -> PolicyReport:
    values = {"rewards": rewards("kind", "help"), "gold": counting("kind", "friend", "help")}
    return evaluate_policy(
        before, after, PROMPTS, params=PARAMS, progress=lambda *_: None, secret=SECRET,
        **values | given,
    )  # fmt: skip


def codes(report: PolicyReport) -> dict[str, str]:
    return {one.code: one.severity for one in report.alarms}


def test_an_unchanged_policy_writes_the_same_and_raises_nothing(base: Opened, other: Opened):
    report = evaluated(base, other)

    assert report.alarms == []
    assert all(row.before == row.after for row in report.rows)
    assert report.kl.value == pytest.approx(0, abs=1e-6)
    assert report.win_rate.value == 0.5
    assert not policy_gate(report, None, TrainerSettings())["passed"]


def test_an_honest_improvement_passes(base: Opened, other: Opened):
    prefer(other, "kind", "help", "friend", by=1.5)

    report = evaluated(base, other)
    gate = policy_gate(report, None, TrainerSettings())

    assert (gate["verdict"], gate["passed"]) == ("better", True)
    assert report.changes["reward"].low > 0
    assert report.changes["gold"].low > 0
    assert report.kl.value > 0.1


def test_a_hacked_policy_raises_the_alarm_and_does_not_pass(base: Opened, other: Opened):
    """The weak reward counts a word; people's reward likes responses that say something else."""
    prefer(other, "blue", by=6.0)

    report = evaluated(base, other, rewards=rewards("blue"), gold=counting("kind", "help", "sky"))
    gate = policy_gate(report, None, TrainerSettings())

    assert codes(report)["gold_gap"] == "blocks"
    assert codes(report)["diversity_collapse"] == "blocks"
    assert (gate["verdict"], gate["passed"], gate["promotes"]) == ("better", False, False)
    assert any("second reward model" in why for why in gate["failures"])


def test_the_distance_is_that_of_the_whole_distributions(base: Opened, other: Opened):
    """Beside the plain sum over vocabulary and tokens of one response, written out."""
    prefer(other, "kind", by=2.0)

    found = respond(other, PROMPTS[:1], PARAMS, other=base)

    asked = other.text.prompt(PROMPTS[0]).ids
    said = [*found.ids[0], *([other.text.end] if found.ended[0] else [])]
    ids = torch.tensor([[*asked, *said]])
    both = [
        log_probs(one.model, ids, torch.ones_like(ids), len(said))[1][0].detach().double()
        for one in (other, base)
    ]
    assert found.kl[0] == pytest.approx(float((both[0].exp() * (both[0] - both[1])).sum()), 1e-4)
    entropies = -(both[0].exp() * both[0]).sum(dim=1)
    assert found.entropy[0] == pytest.approx(float(entropies.mean()), 1e-4)


def test_evaluating_leaves_policies_and_random_numbers_as_they_were(base: Opened, other: Opened):
    base.model.train()
    weights = [one.clone() for one in other.model.parameters()]
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    evaluated(base, other)

    assert torch.equal(torch.rand(3), expected)
    assert base.model.training
    assert all(map(torch.equal, weights, other.model.parameters()))


def test_equal_seeds_give_equal_reports(base: Opened, other: Opened):
    prefer(other, "kind", by=1.0)

    first, second = (evaluated(base, other).model_copy(update={"samples": []}) for _ in range(2))

    assert first == second


def test_samples_can_be_read_with_their_prompt_alone(base: Opened, other: Opened):
    report = evaluated(base, other)
    sample = report.samples[0]
    row = report.rows[sample.row]
    (prompt,) = [one for one in PROMPTS if reference(one, SECRET) == row.prompt]

    before, after = unseal(sample.sealed, prompt, SECRET)

    assert len(before.split()) == row.before.words
    assert len(after.split()) == row.after.words
    for wrong in ((prompt + "?", SECRET), (prompt, b"another secret")):
        with pytest.raises(ArtifactError, match="cannot be opened"):
            unseal(sample.sealed, *wrong)


def test_no_text_can_be_read_in_a_report(base: Opened, other: Opened):
    stored = evaluated(base, other).model_dump_json()

    assert not any(prompt in stored for prompt in PROMPTS)


def test_policies_without_a_common_vocabulary_have_no_distance(base: Opened, tmp_path: Path):
    foreign = _opened(save_tiny_policy(tmp_path / "made", TEXTS[:15]), tmp_path / "foreign")

    report = evaluated(foreign, base)

    assert report.kl is None


def test_a_reward_that_gives_no_number_is_refused(base: Opened, other: Opened):
    broken = Rewards([Part(Source("reward@1"), lambda *_: [float("nan")] * len(PROMPTS))])

    with pytest.raises(Unavailable, match="gave no number"):
        evaluated(base, other, rewards=broken)


def test_without_rewards_there_are_numbers_of_the_texts_alone(base: Opened, other: Opened):
    report = evaluated(base, other, rewards=None, gold=None)

    assert report.judged_by is None
    assert report.before.means.keys() >= {"tokens", "entropy", "distinct_2"}
    assert np.isfinite(report.before.means["entropy"].value)
