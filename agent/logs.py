"""structlog, set up once: JSON lines to a file or standard error, short lines for a person on a terminal.

Every line of one update carries the same ``update_id``: the device puts it there (``agent.device``).
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure(stream: TextIO | None = None, *, human: bool | None = None) -> None:
    """Send events to ``stream`` (standard error by default), for a person where it is a terminal."""
    out = sys.stderr if stream is None else stream
    for_person = out.isatty() if human is None else human
    renderer: structlog.typing.Processor
    if for_person:
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=0)
    else:
        renderer = structlog.processors.JSONRenderer(sort_keys=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Whatever standard error is at the moment."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_quiet() -> None:
    """For a command whose standard output is its answer: warnings and worse alone, on standard error."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(file=_StandardError()),  # type: ignore[arg-type]  # all that it asks of a file
    )
