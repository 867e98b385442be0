"""A Ray cluster of one machine gives what this process gives, also when one of its nodes dies."""

import threading
import time
from collections.abc import Iterator

import pytest

from services.trainer.batch_scoring.job import journal_of
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


@pytest.fixture
def cluster() -> Iterator[object]:
    """A head that computes nothing, and two nodes of one core."""
    from ray.cluster_utils import Cluster

    bounds = {"object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **bounds})
    for _ in range(2):
        made.add_node(num_cpus=1, **bounds)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_one_of_two_nodes_dies_and_the_file_is_scored_all_the_same(
    tmp_path, rows, json_lines, score, cluster
):
    count = 60 * CHUNK_ROWS
    file = json_lines([{"n": at} | row for at, row in enumerate(rows(count))])
    score(file, tmp_path / "here.jsonl")
    there, lines_left = tmp_path / "there.jsonl", []

    def kill() -> None:
        journal = journal_of(there)
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            time.sleep(0.02)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        lines_left.append(there.exists())

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    tally = score(file, there, ray=cluster.address, workers=2)
    killer.join(60)

    assert lines_left == [False], "the node died before the file was done"
    assert tally.rows == count
    assert there.read_bytes() == (tmp_path / "here.jsonl").read_bytes()
