"""`policy_report.json`: what a policy's training changed, in numbers, and what is suspicious of it.

It holds no text that can be read with the file alone; see `Sample`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.audit import Estimate

POLICY_REPORT_FILE = "policy_report.json"
POLICY_PAGE_FILE = "policy_report.html"
POLICY_PROGRESS_FILE = "training_progress.png"

Severity = Literal["blocks", "warns"]
AlarmCode = Literal[
    "gold_gap",
    "gold_unconfirmed",
    "kl_budget",
    "length_drift",
    "repetition_drift",
    "diversity_collapse",
    "entropy_collapse",
    "ended_falls",
    "constraint_broken",
]
Measure = Literal[
    "reward",
    "gold",
    "tokens",
    "log_tokens",
    "words",
    "ended",
    "repetition",
    "entropy",
    "distinct_1",
    "distinct_2",
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Strict):
    """One response in numbers."""

    reward: float | None = Field(description="Weighted sum of the parts; null: nothing judged it.")
    parts: dict[str, float] = Field(description="Each reward by its name, unweighted.")
    gold: float | None = Field(description="Of the second reward model, which training never saw.")
    tokens: int = Field(description="Without the end token.")
    words: int
    ended: bool = Field(description="By itself, not at the longest that was allowed.")
    repetition: float = Field(description="Share of its 3-grams of tokens that came before in it.")
    entropy: float = Field(description="Mean over its tokens of what the policy was unsure, nats.")


class Row(_Strict):
    """What both policies made of one held-out prompt."""

    prompt: str = Field(description="Recognises the prompt; made with the deployment's secret.")
    before: Measured
    after: Measured
    kl: float | None = Field(
        description="Nats from the policy before, over the response after; null: it has another "
        "vocabulary."
    )


class Mean(_Strict):
    """A mean over the prompts."""

    value: float
    error: float = Field(description="Standard error.")


class Figures(_Strict):
    """One policy on all prompts; measures that there is nothing of are missing."""

    means: dict[Measure, Mean]
    parts: dict[str, Mean]


class Change(_Strict):
    """After minus before on the same prompts, with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float = Field(description="Two-sided, of no change.")


class RewardSource(_Strict):
    """One reward that judged the responses."""

    name: str
    weight: float
    sha256: str | None


class Alarm(_Strict):
    """Something that makes an improvement doubtful; what `blocks` fails the gate."""

    code: AlarmCode
    severity: Severity
    detail: str


class Sample(_Strict):
    """One prompt that is worth reading, by its row.

    Attributes:
        sealed: both responses, encrypted under a key made of the prompt's text and the
            deployment's secret: once an erasure took the prompt from the dataset, nobody can read
            them any more. Empty where the report was made without the secret.
    """

    row: int
    why: Literal["gained_most", "lost_most", "drawn"]
    sealed: str = ""


class PolicyReport(_Strict):
    """A policy after training beside the one before; see docs/policy-report.md for every field."""

    schema_version: Literal[1] = 1
    seed: int
    liked_words: float | None = Field(
        None, description="Words of what people liked of held-out prompts, the median."
    )
    temperature: float
    max_response_tokens: int
    kl_budget: float | None = Field(description="Nats a response that the run was given, if any.")
    rewards: list[RewardSource]
    learned_from_rewards: bool = Field(
        description="Whether training moved towards these rewards, as PPO does and imitation does "
        "not."
    )
    rows: list[Row]
    before: Figures
    after: Figures
    changes: dict[Measure, Change]
    part_changes: dict[str, Change]
    win_rate: Estimate | None = Field(description="Share of prompts where `after` has more reward.")
    gold_win_rate: Estimate | None
    kl: Mean | None = Field(description="Nats a response.")
    samples: list[Sample] = []
    alarms: list[Alarm] = []
    history: list[dict[str, float]] = Field([], description="What training logged, by step.")

    @property
    def judged_by(self) -> Literal["reward", "gold"] | None:
        """What says which policy is better: the reward; without one, the second reward model."""
        if "reward" in self.changes:
            return "reward"
        return "gold" if "gold" in self.changes else None

    def summary(self) -> dict[str, float | int | str | None]:
        """The numbers that are shown beside a model version."""
        found: dict[str, float | int | str | None] = {
            "held_prompts": len(self.rows),
            "kl": self.kl.value if self.kl else None,
            "alarms": " ".join(one.code for one in self.alarms) or None,
        }
        for name, change in self.changes.items():
            found[f"{name}_before"] = self.before.means[name].value
            found[f"{name}_after"] = self.after.means[name].value
            found |= {f"{name}_gain_low": change.low, f"{name}_gain_high": change.high}
        for prefix, won in (("", self.win_rate), ("gold_", self.gold_win_rate)):
            if won is not None:
                found |= {
                    f"{prefix}win_rate": won.value,
                    f"{prefix}win_rate_low": won.low,
                    f"{prefix}win_rate_high": won.high,
                }
        return found
