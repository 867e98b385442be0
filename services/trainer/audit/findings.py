"""What an audit found, in sentences: first what people need to know before they trust a model."""

from collections.abc import Iterator
from math import log2

from shared.contracts.audit import (
    Accuracy,
    AuditReport,
    CalibrationAudit,
    Estimate,
    Finding,
    LearningCurve,
    LengthAudit,
    Level,
    PositionAudit,
    PromptControl,
    RatingControl,
    TemplateChange,
)

FEW_PAIRS = 200
_ALPHA = 0.05
_FLIPS = 0.02

_LAST_LAYERS = (
    "These are last layers alone, on the model as it was before training; training all layers may "
    "make more of further labels, or less."
)
_CHOSE = (
    "Probabilities and intervals come from prompts that also chose when training ended, since too "
    "few were held back to part them."
)
_PLAIN_MARKS = (
    "The marks of the chat template are plain text: a response that imitates them can pretend that "
    "somebody else said a part of it."
)

_ORDER: tuple[Level, ...] = ("warning", "unknown", "note", "good")


def findings(report: AuditReport) -> list[Finding]:
    """The findings of an audit, accuracy first, then by how much they should worry."""
    first = _accuracy(report.accuracy, report)
    rest = sorted(_rest(report), key=lambda finding: _ORDER.index(finding.level))
    return [first, *rest]


def _rest(report: AuditReport) -> Iterator[Finding]:
    if report.length:
        yield _length(report.length)
    if report.prompt:
        yield _prompt(report.prompt)
    if report.ratings:
        yield from _ratings(report.ratings)
    if report.position:
        yield _position(report.position)
    if report.template:
        yield _template(report.template)
    yield from map(_calibration, report.calibration)
    if report.calibrated_on == "choosing_prompts":
        yield _said("note", "calibration", _CHOSE)
    if report.has_plain_marks:
        yield _said("warning", "template", _PLAIN_MARKS)
    yield _learning(report.learning)
    yield from _slices(report)
    yield from _represented(report)


def _accuracy(accuracy: Accuracy | None, report: AuditReport) -> Finding:
    if accuracy is None:
        return _said("unknown", "accuracy", "Nothing was held out, so accuracy is not known.")
    matched = " of well against badly rated responses to different prompts"
    what = matched if report.compared_on == "matched_ratings" else ""
    text = (
        f"The model agrees with people on {_percent(accuracy.model)} of {report.pairs} held-out "
        f"comparisons{what}."
    )
    best = max(accuracy.baselines, key=lambda one: one.accuracy.value)
    text += (
        f" Without reading anything, {_BASELINES[best.name]} agrees on "
        f"{_percent(best.accuracy)}; the difference is {_points(best.gain)}."
    )
    if report.pairs < FEW_PAIRS:
        text += f" With fewer than {FEW_PAIRS} comparisons only the intervals mean something."
    level: Level = "unknown" if best.gain.low <= 0 <= best.gain.high else "good"
    return _said("warning" if best.gain.high < 0 else level, "accuracy", text)


_BASELINES = {
    "length_only": "a model fitted on length alone",
    "longer_wins": "always choosing the longer response",
    "shorter_wins": "always choosing the shorter response",
}


def _length(length: LengthAudit) -> Finding:
    if length.verdict == "undecidable" or length.longer_at_equal_reward is None:
        return _said(
            "unknown",
            "length",
            "There are too few comparisons of responses of different length to tell whether the "
            "model prefers length more than people do.",
        )
    equal = (
        f"Of two responses that it finds equally good, people choose the one twice as long in "
        f"{_percent(length.longer_at_equal_reward)} of cases."
    )
    chosen = ""
    if length.model_picks_longer and length.people_pick_longer:
        chosen = (
            f" It picks the longer response in {_percent(length.model_picks_longer)} of "
            f"comparisons, people do in {_percent(length.people_pick_longer)}."
        )
    if length.verdict == "beyond_people":
        return _said(
            "warning", "length", f"The model prefers length beyond people. {equal}{chosen}"
        )
    return _said(
        "good", "length", f"The model is not shown to prefer length beyond people. {equal}{chosen}"
    )


def _prompt(prompt: PromptControl) -> Finding:
    text = (
        f"With the prompt of another comparison the model still agrees with people on "
        f"{_percent(prompt.other_prompt)}, so {_points(prompt.from_prompt)} of its "
        f"{_percent(prompt.accuracy)} come from the prompt. It ranks the chosen response above one "
        f"chosen for another prompt in {_percent(prompt.own_response_wins)} of cases (half: it "
        "does not see what belongs together)."
    )
    reads = prompt.from_prompt.low > 0 or prompt.own_response_wins.low > 0.5
    return _said("good" if reads else "note", "prompt", text)


