"""What `audit.json` says: how far a reward model can be trusted, in numbers and row ids.

Written by the trainer into the artifact folder, served by the reward service. It never holds a
text that people wrote. Every interval is at 95 % and treats a prompt's rows as one.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AUDIT_FILE = "audit.json"
CARD_FILE = "card.md"
CALIBRATED_ON = "calibrated_on"  # the metric by which a recipe tells it
PLAIN_MARKS = "turn_marks_are_plain_text"  # yes or no, another one

Plot = Literal[
    "accuracy.png",
    "margins.png",
    "length.png",
    "calibration.png",
    "learning.png",
    "slices.png",
    "training_progress.png",
]
BaselineName = Literal["length_only", "longer_wins", "shorter_wins"]
LengthVerdict = Literal["beyond_people", "within_people", "undecidable"]
Change = Literal["trailing_space", "trailing_newline", "first_letter_case", "final_punctuation"]
Calibrated = Literal["good", "pairs"]
ScaleName = Literal["all", "stars", "unit", "thumbs"]
Refitted = Literal["model", "last_layer"]
CalibratedOn = Literal["own_prompts", "choosing_prompts"]
Level = Literal["good", "note", "warning", "unknown"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Strict):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Baseline(_Strict):
    """A way to choose that needs no reward model, on the same comparisons."""

    name: BaselineName
    accuracy: Estimate
    gain: Estimate = Field(description="The model's accuracy minus this one's.")


class Accuracy(_Strict):
    """How often the model ranks the response higher that people preferred."""

    model: Estimate
    baselines: list[Baseline]


class Correlation(_Strict):
    """A correlation over some rows."""

    rows: int
    r: Estimate


class LengthBin(_Strict):
    """Comparisons by how much longer one response is than the other."""

    pairs: int
    times_longer: float = Field(description="Mean length of the longer one over the shorter's.")
    people_pick_longer: Estimate
    model_picks_longer: Estimate


class LengthAudit(_Strict):
    """Whether the model prefers longer responses more than people do.

    In a logistic regression of people's choices on the model's reward difference and the difference
    in ln(1 + characters), the second coefficient is 0 when the model gives length the weight that
    people give it, and below 0 when it gives it more.
    """

    verdict: LengthVerdict
    pairs: int = Field(description="Comparisons of responses of different length.")
    people_pick_longer: Estimate | None
    model_picks_longer: Estimate | None
    longer_at_equal_reward: Estimate | None = Field(
        description="How often people choose the one twice as long of two responses that the "
        "model finds equally good; 0.5: length is weighed as people weigh it."
    )
    p_overvalued: float | None = Field(description="One-sided p of the coefficient below 0.")
    reward_and_length: Correlation | None = Field(
        description="Reward difference and log length difference, given whom people chose."
    )
    reward_and_length_given_rating: Correlation | None
    matched_pairs: int = Field(description="Comparisons whose lengths differ by at most 10 %.")
    matched_accuracy: Estimate | None
    bins: list[LengthBin]


class PromptControl(_Strict):
    """Comparisons scored again without their prompts: what the prompt contributes."""

    pairs: int
    accuracy: Estimate
    empty_prompt: Estimate
    other_prompt: Estimate
    from_prompt: Estimate = Field(description="Accuracy minus that with another prompt.")
    own_response_wins: Estimate = Field(
        description="The chosen response against one chosen for another prompt; 0.5: the model "
        "does not see which response belongs to the prompt."
    )


class RatingControl(_Strict):
    """Correlation of reward and rating when rows get the prompt or response of others."""

    rows: int
    r: Estimate
    other_prompt: Estimate
    other_response: Estimate = Field(
        description="What the prompt alone tells of the rating; 0: nothing."
    )


class PositionAudit(_Strict):
    """Whether people, and the model, favour the response that was shown first."""

    pairs: int = Field(description="Comparisons, training too, whose order is known.")
    people_pick_first: Estimate
    test_pairs: int
    model_picks_first: Estimate | None
    accuracy_first_chosen: Estimate | None
    accuracy_second_chosen: Estimate | None


class TemplateChange(_Strict):
    """A change of one response that should change nothing."""

    change: Change
    pairs: int
    mean_shift: float = Field(description="Mean |change of reward| over the rewards' spread.")
    largest_shift: float
    flips: Estimate = Field(description="Share of comparisons whose order turns.")


class CalibrationBin(_Strict):
    """Rows of similar predicted probability."""

    rows: int
    predicted: float
    observed: Estimate


class CalibrationAudit(_Strict):
    """Whether predicted probabilities come true; bins hold equally many rows.

    `good`: the probability of a good response against ratings. `pairs`: the probability
    sigmoid(reward difference) that people agree with the model's choice.
    """

    of: Calibrated
    rows: int
    ece: Estimate = Field(description="Expected calibration error.")
    ece_if_calibrated: float = Field(description="What chance alone makes of it with these rows.")
    p: float = Field(description="How often chance alone makes as much of it.")
    brier: Estimate
    brier_constant: float = Field(description="Of the constant prediction that is best here.")
    bins: list[CalibrationBin]


class LearningPoint(_Strict):
    """Accuracy of models that were trained on a part of the feedback."""

    judgements: int
    accuracy: Estimate


class LearningCurve(_Strict):
    """Accuracy against the number of training samples, on the same held-out comparisons.

    `last_layer`: every point, the last one too, is a last layer alone on a model that has learned
    from no feedback.
    """

    refitted: Refitted = "model"
    verdict: Literal["rising", "flat", "undecidable", "left_out"]
    why_left_out: str | None = None
    points: list[LearningPoint] = []
    last_gain: Estimate | None = Field(
        None, description="Accuracy of all samples minus that of the largest part."
    )


class Regression(_Strict):
    """How the predicted rating follows ratings on the 0–1 scale."""

    scale: ScaleName
    rows: int
    pearson: Estimate | None
    mse: Estimate
    mse_constant: float = Field(description="MSE of always saying these rows' mean rating.")


class ClassReport(_Strict):
    """Precision, recall and F1 of one class at probability 0.5."""

    label: Literal["good", "bad"]
    rows: int
    precision: float
    recall: float
    f1: float


class Classification(_Strict):
    """Good against bad ratings, on held-out prompts and, in the original mode, on held-out rows."""

    on: Literal["held_out_prompts", "row_split"]
    accuracy: float
    auc: float | None
    classes: list[ClassReport]


class SliceAudit(_Strict):
    """One value of one slice."""

    name: str
    value: str
    pairs: int
    accuracy: Estimate
    difference: Estimate = Field(description="From the accuracy on all other comparisons.")
    p_adjusted: float = Field(description="Two-sided, adjusted over all slices (Holm).")


class FairnessGap(_Strict):
    """Largest difference in accuracy between two values of a slice."""

    name: str
    best: str
    worst: str
    gap: Estimate
    gap_if_equal: float = Field(description="Mean gap when the values are dealt out at random.")
    p: float = Field(description="How often such a deal gives a gap as large.")


class Representation(_Strict):
    """One group of the population and its share of the feedback."""

    name: str
    value: str
    population: float
    feedback: Estimate | None = Field(description="null: no feedback says which value it has.")
    is_underrepresented: bool = Field(description="Surely below its share, and under 4/5 of it.")


class Mistake(_Strict):
    """A held-out comparison that the model ranks the other way round, by its rows."""

    row_ids: list[str]
    place: int = Field(description="Which of the comparisons that these rows make, from 0.")
    margin: float = Field(description="Reward of the chosen minus that of the rejected response.")


class Finding(_Strict):
    """One sentence for people, and how much it should worry them."""

    level: Level
    about: str
    text: str


class AuditReport(_Strict):
    """The audit of one reward model; see docs/audit-card.md for every field."""

    schema_version: Literal[1] = 1
    seed: int
    compared_on: Literal["comparisons", "matched_ratings", "nothing"] = Field(
        description="`matched_ratings`: well against badly rated responses of different prompts, "
        "where too few comparisons are held out."
    )
    pairs: int
    groups: int
    rated: int
    control_rows: int = Field(description="Most rows that controls scored again, drawn by seed.")
    findings: list[Finding]
    accuracy: Accuracy | None
    length: LengthAudit | None
    prompt: PromptControl | None
    ratings: RatingControl | None
    position: PositionAudit | None
    template: list[TemplateChange]
    calibration: list[CalibrationAudit]
    calibrated_on: CalibratedOn | None = Field(
        None,
        description="Held-back training prompts that calibrated the model: their own, or, where "
        "there are few, those that also chose when training ended.",
    )
    has_plain_marks: bool = Field(
        False,
        description="Whether the marks of the chat template that the model reads are plain text, "
        "which a response can imitate.",
    )
    learning: LearningCurve
    regression: list[Regression]
    classification: list[Classification]
    slices: list[SliceAudit]
    slices_not_named: int = Field(description="Values with too few comparisons to be shown.")
    fairness: list[FairnessGap]
    representation: list[Representation]
    mistakes: list[Mistake]
