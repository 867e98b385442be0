"""Every format that `heed import` and `heed export` know, by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from heed_cli.exchange import (
    argilla,
    comparisons,
    hh_rlhf,
    label_studio,
    qa_feedback,
    tabular,
    trl,
)
from heed_cli.exchange.posts import Json, Post
from heed_cli.exchange.stored import Group
from shared.errors import InvalidInput

Reader = Callable[[Mapping[str, Any]], Iterator[Post]]
Writer = Callable[[Group], Iterator[Json]]
Has = Callable[[set[str]], bool]


@dataclass(frozen=True)
class Format:
    """How one format is read and written.

    Attributes:
        read: the posts of one row; a generator that raises InvalidInput for a wrong row.
        write: the rows that stored rows make.
        has_columns: whether the columns of a file's first row fit.
        expects: those columns, in words.
        tables: which stored rows `write` is handed.
        is_for_training: whether its files are trained on, so that consent is always asked.
        converse: `write` with conversations instead of texts, where the format knows both.
        has_local_raters: its rater names mean somebody only within one file.
        suffix: of a file whose name is not given.
    """

    name: str
    about: str
    read: Reader
    write: Writer
    has_columns: Has
    expects: str
    tables: tuple[str, ...]
    is_for_training: bool = True
    converse: Writer | None = None
    has_local_raters: bool = False
    suffix: str = ".jsonl"


def _all(*columns: str) -> Has:
    return lambda found: set(columns) <= found


_KNOWN = (
    Format(
        hh_rlhf.NAME,
        "whole dialogues, chosen and rejected",
        hh_rlhf.read,
        hh_rlhf.write,
        _all(*hh_rlhf.COLUMNS),
        "chosen, rejected",
        ("preferences", "interactions"),
    ),
    Format(
        comparisons.NAME,
        "two responses, compared by several people",
        comparisons.read,
        comparisons.write,
        lambda found: (
            {"response1", "response2", "annotator1"} <= found
            and bool(found & {"instruction", "prompt"})
        ),
        "instruction (or prompt), response1, response2, annotator1, …",
        ("preferences", "interactions"),
        is_for_training=False,
        has_local_raters=True,
    ),
    Format(
        qa_feedback.NAME,
        "questions with four predictions, faults as spans and a correction",
        qa_feedback.read,
        qa_feedback.write,
        _all("question", *qa_feedback.PREDICTIONS),
        "question, prediction 1 to prediction 4, preference, feedback",
        ("feedback", "preferences", "interactions"),
        is_for_training=False,
    ),
    Format(
        argilla.NAME,
        "records of Argilla 2 as JSON",
        argilla.read,
        argilla.write,
        _all("fields"),
        "fields and responses",
        ("feedback", "preferences", "interactions"),
        is_for_training=False,
        has_local_raters=True,
        suffix=".json",
    ),
    Format(
        label_studio.NAME,
        "tasks of Label Studio as JSON",
        label_studio.read,
        label_studio.write,
        _all("data", "annotations"),
        "data and annotations",
        ("feedback", "preferences", "interactions"),
        is_for_training=False,
        has_local_raters=True,
        suffix=".json",
    ),
    Format(
        trl.PREFERENCE,
        "TRL preference: prompt, chosen, rejected",
        trl.read_preference,
        trl.write_preference,
        _all("chosen", "rejected"),
        "prompt (may be left out), chosen, rejected",
        ("preferences", "interactions"),
        converse=partial(trl.write_preference, conversational=True),
    ),
    Format(
        trl.UNPAIRED,
        "TRL unpaired preference (KTO): prompt, completion, label",
        trl.read_unpaired,
        trl.write_unpaired,
        _all("prompt", "completion", "label"),
        "prompt, completion, label",
        ("feedback", "interactions"),
        converse=partial(trl.write_unpaired, conversational=True),
    ),
    Format(
        trl.PROMPT_ONLY,
        "TRL prompt-only: prompt",
        trl.read_prompt,
        trl.write_prompt,
        _all("prompt"),
        "prompt",
        ("feedback", "preferences", "interactions"),
        converse=partial(trl.write_prompt, conversational=True),
    ),
    Format(
        tabular.NAME,
        "a table of ratings: prompt, response, rating, …",
        tabular.read,
        tabular.write,
        tabular.is_readable,
        "prompt, response and one of rating (1–5), human_rating (0–1), thumbs, comment, "
        "corrected_response; or prompt, chosen and rejected",
        ("feedback", "interactions"),
        is_for_training=False,
        suffix=".csv",
    ),
    Format(
        tabular.PAIRS_NAME,
        "a table of pairs: prompt, chosen, rejected, …",
        tabular.read,
        tabular.write_pairs,
        tabular.is_readable,
        "prompt, chosen, rejected",
        ("preferences", "interactions"),
        is_for_training=False,
        suffix=".csv",
    ),
)
FORMATS = {known.name: known for known in _KNOWN}


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        InvalidInput: there is none; the message lists those there are.
    """
    if name not in FORMATS:
        raise InvalidInput(f"Unknown format {name!r}. There are: {', '.join(FORMATS)}.")
    return FORMATS[name]


def require_columns(known: Format, place: str, values: Mapping[str, Any]) -> None:
    """Refuse a file that is of another format before anything of it is sent.

    Raises:
        InvalidInput: the columns do not fit; names those found and those expected.
    """
    columns = {str(name) for name in values}
    if not known.has_columns(columns):
        found = ", ".join(sorted(columns)[:20]) or "none"
        raise InvalidInput(
            f"{place}: the columns {found} are not those of {known.name}, which has "
            f"{known.expects}."
        )
