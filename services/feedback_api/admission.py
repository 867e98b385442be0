"""What every post passes between its validation and the writer: limits, masking, encryption.

A stage may change the post's row or refuse the post; posts whose stages are done are stored.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.feedback_api.writer import Post

Stage = Callable[[Post], Awaitable[None]]


@dataclass(frozen=True)
class Admission:
    """The stages of one deployment, in order; without any, a post costs nothing here."""

    stages: tuple[Stage, ...] = ()

    async def __call__(self, post: Post) -> Post:
        """The post as it may be stored.

        Raises:
            HeedError: a stage refuses it; nothing of it is stored.
        """
        for stage in self.stages:
            await stage(post)
        return post
