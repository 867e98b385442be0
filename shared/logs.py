"""One JSON line per event on standard error; never a prompt, a response, a comment or a secret."""

import logging
import sys
import traceback
from pathlib import Path

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logs(level: str = "INFO") -> None:
    """Send structlog events and the standard library's records through one JSON renderer."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_exception,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("alembic", "httpcore", "httpx"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"


def get_logger(area: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry `area`, such as `feedback_api` or `trainer`."""
    # Not bound here: a module that asks at import would get a logger from before configure_logs.
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(area, area=area)
    return logger


def places_of(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last: at most eight `file:line`."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-8:]]


def _name_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Write an exception's type and places, never its message: it may repeat a row's text.

    So may the lines with which asyncio goes on about a task that failed.
    """
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        said = str(event["event"]).partition("\n")[0]
        event.update(event=said, type=type(error).__name__, places=places_of(error))
    return event
