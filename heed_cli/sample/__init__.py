"""A bundled sample of simulated human feedback, written and generated for this project."""

import json

from heed_cli.sample.build import Row, Sample, build_sample
from heed_cli.sample.content import read_text

__all__ = ["FILE_NAME", "Row", "Sample", "build_sample", "load_sample", "sample_lines"]

FILE_NAME = "feedback.jsonl"


def load_sample() -> list[Row]:
    """Every row of the bundled file in the order of posting; ``batch`` is 1, then 2."""
    return [json.loads(line) for line in read_text(FILE_NAME).splitlines()]


def sample_lines(sample: Sample) -> str:
    """The text of the bundled file: one JSON object per line, the first batch before the later."""
    rows = [*sample.first, *sample.later]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
