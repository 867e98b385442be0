"""How a structured response and a missing prompt become text, the same everywhere and for ever.

The text is what targets are derived from and what reward models read, so a change here makes
earlier feedback on the same exchange look like feedback on another one.
"""

import json
from collections.abc import Mapping
from typing import Any


def render_response(response: str | dict[str, Any] | list[Any]) -> str:
    """The response as text: itself, or its JSON with sorted keys."""
    return response if isinstance(response, str) else _render(response)


def render_prompt(task_type: str | None, context: Mapping[str, Any]) -> str | None:
    """A prompt for feedback that came without one: the task and its context, one per line.

    None when there is neither.
    """
    lines = [f"task: {task_type}"] if task_type else []
    for name in sorted(context):
        value = context[name]
        lines.append(f"{name}: {value if isinstance(value, str) else _render(value)}")
    return "\n".join(lines) or None


def _render(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
