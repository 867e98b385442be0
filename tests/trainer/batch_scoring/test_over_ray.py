"""A Ray cluster of one machine gives what this process gives."""

import pytest

from services.trainer.batch_scoring.rows import CHUNK_ROWS

ray = pytest.importorskip("ray", reason='NO RAY: pip install "heed-rlhf[ray]" to test --ray')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_a_cluster_gives_the_same_bytes_and_goes_on(tmp_path, rows, json_lines, score, model):
    count = 4 * CHUNK_ROWS - 48
    file = json_lines([{"n": at} | row for at, row in enumerate(rows(count))])
    score(file, tmp_path / "here.jsonl", extras=("raw", "interval", "uncertainty"))

    tally = score(
        file, tmp_path / "there.jsonl", extras=("raw", "interval", "uncertainty"),
        ray="local", workers=2,
    )  # fmt: skip

    assert tally.rows == count == 2000
    assert (tmp_path / "there.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
