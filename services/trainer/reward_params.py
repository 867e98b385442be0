"""What every recipe for a reward model can be told."""

from pydantic import Field

from services.trainer.evidence import SourceWeights
from services.trainer.examples import MINIMUM_RATED
from services.trainer.process import StepParams


class RewardParams(StepParams):
    """Which feedback counts and how much, and what makes a run repeatable."""

    min_rated: int = Field(MINIMUM_RATED, ge=2, description="Fewest judgements to train on.")
    good_rating: float = Field(4.0, ge=1, le=5, description="A response is good from here on.")
    preference_weight: float = Field(1.0, ge=0, description="Of choices; 0 leaves them out.")
    correction_weight: float = Field(1.0, ge=0, description="Of corrections; 0 leaves them out.")
    rating_weight: float = Field(1.0, ge=0, description="Of ratings; 0 leaves them out.")
    tie_weight: float = Field(1.0, ge=0, description="Of ties; 0 leaves them out.")
    ranking_weight: float = Field(1.0, ge=0, description="Of rankings; 0 leaves them out.")
    weigh_raters: bool = Field(True, description="Who contradicts the others counts less.")
    population: str | None = Field(
        None, description="CSV or JSON of slice, value, share that the feedback should mirror."
    )
    seed: int = Field(42, description="Of everything that is drawn: splits, folds, weights, order.")
    threads: int = Field(1, ge=1, description="Threads on a CPU.")

    @property
    def weights(self) -> SourceWeights:
        """How much each kind of feedback counts."""
        return SourceWeights(
            preference=self.preference_weight,
            correction=self.correction_weight,
            rating=self.rating_weight,
            tie=self.tie_weight,
            ranking=self.ranking_weight,
        )
