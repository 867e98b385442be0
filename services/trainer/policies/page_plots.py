"""Plots of the report's page, as SVG that takes its colours from the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from services.trainer.heads import Floats

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 34
_BINS = 16


@dataclass(frozen=True)
class Line:
    """One curve: its CSS class names its colour."""

    label: str
    colour: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class _Plane:
    """Numbers to places on the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    @classmethod
    def around(cls, xs: Sequence[float] | Floats, ys: Sequence[float] | Floats) -> "_Plane":
        return cls(_span(xs), _span(ys))

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        left = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        return left, _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, xlabel: str, ylabel: str) -> str:
        bottom, middle = _HEIGHT - _BOTTOM, (_LEFT + _WIDTH - _RIGHT) / 2
        parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>']
        for value in _ticks(self.x):
            left, _ = self.at(value, self.y[0])
            parts.append(_text(left, bottom + 13, f"{value:g}", "middle"))
        for value in _ticks(self.y):
            _, top = self.at(self.x[0], value)
            parts.append(
                f'<path class="grid" d="M{_LEFT} {top:.1f}H{_WIDTH - _RIGHT}"/>'
                + _text(_LEFT - 5, top + 3.5, f"{value:g}", "end")
            )
        parts.append(_text(middle, _HEIGHT - 4, xlabel, "middle"))
        turned = f'transform="rotate(-90 10 {_HEIGHT / 2:.0f})"'
        parts.append(_text(10, _HEIGHT / 2, ylabel, "middle", turned))
        return "".join(parts)


def lines(title: str, curves: Sequence[Line], *, xlabel: str, ylabel: str) -> str:
    """Curves over a common axis."""
    xs = [x for one in curves for x in one.xs]
    plane = _Plane.around(xs, [y for one in curves for y in one.ys])
    drawn = []
    for one in curves:
        places = [plane.at(x, y) for x, y in zip(one.xs, one.ys, strict=True)]
        points = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        drawn.append(f'<polyline class="line {one.colour}" points="{points}"/>')
    return _figure(title, plane.axes(xlabel, ylabel) + "".join(drawn), curves)


def scatter(title: str, xs: Floats, ys: Floats, *, xlabel: str, ylabel: str) -> str:
    """Points, with lines where each is 0."""
    plane = _Plane.around([*xs, 0.0], [*ys, 0.0])
    left, top = plane.at(0.0, 0.0)
    zero = (
        f'<path class="zero" d="M{left:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        f'<path class="zero" d="M{_LEFT} {top:.1f}H{_WIDTH - _RIGHT}"/>'
    )
    dots = "".join(
        '<circle class="dot after" cx="{:.1f}" cy="{:.1f}" r="3.2"/>'.format(*plane.at(x, y))
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    )
    return _figure(title, plane.axes(xlabel, ylabel) + zero + dots, ())


def histogram(title: str, before: Floats, after: Floats, *, xlabel: str) -> str:
    """How both policies' values are spread, in equal bins."""
    low, high = _span([*before, *after])
    counts = [np.histogram(one, bins=_BINS, range=(low, high))[0] for one in (before, after)]
    most = float(max(1, counts[0].max(), counts[1].max()))
    plane = _Plane((low, high), (0.0, most))
    width = (high - low) / _BINS
    bars = []
    for colour, those in zip(("before", "after"), counts, strict=True):
        for at, count in enumerate(those.tolist()):
            left, top = plane.at(low + at * width, float(count))
            right, bottom = plane.at(low + (at + 1) * width, 0.0)
            bars.append(
                f'<rect class="bar {colour}" x="{left + 0.7:.1f}" y="{top:.1f}" '
                f'width="{right - left - 1.4:.1f}" height="{bottom - top:.1f}"/>'
            )
    legend = [Line(name, name, (), ()) for name in ("before", "after")]
    return _figure(title, plane.axes(xlabel, "prompts") + "".join(bars), legend)


def _figure(title: str, drawn: str, curves: Sequence[Line]) -> str:
    keys = "".join(f'<span class="key {one.colour}"></span>{escape(one.label)} ' for one in curves)
    legend = f'<p class="legend">{keys}</p>' if len(curves) > 1 else ""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{legend}"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{drawn}</svg></figure>"
    )


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _span(values: Sequence[float] | Floats) -> tuple[float, float]:
    """From the smallest to the largest, never of no width."""
    low, high = (float(one) for one in (np.min(values), np.max(values)))
    if low == high:
        return low - 0.5, high + 0.5
    room = (high - low) * 0.04
    return low - (room if low != 0 else 0), high + room


def _ticks(span: tuple[float, float]) -> list[float]:
    """About five round numbers inside."""
    rough = (span[1] - span[0]) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
    first = np.ceil(span[0] / step)
    count = int(np.floor(span[1] / step) - first) + 1
    return [float(f"{(first + at) * step:.6g}") + 0.0 for at in range(max(0, count))]