def _ratings(control: RatingControl) -> Iterator[Finding]:
    if control.other_response.low > 0:
        yield _said(
            "note",
            "prompt",
            f"Rewards follow ratings (r = {_number(control.r)}) also with the response of another "
            f"row (r = {_number(control.other_response)}): some prompts get better ratings "
            "whatever the response, and correlations with ratings owe something to that.",
        )


def _position(position: PositionAudit) -> Finding:
    text = (
        f"People chose the response that was shown first in {_percent(position.people_pick_first)} "
        f"of {position.pairs} comparisons"
    )
    model = position.model_picks_first
    text += f", the model picks it in {_percent(model)}." if model else "."
    favours = not position.people_pick_first.low <= 0.5 <= position.people_pick_first.high
    return _said("warning" if favours else "good", "position", text)


def _template(changes: list[TemplateChange]) -> Finding:
    worst = max(changes, key=lambda change: change.flips.value)
    text = (
        f"Changes that should not matter turn at most {_percent(worst.flips)} of the comparisons "
        f"({worst.change.replace('_', ' ')}; the reward moves by {worst.mean_shift:.3f} of its "
        "spread on average)."
    )
    return _said("warning" if worst.flips.low > _FLIPS else "good", "template", text)


def _calibration(one: CalibrationAudit) -> Finding:
    what = "that a response is good" if one.of == "good" else "that people agree with its choice"
    text = (
        f"The probability {what} is off by {_percent(one.ece)} on average; chance alone would "
        f"make that {100 * one.ece_if_calibrated:.1f} % with {one.rows} rows (p = {one.p:.3f})."
    )
    return _said("note" if one.p < _ALPHA else "good", "calibration", text)


def _learning(curve: LearningCurve) -> Finding:
    found = _learned(curve)
    if curve.refitted == "model" or curve.last_gain is None:
        return found
    return _said(found.level, found.about, f"{found.text} {_LAST_LAYERS}")


def _learned(curve: LearningCurve) -> Finding:
    if curve.last_gain is None:
        text = f"Whether more labels would help was not measured: {curve.why_left_out}."
        return _said("unknown", "learning", text)
    most, before = curve.points[-1], curve.points[-2]
    doublings = log2(most.judgements / before.judgements)
    each = f", {100 * curve.last_gain.value / doublings:+.1f} a doubling" if doublings > 1.5 else ""
    count = f"{most.judgements} judgements"
    text = (
        f"{f'All {count}' if curve.refitted == 'model' else count} instead of {before.judgements} "
        f"change the accuracy by {_points(curve.last_gain)}{each}: "
    )
    if curve.verdict == "rising":
        return _said("note", "learning", f"{text}more labels are likely to help.")
    if curve.verdict == "flat":
        return _said("good", "learning", f"{text}more labels of the same kind will hardly help.")
    text += "too few comparisons are held out to tell whether more labels would help."
    return _said("unknown", "learning", text)


def _slices(report: AuditReport) -> Iterator[Finding]:
    for one in report.slices:
        if one.p_adjusted < _ALPHA and one.difference.value < 0:
            yield _said(
                "warning",
                "slices",
                f"The model does worse where {one.name} is {one.value}: {_percent(one.accuracy)} "
                f"of {one.pairs} comparisons, {_points(one.difference)} against the rest.",
            )
    for gap in report.fairness:
        if gap.p < _ALPHA:
            yield _said(
                "warning",
                "fairness",
                f"Accuracy depends on {gap.name}: from {gap.worst} to {gap.best} it rises by "
                f"{_points(gap.gap)}; chance alone makes {100 * gap.gap_if_equal:.1f} points.",
            )


def _represented(report: AuditReport) -> Iterator[Finding]:
    untold = dict.fromkeys(one.name for one in report.representation if one.feedback is None)
    for name in untold:
        yield _said(
            "unknown",
            "representation",
            f"No feedback says its {name}, so whom it represents is not known: send {name} in the "
            "context of posts, or correct the population table.",
        )
    for one in report.representation:
        if one.is_underrepresented and one.feedback is not None:
            yield _said(
                "warning",
                "representation",
                f"{one.name} {one.value} is {100 * one.population:.1f} % of the population and "
                f"{_percent(one.feedback)} of the feedback.",
            )


def _said(level: Level, about: str, text: str) -> Finding:
    return Finding(level=level, about=about, text=text)


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _points(one: Estimate) -> str:
    return f"{100 * one.value:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _number(one: Estimate) -> str:
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
