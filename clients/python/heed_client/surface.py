"""Turns functions that make calls into methods that send them, for both clients.

`stars = Sent(calls.stars)` has the signature and documentation of `calls.stars` and returns what
that call results in; `Awaited` is the same to be awaited. So no method is written twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from heed_client.calls import Call
from heed_client.reading import Listing
from heed_client.results import Result
from heed_client.senders import AsyncSender, Sender

P = ParamSpec("P")
R = TypeVar("R", bound=Result)


class Resource:
    """Methods that send with one sender; `about` is said in each of them unless overruled."""

    def __init__(self, sender: Sender, about: Mapping[str, Any] | None = None) -> None:
        self._sender = sender
        self._about = dict(about or {})


class AsyncResource:
    """The same with a sender that is awaited."""

    def __init__(self, sender: AsyncSender, about: Mapping[str, Any] | None = None) -> None:
        self._sender = sender
        self._about = dict(about or {})


class Sent(Generic[P, R]):
    """A method that sends a call and returns its result."""

    def __init__(self, build: Callable[P, Call[R]]) -> None:
        self.build = build

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: Resource, kind: type) -> Callable[P, R]: ...
    def __get__(self, owner: Resource | None, kind: type) -> Self | Callable[P, R]:
        if owner is None:
            return self
        build: Callable[..., Call[R]] = self.build

        @wraps(build)
        def send(*args: P.args, **kwargs: P.kwargs) -> R:
            return owner._sender.send(build(*args, **{**owner._about, **kwargs}))

        return send


class Awaited(Generic[P, R]):
    """A method that sends a call; awaiting it gives the result."""

    def __init__(self, build: Callable[P, Call[R]]) -> None:
        self.build = build

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: AsyncResource, kind: type) -> Callable[P, Awaitable[R]]: ...
    def __get__(self, owner: AsyncResource | None, kind: type) -> Self | Callable[P, Awaitable[R]]:
        if owner is None:
            return self
        build: Callable[..., Call[R]] = self.build

        @wraps(build)
        async def send(*args: P.args, **kwargs: P.kwargs) -> R:
            return await owner._sender.send(build(*args, **{**owner._about, **kwargs}))

        return send


class Listed(Generic[P, R]):
    """A method that returns an iterator over rows."""

    def __init__(self, build: Callable[P, Listing[R]]) -> None:
        self.build = build

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: Resource, kind: type) -> Callable[P, Iterator[R]]: ...
    def __get__(self, owner: Resource | None, kind: type) -> Self | Callable[P, Iterator[R]]:
        if owner is None:
            return self

        @wraps(self.build)
        def iterate(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
            return owner._sender.iterate(self.build(*args, **kwargs))

        return iterate


class AsyncListed(Generic[P, R]):
    """A method that returns an asynchronous iterator over rows."""

    def __init__(self, build: Callable[P, Listing[R]]) -> None:
        self.build = build

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: AsyncResource, kind: type) -> Callable[P, AsyncIterator[R]]: ...
    def __get__(
        self, owner: AsyncResource | None, kind: type
    ) -> Self | Callable[P, AsyncIterator[R]]:
        if owner is None:
            return self

        @wraps(self.build)
        def iterate(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
            return owner._sender.iterate(self.build(*args, **kwargs))

        return iterate
