"""`python -m services.trainer`: the worker; with `--run` or `--job` its child; `--check`."""

import argparse
import sys
import uuid

from services.trainer.lifeline import die_with


def main() -> int:
    """The exit status of whichever part was asked for."""
    options = _options()
    if options.parent is not None:
        die_with(options.parent)
    from services.trainer.processes import (
        be_beside,
        be_child,
        be_job_child,
        be_worker,
        ending_in_one_line,
        is_worker_alive,
    )

    if options.check:
        return ending_in_one_line(is_worker_alive)
    if options.beside:
        return ending_in_one_line(be_beside)
    if options.job is not None:
        return ending_in_one_line(lambda: be_job_child(options.job, options.attempt))
    if options.run is not None:
        return ending_in_one_line(lambda: be_child(options.run, options.attempt))
    return ending_in_one_line(be_worker)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.trainer", description=__doc__)
    parser.add_argument("--check", action="store_true", help="is a worker alive here?")
    parser.add_argument("--beside", action="store_true", help="train beside the worker of host 0")
    for name in ("--run", "--job"):
        parser.add_argument(name, type=uuid.UUID, help=argparse.SUPPRESS)
    for name in ("--attempt", "--parent"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
