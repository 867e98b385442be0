"""A whole file: from what was prepared to the scored file, on this machine or over Ray."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from services.trainer.batch_scoring.journal import Identity, Journal
from services.trainer.batch_scoring.model import OpenModel
from services.trainer.batch_scoring.output import Output, Tally, write_scored
from services.trainer.batch_scoring.over_ray import RayModel, RayTask, ray_cluster, score_over_ray
from services.trainer.batch_scoring.preparing import Prepared
from services.trainer.batch_scoring.rows import START, Mark, Source, Span
from services.trainer.batch_scoring.running import Pinned, Scored, score_in_threads
from services.trainer.batch_scoring.scored import ChunkScorer, Results, aspects_of
from services.trainer.workplace import code_version

SCORING, WRITING = "scoring", "writing"

Tell = Callable[[str, Span], None]


def score_file(prepared: Prepared, folder: Path, model: OpenModel, tell: Tell) -> Tally:
    """Score what was prepared with the model that was opened from a folder.

    `tell` hears which chunk is scored or written, and which of both.

    Raises:
        InvalidInput: the file cannot be read, the output not written, or an aspect is not known.
        Conflict: what was begun belongs to another file, model or command.
        ConfigError: no Ray cluster answers.
    """
    wanted = prepared.wanted
    aspects = aspects_of(model.scorer.manifest)
    output = Output(wanted.output, wanted.output_format, prepared.asked, aspects, like=wanted.file)
    score = ChunkScorer(model.scorer, prepared.asked)
    if wanted.is_stream:
        scored = score_in_threads(prepared.chunks, score, workers=wanted.workers or cores())
        return write_scored(output, prepared.source, scored, partial(tell, SCORING))
    pinned = Pinned(wanted.file)
    identity = _identity(prepared, model, pinned.sha256)
    with Journal(journal_of(wanted.output), identity, restart=wanted.restart) as journal:
        done = journal.done
        tell(SCORING, Span(START, done.mark, done.rows, done.share))
        if wanted.ray is None:
            results = _here(prepared, score, done.mark)
        else:
            results = _over_ray(prepared, folder, model.scorer.engine, done.mark)
        for span, scores in results:
            journal.append(span, scores)
            tell(SCORING, span)
        return _write_from_journal(output, prepared.source, journal, pinned, partial(tell, WRITING))


def _here(prepared: Prepared, score: ChunkScorer, start: Mark) -> Iterator[tuple[Span, Results]]:
    rest = prepared.source.chunks(start, prepared.asked.roles.columns)
    scored = score_in_threads(rest, score, workers=prepared.wanted.workers or cores())
    return ((chunk.span, scores) for chunk, scores in scored)


def _over_ray(
    prepared: Prepared, folder: Path, engine: str, start: Mark
) -> Iterator[tuple[Span, Results]]:
    wanted = prepared.wanted
    columns = prepared.asked.roles.columns
    spans = [chunk.span for chunk in prepared.source.chunks(start, columns)]
    if not spans:
        return
    path = wanted.file.resolve()
    model = RayModel(wanted.engine, engine, wanted.threads, code_version())
    task = RayTask(path, wanted.format, prepared.asked, model)
    with ray_cluster(wanted.ray or "", cores=wanted.workers or cores()) as there:
        actors = wanted.workers or there // wanted.threads or 1
        yield from score_over_ray(task, spans, folder, actors=min(actors, len(spans)))


def journal_of(output: Path) -> Path:
    """Where the results lie until the scored file is whole."""
    return output.with_name(f".{output.name}.heed-score")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _identity(prepared: Prepared, model: OpenModel, sha256: str) -> Identity:
    wanted = prepared.wanted
    return {
        "input": {"sha256": sha256, "format": wanted.format},
        "model": {"sha256": model.sha256, "engine": model.scorer.engine, "threads": wanted.threads},
        "command": {"asked": prepared.asked.as_json(), "output": wanted.output_format},
        "version of Heed": code_version(),
    }


def _write_from_journal(
    output: Output, source: Source, journal: Journal, pinned: Pinned, tell: Callable[[Span], None]
) -> Tally:
    """Put rows and results together, and forget the journal.

    Raises:
        InvalidInput: the output cannot be written.
        Conflict: the file was changed since its rows were scored.
    """

    def scored() -> Iterator[Scored]:
        yield from zip(source.chunks(), journal.results(), strict=False)
        pinned.check()

    tally = write_scored(output, source, scored(), tell)
    journal.remove()
    return tally
