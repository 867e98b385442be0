"""How a policy reads prompts and what it is taught to write: ids, with every cut told.

The tokenizer's own chat template tells prompts; a model without one gets the plainest, which is
kept with it, so that whoever serves the policy tells prompts in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.policies.params import PolicyParams
from shared.errors import ArtifactError
from shared.ml.chat_template import ChatTemplate
from shared.ml.scorer import Turn

PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role != 'assistant' %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Cut:
    """Ids of a text, and whether some of it is missing."""

    ids: list[int]
    is_cut: bool


class PolicyText:
    """Prompts and responses as ids of one policy's tokenizer."""

    def __init__(self, folder: Path, tokenizer: Any, params: PolicyParams) -> None:
        """Read with the tokenizer saved in `folder`, which `tokenizer` opened.

        Raises:
            ArtifactError: there is no end token, or no template that takes a prompt.
        """
        self.tokenizer = tokenizer
        self._template = ChatTemplate(folder)
        self._most = params.max_prompt_tokens, params.max_response_tokens
        end = self._template.end_of_response(tokenizer.eos_token_id)
        if end is None:
            raise ArtifactError(
                "The policy's tokenizer has no end token, so responses would never end; save it "
                "with an eos_token."
            )
        self.end: int = end

    def prompt(self, text: str) -> Cut:
        """The prompt up to where the response begins; a long one loses its beginning."""
        (safe,) = self._template.safe([text])
        starts, most = self._template.starts(safe), self._most[0]
        kept = safe[starts[-most] :] if len(starts) > most else safe
        asked = self._template.asked((Turn("user", kept),))
        return Cut(self._template.ids([asked])[0], len(kept) < len(safe))

    def response(self, text: str) -> Cut:
        """The response and the end token; a long one loses its end, and is not ended."""
        (ids,) = self._template.ids(self._template.safe([text]))
        most = self._most[1]
        if len(ids) >= most:
            return Cut(ids[:most], len(ids) > most)
        return Cut([*ids, self.end], is_cut=False)

    def written(self, ids: Sequence[int]) -> str:
        """The text of ids that a policy wrote, up to its end token."""
        kept = ids[: list(ids).index(self.end)] if self.end in ids else ids
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()
