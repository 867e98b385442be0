"""Loads what commands import, but not them: how wide the terminal is they ask as they load."""

import gc
import os
from importlib import import_module

_LOADED = [
    "datasketch",
    "httpx",
    "matplotlib.figure",
    "services.trainer.reward_runs",
    "services.trainer.runs",
    "shared.db.embedded",
    "shared.ml.engines",
    "sklearn.linear_model",
    "sklearn.metrics",
    "torch",
    "typer",
]

# Read while libraries load; commands that are forked have an environment of their own.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # noqa: TID251
for name in _LOADED:
    import_module(name)
gc.freeze()  # what is not looked at again need not be copied
