"""An application with the widget: streams a response with its steps, and makes the tokens.

Its "model" plays back a fixed text. Everything about feedback is as in a real application:

    HEED_FEEDBACK_CORS_ORIGINS='["http://127.0.0.1:8080"]' heed up
    python examples/widget/server.py --key-file .heed/dev.key     # http://127.0.0.1:8080
"""

import argparse
import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Cookie, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

PAGE = Path(__file__).parent / "page"
QUESTION = "What would a carbon price of 100 euros per tonne do to our heating bill?"
STEPS = [
    "A gas-heated flat of 70 m² burns about 10,000 kWh a year, which emits about 2 tonnes of CO₂.",
    "At 100 € per tonne this adds about 200 € a year, 17 € a month, before any rebate.",
]
RESPONSE = (
    "Your bill would rise by about 17 € a month if nothing else changes. A flat per-person rebate, "
    "as several countries pay, would give most tenants more than that back. Better insulation or a "
    "heat pump lowers the burden for good: every 1,000 kWh of gas saved avoids 20 € a year."
)
OTHER = (
    "It depends. Carbon prices make heating with gas more expensive, so you should consider "
    "alternatives such as heat pumps, and look out for rebates in your country."
)
Visitor = Annotated[str | None, Cookie()]


@dataclass
class Shop:
    """The application's own state: how to reach Heed, and who saw which response."""

    heed: str
    client: httpx.AsyncClient
    seen: dict[str, str | None] = field(default_factory=dict)

    async def post(self, path: str, body: Any) -> Any:
        reply = await self.client.post(path, json=body)
        return reply.raise_for_status().json()


def create_app(heed: str, key: str, word_s: float = 0.05) -> FastAPI:
    """The application; `key` stays on this server, `word_s` is the pause between words."""
    app = FastAPI()
    headers = {"Authorization": f"Bearer {key}"}
    shop = Shop(heed, httpx.AsyncClient(base_url=heed, headers=headers))

    @app.get("/")
    async def index(visitor: Visitor = None) -> HTMLResponse:
        reply = HTMLResponse((PAGE / "index.html").read_text().replace("{{heed}}", heed))
        reply.set_cookie("visitor", visitor or secrets.token_urlsafe(12), httponly=True)
        reply.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'self' {heed}; connect-src 'self' {heed}; "
            "style-src 'self'; img-src 'self'"
        )
        return reply

    @app.post("/ask")
    async def ask(visitor: Visitor = None) -> StreamingResponse:
        lines = _stream(shop, visitor, word_s)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @app.get("/compare")
    async def compare() -> Any:
        return {"prompt": QUESTION, "response_a": RESPONSE, "response_b": OTHER}

    @app.post("/feedback-token")
    async def feedback_token(request: Request, visitor: Visitor = None) -> Response:
        wanted = await request.json()
        if wanted["interactionId"] is None:
            target = {"compare": await compare()}
        elif visitor is not None and shop.seen.get(wanted["interactionId"]) == visitor:
            target = {"interaction_id": wanted["interactionId"]}
        else:
            return JSONResponse({"detail": "This response was shown to somebody else."}, 403)
        return JSONResponse(await _token(shop, target, wanted, request.headers["origin"], visitor))

    app.mount("/", StaticFiles(directory=PAGE))
    return app


async def _stream(shop: Shop, visitor: str | None, word_s: float) -> AsyncIterator[str]:
    """The response as lines of JSON; it is recorded in Heed when it is complete."""
    interaction_id = f"demo-{secrets.token_hex(8)}"
    shop.seen[interaction_id] = visitor
    yield json.dumps({"interaction_id": interaction_id, "question": QUESTION}) + "\n"
    for place, step in enumerate(STEPS, start=1):
        await asyncio.sleep(10 * word_s)
        yield json.dumps({"step": place, "text": step}) + "\n"
    for word in RESPONSE.split(" "):
        await asyncio.sleep(word_s)
        yield json.dumps({"word": word + " "}) + "\n"
    exchange = {"interaction_id": interaction_id, "prompt": QUESTION, "response": RESPONSE}
    await shop.post("/interactions", exchange | {"agent_name": "energy_guide"})
    steps = [{"step_order": place, "step_content": text} for place, text in enumerate(STEPS, 1)]
    await shop.post(f"/interactions/{interaction_id}/steps", steps)
    yield json.dumps({"done": True}) + "\n"


async def _token(
    shop: Shop, target: dict[str, Any], wanted: dict[str, Any], origin: str, visitor: str | None
) -> Any:
    """A token for this visitor; the page's wishes only choose among what the page may do."""
    step = {"step": {"step_order": int(wanted["step"])}} if wanted["step"] else {}
    may = {"preference", "comment"} if "compare" in target else {"thumbs", "rating", "comment"}
    return await shop.post(
        "/widget-tokens",
        target
        | step
        | {
            "kinds": sorted(may & set(wanted["kinds"])),
            "origin": origin,
            "rater_id": visitor or secrets.token_urlsafe(12),
            "agent_name": "energy_guide",
        },
    )


def main() -> None:
    """Serve the example until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heed", default="http://127.0.0.1:8000", help="URL of the feedback API")
    parser.add_argument("--key-file", type=Path, default=Path(".heed/dev.key"))
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    app = create_app(given.heed, given.key_file.read_text().strip())
    uvicorn.run(app, host="127.0.0.1", port=given.port)


if __name__ == "__main__":
    main()
