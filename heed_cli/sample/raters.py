"""Simulated raters: each turns a latent quality into stars or a choice in their own way."""

from dataclasses import dataclass
from random import Random

from heed_cli.sample.compose import Candidate

STAR_CUTS = (-1.5, -0.5, 0.5, 1.5)


@dataclass(frozen=True)
class Rater:
    """A person with a strictness (shifts every cut) and a noise (standard deviation)."""

    rater_id: str
    domains: tuple[str, ...]
    strictness: float
    noise: float


RATERS = (
    Rater("rater-01", ("clinical",), 0.4, 0.7),
    Rater("rater-02", ("clinical",), -0.3, 0.9),
    Rater("rater-03", ("clinical",), 0.0, 0.8),
    Rater("rater-04", ("clinical", "neurons"), 0.2, 1.3),
    Rater("rater-05", ("climate",), -0.5, 0.8),
    Rater("rater-06", ("climate",), 0.3, 0.7),
    Rater("rater-07", ("climate", "clinical"), 0.0, 1.1),
    Rater("rater-08", ("neurons",), 0.5, 0.7),
    Rater("rater-09", ("neurons",), -0.2, 0.8),
    Rater("rater-10", ("neurons", "climate"), 0.1, 1.2),
)
TIE_ZONE = 0.6


def raters_of(domain: str) -> list[Rater]:
    """The raters who know this domain."""
    return [rater for rater in RATERS if domain in rater.domains]


def stars(rater: Rater, candidate: Candidate, rng: Random) -> int:
    """The rater's rating, 1 to 5: the cuts passed by the quality as this rater perceives it."""
    perceived = candidate.quality - rater.strictness + rng.gauss(0, rater.noise)
    return 1 + sum(perceived > cut for cut in STAR_CUTS)


def choose(rater: Rater, first: Candidate, second: Candidate, rng: Random) -> str:
    """``a``, ``b`` or, when the two seem equally good to the rater, ``tie``.

    Strictness cancels in a comparison, so only the noise of both perceptions remains.
    """
    margin = first.quality - second.quality + rng.gauss(0, rater.noise * 2**0.5)
    if abs(margin) < TIE_ZONE:
        return "tie"
    return "a" if margin > 0 else "b"
