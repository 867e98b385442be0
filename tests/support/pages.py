"""A real browser, the feedback API on a port, and pages of other origins that use its widget."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from services.feedback_api.routes.widget import SOURCE
from services.feedback_api.widget_tokens import read, sign

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

TEXTS = {"prompt": "Why is it warm?", "response": "Greenhouse gases.", "rater_id": 7}
PAIR = {"prompt": "Why is it warm?", "response_a": "Gases.", "response_b": "The sun."}
PAGE = """<!doctype html><html lang="en"><head><title>Page</title><meta charset="utf-8">
<link rel="stylesheet" href="/page.css"><script type="module" src="/page.js"></script></head>
<body><main></main></body></html>"""
STYLE = """body { margin: 24px; font: 16px/1.5 system-ui; background: #fff; color: #1c2430; }
@media (prefers-color-scheme: dark) { body { background: #171c24; color: #e8ebf0; } }"""
SCRIPT = """
import { languages } from "%s";
languages.de = { up: "Hilfreich", down: "Nicht hilfreich" };
window.reasons = [];
window.mount = (tag, { attributes = {}, properties = {}, source = null } = {}) => {
  const element = document.createElement(tag);
  window.events = [];
  for (const name of ["heed-submitted", "heed-error"])
    element.addEventListener(name, (event) => window.events.push([name, event.detail]));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  Object.assign(element, properties);
  if (source) element.tokenSource = async (wanted) => {
    window.reasons.push(wanted.reason);
    const body = JSON.stringify({ ...source, kinds: wanted.kinds });
    const reply = await fetch("/token", { method: "POST", body });
    return reply.json();
  };
  document.querySelector("main").replaceChildren(element);
  return true;
};
window.isReady = true;
"""


@asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Inside, the app answers on the socket."""
    config = uvicorn.Config(
        app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))  # `serve` would take our signals
    try:
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task


def listen() -> tuple[socket.socket, str]:
    """A socket on a free port, and the origin it stands for."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Host:
    """An application with pages; its server makes tokens with a key that no page sees."""

    heed: str
    secret: bytes
    script: str = "/heed.js"
    key: str = ""
    expired: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> FastAPI:
        """The application; its pages may load and reach nothing but what the policy says."""
        app = FastAPI()
        files = {
            "/": (PAGE, "text/html"),
            "/page.css": (STYLE, "text/css"),
            "/page.js": (SCRIPT % self.script, "text/javascript"),
            "/heed.js": (SOURCE.decode(), "text/javascript"),
            "/favicon.ico": ("", "image/x-icon"),
        }

        @app.get("/{path:path}")
        async def file(path: str) -> Response:
            text, media_type = files[f"/{path}"]
            return Response(text, media_type=media_type, headers=self._policy())

        @app.post("/token")
        async def token(request: Request) -> Any:
            return await self._token(await request.json(), request.headers["origin"])

        return app

    def _policy(self) -> dict[str, str]:
        loads = "'self'" if self.script.startswith("/") else f"'self' {self.heed}"
        return {
            "Content-Security-Policy": f"default-src 'none'; script-src {loads}; style-src 'self'; "
            f"img-src 'self'; connect-src 'self' {self.heed}; require-trusted-types-for 'script'"
        }

    async def _token(self, wanted: dict[str, Any], origin: str) -> Any:
        self.asked.append(wanted)
        async with httpx.AsyncClient(base_url=self.heed) as client:
            reply = await client.post(
                "/widget-tokens",
                json=wanted | {"origin": origin},
                headers={"Authorization": f"Bearer {self.key}"},
            )
        made = reply.raise_for_status().json()
        if self.expired:
            self.expired -= 1
            grant = read(self.secret, made["token"], origin=origin)
            made["token"] = sign(self.secret, grant.model_copy(update={"expires_at": 1}))
        return made


async def open_page(page: Any, origin: str) -> None:
    """Go to the origin's page and wait until its script has run."""
    await page.goto(origin)
    await page.wait_for_function("() => window.isReady")


async def saved(element: Any) -> None:
    """Wait until the element says that all is saved."""
    await element.page.wait_for_function(
        "(element) => element.getAttribute('state') === 'saved'",
        arg=await element.element_handle(),
    )


async def stored(page: Any, name: str) -> None:
    """Wait until the page has heard that a post with this field is stored."""
    await page.wait_for_function(
        "(name) => events.some(([kind, said]) => kind === 'heed-submitted' && name in said.values)",
        arg=name,
    )
