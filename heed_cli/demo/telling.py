"""One line per finished step of the demo."""

from collections.abc import Mapping
from typing import Any

from heed_cli.demo.ranking import RankGain
from heed_cli.terminal import done, note

GATE_MARGIN = "HEED_GATE_MARGIN"


def tell_posted(acknowledged: int, sent: int, seconds: float, stored: int) -> None:
    """How many posts were acknowledged, and how many the database holds now."""
    tell = done if acknowledged == sent else note
    tell("posted", f"{acknowledged} of {sent} acknowledged in {seconds:.1f} s; {stored} stored")


def tell_trained(judged: Mapping[str, Any], margin: float) -> None:
    """How good the new model is, and what the gate says of it."""
    done("trained", f"{judged['model']} in {judged['run_seconds']:.1f} s: {_accuracy(judged)}")
    gate = judged["gate"]
    against = "; ".join(_against(comparison) for comparison in gate.get("comparisons", []))
    tell = done if gate.get("promotes") else note
    verdict = str(gate.get("verdict")).replace("_", " ")
    tell("gate", f"{verdict}: {against}; it may lose {100 * margin:.0f} points")


def _accuracy(judged: Mapping[str, Any]) -> str:
    if judged["accuracy"] is None:
        return "no two differently judged responses were held out"
    return (
        f"right on {judged['accuracy']:.3f} of {judged['test_pairs']} held-out comparisons, length "
        f"alone on {judged['length_accuracy']:.3f}"
    )


def _against(comparison: Mapping[str, Any]) -> str:
    return (
        f"{comparison['difference']:+.3f} to {comparison['opponent'].replace('_', ' ')} "
        f"({comparison['low']:+.3f} … {comparison['high']:+.3f})"
    )


def tell_rerank(gain: RankGain | None, live: str | None) -> None:
    """How much higher the live model puts what people liked best."""
    if gain is None:
        note("re-ranked", f"nothing: no held-out prompt has two judged responses; {live} is live")
        return
    (done if gain.low > 0 else note)(
        "re-ranked",
        f"{gain.prompts} held-out prompts with {live}: the response people liked best is at place "
        f"{gain.model_rank:.2f}, was {gain.input_rank:.2f}",
    )
