"""Marks for quality, speed and coverage.

Quality is the share of the gap between independent marginals and real data that a family closes,

    closed(v) = 1 − (d(v) − d(real)) / (d(marginals) − d(real)),    clipped to [0, 1],

with d(v) = max(v − ½, 0) for the AUROC of a classifier two-sample test and d(v) = √v for a squared Fréchet distance; the two count
equally. Coverage is the share that it reaches of what real rows reach in coverage and in recall. *real* is the better of the two
figures that real rows have, the holdout's (the floor) and the training copy's, so that an unlucky holdout lowers no bar. Speed
goes by network evaluations per sample, and by rows per second relative to the fastest family. :data:`RULES` says the thresholds in
words. All anchors come from the data at hand, so that a mark asks for the same on easy data, where all are near the floor, as on
hard data, where all are far.

A score has an interval like a figure: the spread of the seeds, and what the score would be with all of its figures at the worse, or the
better, end of their evaluation's intervals (as if they erred together, which is the most that they can). The anchors are taken as
they are. A mark is ``"yes"`` or ``"no"`` where all of the interval is on one side of the threshold, else ``"uncertain"``; for speed, where
all of the seeds are.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .intervals import Moderation, interval, moderation

YES, NO, UNCERTAIN = "yes", "no", "uncertain"
CLOSED = 0.5                # quality: share of the gap that must be closed
COPYING = 0.75              # quality: memorisation from here on is closer to a copy (1) than to unseen data (0.5)
REACHED = 0.7               # coverage: share of what real rows reach
EVALUATIONS, SLOWER = 10, 100   # speed: network evaluations per sample, and times slower than the fastest family

RULES = {
    "quality": f"Closes at least {CLOSED:.0%} of the gap between independent marginals and real data, classifier test (C2ST) and "
               f"Fréchet distance weighed equally, and does not copy (memorisation below {COPYING:g}).",
    "speed": f"Needs at most {EVALUATIONS} network evaluations per sample, and is at most {SLOWER} times slower than the fastest "
             "family.",
    "coverage": f"Reaches at least {REACHED:.0%} of what real rows reach, coverage and recall weighed equally.",
}
QUALITY_METRICS = (("c2st",), ("frechet_features", "frechet_pca"))      # each group counts once
COVERAGE_METRICS = ("coverage", "recall")
AS_MEASURED, WORSE, BETTER = 0.0, -1.0, 1.0     # where in its evaluation's interval each figure is taken


def gap_closed(value: float, real: float, reference: float, better: str) -> float:
    """Share of the gap between a reference and real data that a value closes, in [0, 1].

    ``1 − (d(value) − d(real)) / (d(reference) − d(real))``, clipped.
    ``d(v) = max(v − ½, 0)`` for ``better="half"`` (an AUROC), else ``√v`` (a squared distance). Where the reference is all but as
    good as real data, the gap is taken as 0.1 in AUROC, or as the distance of real data, so that noise does not decide.
    """
    def d(v: float) -> float:
        return max(v - 0.5, 0.0) if better == "half" else math.sqrt(max(v, 0.0))

    gap = max(d(reference) - d(real), 0.1 if better == "half" else d(real), 1e-12)
    return min(1.0, max(0.0, 1 - (d(value) - d(real)) / gap))


def real_figure(metric: str, figure: Mapping[str, Any], dummies: Mapping[str, Any]) -> float | None:
    """What real rows reach: the better of the floor and the training copy; ``None`` where neither is known."""
    known = [v for v in (figure["floor"], mean_of(dummies.get("training_copy"), metric)) if v is not None]
    return (max if figure["better"] == "higher" else min)(known, default=None)


def quality_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any], end: float = AS_MEASURED) -> list[float]:
    """Quality of a row at each of its seeds: :func:`gap_closed` from independent marginals, averaged over the groups of metrics."""
    def closed(metric: str, i: int) -> float | None:
        figure, reference = entry["metrics"].get(metric), mean_of(dummies.get("marginals"), metric)
        real, value = figure and real_figure(metric, figure, dummies), figure and _at(figure, i, end)
        return None if None in (figure, value, real, reference) else gap_closed(value, real, reference, figure["better"])

    return _means([_mean([closed(metric, i) for metric in group]) for group in QUALITY_METRICS]
                  for i in range(len(entry["seeds"])))


def coverage_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any], end: float = AS_MEASURED) -> list[float]:
    """Coverage of a row at each of its seeds: the share of what real rows reach in coverage and in recall, each at most 1."""
    def reached(metric: str, i: int) -> float | None:
        figure = entry["metrics"].get(metric)
        real, value = figure and real_figure(metric, figure, dummies), figure and _at(figure, i, end)
        return min(1.0, value / real) if real and value is not None else None

    return _means([reached(metric, i) for metric in COVERAGE_METRICS] for i in range(len(entry["seeds"])))


def _at(figure: Mapping[str, Any], i: int, end: float) -> float | None:
    """The value at a seed, moved to the worse or the better end of the evaluation's interval."""
    value, ends = figure["values"][i], figure["evaluation"]
    if value is None or end == AS_MEASURED or None in ends:
        return value
    towards_high = (end == BETTER) == (figure["better"] == "higher")
    return value + (ends[1] if towards_high else ends[0]) - figure["mean"]


