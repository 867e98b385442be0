"""What encryption adds to a post of 1.1 KB, in microseconds of CPU, and to reading it again.

    python benchmarks/sealing.py [--posts 20000]

A fresh embedded Postgres holds the data keys. The key of the rater is known but in the last
figure, which is what a post of somebody new costs while 1,000 of them come at once.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.config import Settings
from shared.db import embedded, migrate
from shared.db.engine import create_engine, create_sessions
from shared.privacy.fields import FieldCipher, open_cipher
from shared.privacy.keyring import new_master_key


def main() -> None:
    """Print one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--posts", type=int, default=20_000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="heed-bench-"))
    try:
        url = embedded.start(folder).url()
        migrate.upgrade(url)
        asyncio.run(measure(url, given.posts))
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


async def measure(url: str, posts: int) -> None:
    """Seal so many posts of one rater, open them, then seal 1,000 of unknown raters."""
    engine = create_engine(url)
    settings = Settings(encryption="on", encryption_keys=new_master_key())  # type: ignore[arg-type]
    cipher = open_cipher(settings, create_sessions(engine))
    rows = [post("r_known") for _ in range(posts)]
    await cipher.seal("rlhf_feedback", post("r_known"))
    await report("seal, known rater", rows, cipher.seal)
    await report("open, known rater", rows, lambda table, row: cipher.unseal(table, [row]))
    await seal_strangers(cipher, [post(f"r_{n}") for n in range(1000)])
    await engine.dispose()


def post(rater: str) -> dict[str, Any]:
    """A post whose four texts have 1,100 bytes."""
    texts = {"user_query": "q" * 400, "agent_response": "a" * 500, "comments": "c" * 150}
    correction = {"notes": "n" * 37}
    return {"project_id": 1, "clinician_id": rater, "correction": correction, **texts}


async def report(name: str, rows: list[dict[str, Any]], work: Any) -> None:
    """Do the work on every row and say what one takes."""
    started = time.process_time()
    for row in rows:
        await work("rlhf_feedback", row)
    say(name, (time.process_time() - started) / len(rows))


async def seal_strangers(cipher: FieldCipher, rows: list[dict[str, Any]]) -> None:
    """Posts of people nobody has seen, all at once: their keys are made in one statement."""
    started = time.perf_counter()
    await asyncio.gather(*(cipher.seal("rlhf_feedback", row) for row in rows))
    say("seal, 1,000 new raters at once (wall clock)", (time.perf_counter() - started) / len(rows))


def say(name: str, seconds: float) -> None:
    """One figure."""
    sys.stdout.write(f"{name}: {seconds * 1e6:.1f} µs per post\n")


if __name__ == "__main__":
    main()
