"""How a request names a model: `reward`, `reward@3` or `reward:challenger`."""

import re
from typing import NamedTuple, Self

from shared.errors import NotFound
from shared.registry import CHAMPION

_PART = r"[A-Za-z0-9._-]{1,64}"
_SHAPE = re.compile(rf"({_PART})(?:@([0-9]{{1,9}})|:({_PART}))?")


class Reference(NamedTuple):
    """One model of one project; `selector` is an alias, which may move, or a version number."""

    project_id: int
    name: str
    selector: str = CHAMPION

    @classmethod
    def parse(cls, text: str, project_id: int) -> Self:
        """The reference a request's `model` means; a bare name means its champion.

        Raises:
            NotFound: no model of any project could be called this.
        """
        matched = _SHAPE.fullmatch(text)
        if matched is None:
            raise NotFound(
                "There is no such model. Name it as `reward`, `reward@3` or `reward:challenger`, "
                "or leave `model` out for the live one.",
                code="unknown_model",
            )
        name, version, alias = matched.groups()
        return cls(project_id, name, str(int(version)) if version else alias or CHAMPION)

    def __str__(self) -> str:
        mark = "@" if self.selector.isdecimal() else ":"
        return f"{self.name}{mark}{self.selector}"
