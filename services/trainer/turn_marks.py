"""Whether a response could pretend that somebody else said a part of it."""

from pathlib import Path

from services.trainer.reward_metrics import Metrics
from shared.contracts.audit import PLAIN_MARKS
from shared.contracts.manifest import Template


def turn_marks(folder: Path, template: Template) -> Metrics:
    """What parts the turns of the chat template that a model in this folder reads.

    Raises:
        ArtifactError: the folder has no tokenizer or no chat template.
    """
    from shared.ml.chat_template import ChatTemplate

    is_plain = template == "chat" and not ChatTemplate(folder).has_own_marks
    return {PLAIN_MARKS: "yes" if is_plain else "no"}
