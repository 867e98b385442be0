"""What `heed up` must know of every service: where each listens."""

from services.feedback_api.config import FeedbackSettings
from services.reward_service.config import RewardSettings


class DeploymentSettings(FeedbackSettings, RewardSettings):
    """The settings of one deployment on one machine."""
