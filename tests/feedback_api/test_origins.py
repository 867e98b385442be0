"""The list of origins whose pages may call is read when the service starts."""

import httpx
import pytest

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings
from shared.config import load_settings
from shared.errors import ConfigError


@pytest.mark.parametrize("listed", ["https://App.Example/", "https://app.example:443"])
async def test_an_origin_is_let_in_however_it_is_written(listed):
    app = create_app(FeedbackSettings(feedback_cors_origins=[listed]))
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://heed"
    ) as browser:
        reply = await browser.options("/feedback", headers=asked)

    assert reply.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    "entry", ["*", "null", "", "app.example", "https://app.example/page", "https://*.example"]
)
def test_an_entry_that_is_no_origin_keeps_the_service_from_starting(entry):
    with pytest.raises(ConfigError, match="HEED_FEEDBACK_CORS_ORIGINS"):
        load_settings(FeedbackSettings, feedback_cors_origins=["https://app.example", entry])
