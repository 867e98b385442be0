"""infinity-emb with its torch engine as it is installed and set by default, on the same weights.

`make bench-serving-setup` installs it and makes its models. Its `/rerank` scores a query and a
document as one text; `/embeddings` gives the vector of one.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ingest_servers import Server, free_port, wait_until_ready

HOME = Path("build/infinity")
ENCODER, CROSS_ENCODER = HOME / "models" / "embed", HOME / "models" / "rerank"
START_S = 300


def is_installed() -> bool:
    """Whether `make bench-serving-setup` was run."""
    return (HOME / "bin" / "infinity_emb").exists() and CROSS_ENCODER.exists()


@contextmanager
def infinity() -> Iterator[Server]:
    """A running infinity with both models, which it calls `embed` and `rerank`."""
    port = free_port()
    command = [str(HOME / "bin" / "infinity_emb"), "v2", "--engine", "torch", "--device", "cpu"]
    for folder in (ENCODER, CROSS_ENCODER):
        command += ["--model-id", str(folder.absolute()), "--served-model-name", folder.name]
    command += ["--no-model-warmup", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "PATH": os.defpath,
        "HOME": str(HOME.absolute()),
        "HF_HUB_OFFLINE": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        "DO_NOT_TRACK": "1",
    }
    with (HOME / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(port, process, START_S, path="/health")
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait()


def version() -> str:
    """The versions of infinity-emb, transformers and torch in its environment."""
    return _in_its_python("infinity-emb", "transformers", "torch")


def _in_its_python(*names: str) -> str:
    code = "import sys; from importlib.metadata import version as v; "
    code += "print(*(f'{name} {v(name)}' for name in sys.argv[1:]), sep=', ')"
    command: Sequence[str] = [str(HOME / "bin" / "python"), "-c", code, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
