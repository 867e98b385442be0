"""The stage that seals a post's texts before it waits for its commit."""

from services.feedback_api.admission import Stage
from services.feedback_api.writer import FEEDBACK, INTERACTION, PREFERENCE, STEP, Post
from shared.errors import Detail, InvalidInput
from shared.privacy.fields import FieldCipher, is_sealed, sealed_columns

TABLES = {
    FEEDBACK.name: "rlhf_feedback",
    PREFERENCE.name: "rlhf_preferences",
    INTERACTION.name: "rlhf_interaction_records",
    STEP.name: "reasoning_steps",
}
COLUMNS = {name: sealed_columns(table) for name, table in TABLES.items()}


def sealing(cipher: FieldCipher) -> Stage:
    """What seals posts, or while encryption is off refuses what only looks sealed."""
    if not cipher.is_on:
        return _refuse_lookalikes

    async def seal(post: Post) -> None:
        post.used_keys = await cipher.seal(TABLES[post.kind.name], post.row)

    return seal


def _refuse_lookalikes(post: Post) -> None:
    """A plain text in the form of a sealed one could not be read back.

    Raises:
        InvalidInput: the post holds one.
    """
    row = post.row
    for column in COLUMNS[post.kind.name]:
        value = row.get(column)
        if value is not None and is_sealed(value):
            detail = "A text may not begin like one that Heed has encrypted"
            raise InvalidInput(
                f"Correct {column}: {detail}.",
                errors=(Detail(f"/{column}", "looks_sealed", detail),),
            )
