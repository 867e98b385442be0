"""What a correction of each type of task holds."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from shared.contracts.storable import StorableJson, StorableText
from shared.errors import Detail, InvalidInput
from shared.web import explain_validation

MAX_COORDINATES = 8


def _is_point(value: Any) -> bool:
    numbers = isinstance(value, list) and 1 <= len(value) <= MAX_COORDINATES
    return numbers and all(isinstance(item, int | float) for item in value)


def _segment(value: Any) -> Any:
    is_line = isinstance(value, list) and bool(value) and all(map(_is_point, value))
    is_id = isinstance(value, int | str) and not isinstance(value, bool)
    if not (_is_point(value) or is_line or is_id):
        raise PydanticCustomError(
            "segment_type", "A segment is a point, a list of points, or the id of a segment"
        )
    return value


def _remark(value: Any) -> Any:
    if not isinstance(value, str | dict | list) or not value:
        raise PydanticCustomError("remark_type", "A remark is text, an object or a list")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Segment = Annotated[StorableJson, AfterValidator(_segment)]
Remark = Annotated[StorableJson, AfterValidator(_remark)]
Remarks = Annotated[list[Remark], BeforeValidator(_listed)]


class Correction(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TracingCorrection(Correction):
    """What a traced neuron lacks and has too much."""

    missing_segments: list[Segment] = []
    incorrect_segments: list[Segment] = []
    notes: StorableText | None = None


class ProofreadingCorrection(Correction):
    """Errors not found, errors that are none, and better ways to mend."""

    missed_errors: list[Remark] = []
    false_positives: list[Remark] = []
    better_corrections: list[Remark] = []


class RagCorrection(Correction):
    """What would make a response from retrieved passages better."""

    improvements: Remarks = []
    missing_info: Remarks = []
    corrected_response: StorableText | None = None


class TextCorrection(Correction):
    """The response as it should have been."""

    corrected_response: StorableText


class OtherCorrection(BaseModel):
    """A correction of a task type that Heed does not know: anything, and perhaps a response."""

    model_config = ConfigDict(extra="allow")

    corrected_response: StorableText | None = None


_KINDS: dict[str, type[BaseModel]] = {
    "tracing": TracingCorrection,
    "proofreading": ProofreadingCorrection,
    "rag": RagCorrection,
    "text": TextCorrection,
}


def check_correction(task_type: str | None, correction: dict[str, Any]) -> dict[str, Any]:
    """The correction as it was sent, which fits its task type; `text` when none is given.

    Raises:
        InvalidInput: it does not fit; every wrong place is named.
    """
    kind = _KINDS.get(task_type or "text", OtherCorrection)
    try:
        kind.model_validate(correction)
    except ValidationError as error:
        raise _named(kind, explain_validation(error)) from None
    return correction


def _named(kind: type[BaseModel], refused: InvalidInput) -> InvalidInput:
    """The refusal with its places below `/correction`, and what an unknown name could have been."""
    known = ", ".join(kind.model_fields)
    errors = tuple(
        Detail(f"/correction{wrong.pointer}", "unknown_correction", f"A correction holds {known}")
        if wrong.code == "extra_forbidden"
        else Detail(f"/correction{wrong.pointer}", wrong.code, wrong.detail)
        for wrong in refused.errors
    )
    return InvalidInput(
        f"Correct {errors[0].pointer}: {errors[0].detail}.", code=refused.code, errors=errors
    )
