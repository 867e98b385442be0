"""The feedback API as its OpenAPI describes it, and requests that no description foresees."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings
from shared.db.engine import create_engine, create_sessions
from shared.keys import Scope, create_key
from tests.support.fuzzing import find_faults

EXAMPLES = 25 * int(os.environ.get("HEED_TEST_EXAMPLES", "6"))  # noqa: TID251 - the test's size
DEEP = b"[" * 5000 + b"]" * 5000
FIELDS = ("response", "response_a", "context", "rater_id", "timestamp", "feedback_id", "consent")
PATHS = ("/feedback", "/feedback/batch", "/preference", "/interactions", "/interactions/i/steps")


@pytest.fixture
async def url(database_url, tmp_path) -> AsyncIterator[str]:
    """The API behind a real socket."""
    app = create_app(FeedbackSettings(data_dir=tmp_path, database_url=database_url))
    async with _served(app) as found:
        yield found


@asynccontextmanager
async def _served(app) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest.fixture
async def key(database_url) -> str:
    engine = create_engine(database_url)
    async with create_sessions(engine).begin() as session:
        token = await create_key(session, name="tests", scopes=list(Scope))
    await engine.dispose()
    return token


@pytest.mark.slow
async def test_every_reply_is_as_the_openapi_describes_it(url, key, tmp_path):
    faults = await asyncio.to_thread(find_faults, url, key, tmp_path)

    assert not faults, faults


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["1e999", "-0", "NaN", "0.1", "9223372036854775808", '"\\u0000"', '"\\ud800"']),
    st.text(max_size=8).map(lambda text: f'"{text}"'),
)
VALID = '"prompt":"p","rating":4'
json_like = st.dictionaries(st.sampled_from(FIELDS), scalars, max_size=3).map(
    lambda given: "{" + ",".join([VALID, *(f'"{n}":{value}' for n, value in given.items())]) + "}"
)
bodies = st.one_of(
    json_like.map(lambda text: text.encode(errors="surrogatepass")),
    json_like.map(lambda text: f"[{text},{text}]".encode(errors="surrogatepass")),
    st.binary(max_size=200),
    st.sampled_from([DEEP, b'{"context":' + DEEP + b"}", b'"\xff\xfe"', b"\xef\xbb\xbf{}", b""]),
)
headers = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Content-Type: application/x-ndjson",
                b"Content-Type: application/json; charset=utf-16",
                b"Content-Type: text/plain",
                b"Content-Type: multipart/form-data; boundary=x",
                b"Idempotency-Key: ",
                b"Idempotency-Key: a\r\nIdempotency-Key: b",
                b"Idempotency-Key: " + b"k" * 300,
                b"X-Request-ID: \xff\xfe",
                b"X-Request-ID: one\r\nX-Request-ID: two",
                b"X-API-Key: heed_a_b",
                b"Origin: null",
                b"Expect: 100-continue",
                b"X-Large: " + b"x" * 60_000,
            ]
        ),
        st.binary(min_size=1, max_size=20).map(
            lambda raw: b"X-Any: " + raw.translate(None, b"\r\n")
        ),
    ),
    max_size=3,
)


def _chunked(body: bytes) -> bytes:
    parts = [body[at : at + 50] for at in range(0, len(body), 50)]
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    return b"".join(chunks) + b"0\r\n\r\n"


def _status(url: str, request: bytes) -> int:
    """The status of the reply; 400 when the server closes the connection on it."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(request)
        reply = HTTPResponse(connection)
        try:
            reply.begin()
        except ConnectionError:
            return 400
        return reply.status


async def test_no_body_and_no_header_makes_the_server_fail(url, key):
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(PATHS), headers, bodies, st.booleans())
    def fuzz(path: str, extra: list[bytes], body: bytes, is_chunked: bool) -> None:
        length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
        lines = [
            b"POST %s HTTP/1.1" % path.encode(),
            b"Host: heed",
            b"Authorization: Bearer " + key.encode(),
            length,
            *extra,
        ]
        sent = b"\r\n".join(lines) + b"\r\n\r\n" + (_chunked(body) if is_chunked else body)

        status = _status(url, sent)

        assert 200 <= status < 500, (status, sent[:2000])

    await asyncio.to_thread(fuzz)

    assert (
        await asyncio.to_thread(_status, url, b"GET /readyz HTTP/1.1\r\nHost: heed\r\n\r\n") == 200
    )
