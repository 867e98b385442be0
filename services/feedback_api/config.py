"""Settings of the feedback API."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from services.feedback_api.origins import parse_origin
from services.feedback_api.webhooks.addresses import Allowed
from shared.config import Settings
from shared.errors import ConfigError

RetainedTable = Literal[
    "rlhf_feedback",
    "rlhf_feedback_history",
    "rlhf_preferences",
    "rlhf_preferences_history",
    "rlhf_interaction_records",
    "rlhf_audit_log",
]


class FeedbackSettings(Settings):
    """What the feedback API needs beside the shared settings."""

    feedback_host: str = Field(
        "127.0.0.1", description="Address the feedback API listens on; 0.0.0.0 for all."
    )
    feedback_port: int = Field(
        8000, ge=1, le=65535, description="Port the feedback API listens on."
    )
    feedback_cors_origins: list[str] = Field(
        [], description='Origins whose pages may call the feedback API, as JSON: `["https://…"]`.'
    )
    feedback_max_body_bytes: int = Field(
        1_048_576, ge=1024, description="Largest request body of the feedback API, bytes."
    )
    feedback_max_pending: int = Field(
        10_000,
        ge=1,
        description="Posts that may wait for a commit; beyond, the reply is 503 with Retry-After.",
    )
    feedback_max_batches: int = Field(
        8,
        ge=1,
        description="Batches that are read and stored at once; beyond, the reply is 503 with "
        "Retry-After.",
    )
    feedback_retry_s: float = Field(
        3.0,
        gt=0,
        le=60,
        description="How long a write is retried after Postgres was lost before replying 503.",
    )
    webhook_allow: list[str] = Field(
        [],
        description="Hosts and networks that webhooks may reach though they are not public, by "
        'http too, as JSON: `["hooks.internal", "10.1.0.0/16"]`.',
    )
    training_allow: list[str] = Field(
        [],
        description="Folders of the trainer, and addresses, that runs asked for over HTTP may "
        'name, with all below them, as JSON: `["/data", "https://rewards.internal"]`.',
    )
    default_training_consent: bool = Field(
        default=True,
        description="Whether a post without `consent.training` may be used for training.",
    )
    limit_key_per_s: float = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Posts and requests one API key may send a second, per process; 0: no limit.",
    )
    limit_key_burst: int = Field(
        1_000, ge=1, description="How many of them one API key may send at once."
    )
    limit_rater_per_s: float = Field(
        50,
        ge=0,
        le=1_000_000,
        description="Posts of one rater a second, per process; 0: no limit.",
    )
    limit_rater_burst: int = Field(
        1_000, ge=1, description="How many posts of one rater may come at once."
    )
    limit_widget_per_s: float = Field(
        1,
        ge=0,
        le=1_000_000,
        description="Posts with one widget token a second, per process; 0: no limit.",
    )
    limit_widget_burst: int = Field(
        20, ge=1, description="How many posts with one widget token may come at once."
    )
    masking: Literal["off", "mask", "block"] = Field(
        "off",
        description="What is done with personal data in posts: `off` stores it, `mask` replaces "
        "it, `block` refuses the post.",
    )
    masking_processes: int = Field(
        2, ge=1, le=64, description="Processes that mask posts, when masking is not off."
    )
    masking_budget_s: float = Field(
        15.0,
        gt=0,
        le=60,
        description="How long masking a post may take; beyond, it is refused with 503.",
    )
    retention_days: dict[RetainedTable, Annotated[int, Field(ge=1)]] = Field(
        {},
        description="Days that rows are kept, by table, as JSON: "
        '`{"rlhf_feedback": 730, "rlhf_audit_log": 1095}`; a table that is not named keeps its '
        "rows. See docs/erasure.md.",
    )

    @field_validator("feedback_cors_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        """Refuse what no browser ever sends, and write the others as browsers do."""
        origins = {given: parse_origin(given) for given in value}
        if wrong := [given for given, origin in origins.items() if origin is None]:
            raise ConfigError(
                f"HEED_FEEDBACK_CORS_ORIGINS: {wrong[0]!r} is no origin; write each as "
                "`https://app.example.com`, with a port if it has one, without path or `*`."
            )
        return [origin for origin in origins.values() if origin is not None]

    @field_validator("webhook_allow")
    @classmethod
    def _are_hosts_and_networks(cls, value: list[str]) -> list[str]:
        """Refuse at the start what would keep every webhook from being delivered later."""
        Allowed.of(value)
        return value