def award_marks(models: Mapping[str, Any], dummies: Mapping[str, Any]) -> dict[str, Any]:
    """``{row: {quality, speed, coverage: mark, scores: {…: {mean, std, low, high}}, why: {…: text}}}`` of every row that was judged.

    The dummies get scores and no marks, so that a picture can show where they stand.
    """
    fastest = max((mean_of(e, "rows_per_s") or 0.0 for e in models.values()), default=0.0)
    others = {s: moderation(s(e, dummies) for e in models.values()) for s in (quality_scores, coverage_scores)}
    marks: dict[str, Any] = {}
    for name, e in {**models, **dummies}.items():
        if any(m in e["metrics"] for group in QUALITY_METRICS for m in group):     # else only its costs are known
            scores = {"quality": _score(quality_scores, e, dummies, others[quality_scores]),
                      "coverage": _score(coverage_scores, e, dummies, others[coverage_scores])}
            judged = {} if name in dummies else {"quality": _judge_quality(e, scores["quality"]), "speed": _judge_speed(e, fastest),
                                                 "coverage": _judge_coverage(e, scores["coverage"], dummies)}
            marks[name] = {**{m: earned for m, (earned, _) in judged.items()}, "scores": scores,
                           "why": {m: why for m, (_, why) in judged.items()}}
    return marks


def _score(scores: Any, e: Mapping[str, Any], dummies: Mapping[str, Any], others: Moderation) -> dict[str, float | None]:
    """Mean, spread and interval of a score over the seeds."""
    values = scores(e, dummies)
    worse, better = (_mean(scores(e, dummies, end)) for end in (WORSE, BETTER))
    low, high = interval(values, (worse, better), (0.0, 1.0), others)
    return spread(values) | {"low": low, "high": high}


def _decide(low: float | None, high: float | None, threshold: float, mean: float) -> str:
    """Whether an interval is above a threshold; of a figure without one, its mean."""
    low, high = (mean if low is None else low), (mean if high is None else high)
    return YES if low >= threshold else NO if high < threshold else UNCERTAIN


def _judge_quality(e: Mapping[str, Any], score: Mapping[str, Any]) -> tuple[str, str]:
    if score["mean"] is None:
        return NO, "Not measured."
    c2st, copied = mean_of(e, "c2st"), e["metrics"].get("memorisation")
    words = f"Closes {score['mean']:.0%} of the gap to real data"
    words += f" (C2ST {c2st:.2f}, 0.50 is ideal)" if c2st is not None else ""
    closed = _decide(score["low"], score["high"], CLOSED, score["mean"])
    words += _between(score, CLOSED) if closed == UNCERTAIN else ""
    if closed != NO and copied is not None and copied["mean"] is not None:      # of samples far from all data, memorisation says nothing
        copies = _decide(copied["low"], copied["high"], COPYING, copied["mean"])
        if copies != NO:
            words += f"{';' if closed == UNCERTAIN else ','} but it {'copies' if copies == YES else 'may copy'}: {copied['mean']:.0%} of " \
                     "its samples are nearer to the training part than to unseen rows"
            return (NO, f"{words}.") if copies == YES else (UNCERTAIN, words + _between(copied, COPYING, "less than ") + ".")
    return closed, f"{words}."


def _judge_speed(e: Mapping[str, Any], fastest: float) -> tuple[str, str]:
    rate, nfe = e["metrics"].get("rows_per_s", {}), mean_of(e, "nfe")
    if not rate.get("mean") or nfe is None:
        return NO, "Not measured."
    slower = fastest / rate["mean"]
    words = f"{count(rate['mean'])} rows/s with {count(nfe)} network evaluation{'s' * (nfe != 1)} per sample"
    if slower <= 1:
        words += "; the fastest here"
    elif slower >= 2:
        words += f"; {count(float(f'{slower:.2g}'))} times slower than the fastest"
    rates = [v for v in rate["values"] if v is not None]        # of a time, what was seen says more than an interval of three
    quick = _decide(min(rates), max(rates), fastest / SLOWER, rate["mean"])
    return NO if nfe > EVALUATIONS else quick, words + "."


def _judge_coverage(e: Mapping[str, Any], score: Mapping[str, Any], dummies: Mapping[str, Any]) -> tuple[str, str]:
    if score["mean"] is None:
        return NO, "Not measured."
    figures = [f"{m} {mean_of(e, m):.2f} against {real:.2f}" for m in COVERAGE_METRICS
               if mean_of(e, m) is not None and (real := real_figure(m, e["metrics"][m], dummies)) is not None]
    reached = _decide(score["low"], score["high"], REACHED, score["mean"])
    words = f"Reaches {score['mean']:.0%} of what real rows reach ({', '.join(figures)})"
    return reached, words + (_between(score, REACHED) if reached == UNCERTAIN else "") + "."


def _between(score: Mapping[str, Any], threshold: float, side: str = "") -> str:
    """Why it is uncertain."""
    return f"; uncertain: {score['low']:.0%} to {score['high']:.0%}, and {side}{threshold:.0%} is asked for"


def mean_of(entry: Mapping[str, Any] | None, metric: str) -> float | None:
    """The mean of a figure of a row; ``None`` where the row or the figure is not known."""
    return entry["metrics"].get(metric, {}).get("mean") if entry else None


def _means(rows: Any) -> list[float]:
    """The mean of what is known in each row; rows of which nothing is known are left out."""
    return [m for m in map(_mean, rows) if m is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation, ``None`` where there are too few values."""
    return {"mean": statistics.fmean(values) if values else None, "std": statistics.stdev(values) if len(values) > 1 else None}


def count(v: float) -> str:
    """A positive number in at most three significant figures, thousands separated."""
    return f"{round(v, 2 - math.floor(math.log10(v))):,.0f}" if v >= 100 else f"{v:.3g}"
