"""Sends the head and the body of a reply in one write, where uvicorn makes two of them.

A write is a system call that wakes the client; for a small reply the second one costs as much as
building the reply.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD, _END = b"HTTP/1.1 ", b"\r\n\r\n"


class _Gathering:
    """A transport that holds a head until its body comes, but no longer than the loop's turn."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.startswith(_HEAD) and data.endswith(_END):
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        """Whatever else uvicorn asks of its transport."""
        return getattr(self._transport, name)


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol on such a transport."""

    def connection_made(self, transport: Any) -> None:
        """Start on a new connection."""
        gathering: Any = _Gathering(transport)
        super().connection_made(gathering)
