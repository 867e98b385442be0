"""Real human feedback comes back as it was; the data sets lie beside the repository."""

import gzip
import json
from pathlib import Path

import pytest

import heed_cli

DATA = Path(heed_cli.__file__).parents[2] / "shared" / "data"
SETS = {
    "hh-rlhf": ("hh-rlhf-harmless/pairs.jsonl.gz", 1822),
    "comparisons": ("pandalm-human/annotated.jsonl.gz", 701),
    "qa-feedback": ("qa-feedback/feedback.jsonl.gz", 265),
}


@pytest.mark.parametrize("format_name", SETS)
async def test_real_feedback_is_imported_completely_and_comes_back_as_equal_rows(
    place, tmp_path, format_name
):
    name, count = SETS[format_name]
    if not (DATA / name).exists():
        pytest.skip(f"THE DATA SET {DATA / name} IS NOT HERE: nothing was compared with it")
    lines = gzip.decompress((DATA / name).read_bytes()).splitlines()

    tally = await place.take_in(format_name, DATA / name)
    await place.give_out(format_name, tmp_path / "back.jsonl")

    back = (tmp_path / "back.jsonl").read_bytes().splitlines()
    assert (tally.rows, tally.stored, tally.refused) == (count, count, 0)
    assert list(map(json.loads, back)) == list(map(json.loads, lines))
