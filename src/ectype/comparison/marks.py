"""The verdict: marks for quality, speed and coverage, and the family to pick.

Quality is the share of the gap between independent marginals and real data that a family closes,

    closed(v) = 1 − (d(v) − d(real)) / (d(marginals) − d(real)),    clipped to [0, 1],

with d(v) = max(v − ½, 0) for the AUROC of a classifier two-sample test and d(v) = √v for a squared Fréchet distance; the two count
equally. Coverage is the share that it reaches of what real rows reach in coverage and in recall. *real* is the better of the two
figures that real rows have, the holdout's (the floor) and the training copy's, so that an unlucky holdout lowers no bar. Speed
goes by network evaluations per sample, and by rows per second relative to the fastest family. :data:`RULES` says the thresholds in
words. All anchors come from the data at hand, so that a mark asks for the same on easy data, where all are near the floor, as on
hard data, where all are far.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FEW_ROWS = 200              # with fewer, chance plays a part that must be said
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
    known = [v for v in (figure["floor"], _mean(dummies.get("training_copy"), metric)) if v is not None]
    return (max if figure["better"] == "higher" else min)(known, default=None)


def quality_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any]) -> list[float]:
    """Quality of a row at each of its seeds: :func:`gap_closed` from independent marginals, averaged over the groups of metrics."""
    def closed(metric: str, i: int) -> float | None:
        figure, reference = entry["metrics"].get(metric), _mean(dummies.get("marginals"), metric)
        real = figure and real_figure(metric, figure, dummies)
        if figure is None or None in (figure["values"][i], real, reference):
            return None
        return gap_closed(figure["values"][i], real, reference, figure["better"])

    return _means([_mean_of([closed(metric, i) for metric in group]) for group in QUALITY_METRICS]
                  for i in range(len(entry["seeds"])))


def coverage_scores(entry: Mapping[str, Any], dummies: Mapping[str, Any]) -> list[float]:
    """Coverage of a row at each of its seeds: the share of what real rows reach in coverage and in recall, each at most 1."""
    def reached(metric: str, i: int) -> float | None:
        figure = entry["metrics"].get(metric)
        real = figure and real_figure(metric, figure, dummies)
        return min(1.0, figure["values"][i] / real) if real and figure["values"][i] is not None else None

    return _means([reached(metric, i) for metric in COVERAGE_METRICS] for i in range(len(entry["seeds"])))


def award_marks(models: Mapping[str, Any], dummies: Mapping[str, Any]) -> dict[str, Any]:
    """``{row: {quality, speed, coverage: bool, scores: {…: {mean, std}}, why: {…: text}}}`` of every row that was judged.

    The dummies get scores and no marks, so that a picture can show where they stand.
    """
    fastest = max((_mean(e, "rows_per_s") or 0.0 for e in models.values()), default=0.0)
    marks: dict[str, Any] = {}
    for name, e in {**models, **dummies}.items():
        if any(m in e["metrics"] for group in QUALITY_METRICS for m in group):     # else only its costs are known
            scores = {"quality": spread(quality_scores(e, dummies)), "coverage": spread(coverage_scores(e, dummies))}
            judged = {} if name in dummies else {"quality": _judge_quality(e, scores["quality"]), "speed": _judge_speed(e, fastest),
                                                 "coverage": _judge_coverage(e, scores["coverage"], dummies)}
            marks[name] = {**{m: earned for m, (earned, _) in judged.items()}, "scores": scores,
                           "why": {m: why for m, (_, why) in judged.items()}}
    return marks


def _judge_quality(e: Mapping[str, Any], score: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    c2st, copied = _mean(e, "c2st"), _mean(e, "memorisation")
    words = f"Closes {score['mean']:.0%} of the gap to real data"
    words += f" (C2ST {c2st:.2f}, 0.50 is ideal)" if c2st is not None else ""
    closed = score["mean"] >= CLOSED
    if closed and copied is not None and copied >= COPYING:     # of samples far from all data, memorisation says nothing
        return False, f"{words}, but copies: {copied:.0%} of its samples are nearer to the training part than to unseen rows."
    return closed, words + _borderline(score, CLOSED) + "."


def _judge_speed(e: Mapping[str, Any], fastest: float) -> tuple[bool, str]:
    rate, nfe = _mean(e, "rows_per_s"), _mean(e, "nfe")
    if not rate or nfe is None:
        return False, "Not measured."
    slower = fastest / rate
    words = f"{_count(rate)} rows/s with {_count(nfe)} network evaluation{'s' * (nfe != 1)} per sample"
    if slower <= 1:
        words += "; the fastest here"
    elif slower >= 2:
        words += f"; {_count(float(f'{slower:.2g}'))} times slower than the fastest"
    return nfe <= EVALUATIONS and slower <= SLOWER, words + "."


def _judge_coverage(e: Mapping[str, Any], score: Mapping[str, Any], dummies: Mapping[str, Any]) -> tuple[bool, str]:
    if score["mean"] is None:
        return False, "Not measured."
    figures = [f"{m} {_mean(e, m):.2f} against {real:.2f}" for m in COVERAGE_METRICS
               if _mean(e, m) is not None and (real := real_figure(m, e["metrics"][m], dummies)) is not None]
    words = f"Reaches {score['mean']:.0%} of what real rows reach ({', '.join(figures)})"
    return score["mean"] >= REACHED, words + _borderline(score, REACHED) + "."


def _borderline(score: Mapping[str, Any], threshold: float) -> str:
    near = score["std"] is not None and abs(score["mean"] - threshold) < score["std"]
    return f"; borderline: the seeds spread by {score['std']:.0%}" if near else ""


def choose(models: Mapping[str, Any], dummies: Mapping[str, Any], marks: Mapping[str, Any], n_test: int) -> dict[str, Any]:
    """``{name, family, reason, notes}``: the row with most marks; ties by quality, coverage, speed. A dummy is never picked.

    The notes say what a reader should hold against the choice: a slower family that is better, a Gaussian mixture that is as good,
    a test part so small that chance decides (the standard error of an AUROC of two samples of n rows is √((2n + 1) / 12n²)).
    """
    rows = [n for n in models if n in marks]
    failed = [e for n, e in models.items() if e["error"] and n == e["family"]]
    failures = [f"{e['label']} failed ({e['error'].splitlines()[0]})." for e in failed]
    if not rows:
        return {"name": None, "family": None, "reason": "No family could be trained on these data.", "notes": failures}

    def rank(n: str) -> tuple[float, ...]:
        quality, coverage = (marks[n]["scores"][m]["mean"] or 0.0 for m in ("quality", "coverage"))
        return sum(marks[n][m] for m in RULES), round(quality, 2), round(coverage, 2), _mean(models[n], "rows_per_s") or 0.0

    best = max(rows, key=rank)
    notes = [_finer(best, rows, models, marks), _mixture(best, rows, models, marks)]
    if n_test < FEW_ROWS:
        chance = 2 * math.sqrt((2 * n_test + 1) / (12 * n_test**2))
        notes.append(f"There are only {n_test} test rows: by chance alone, a C2ST of 0.50 comes out anywhere within ±{chance:.2f}.")
    reason = " ".join([_lead(best, rows, models, marks, rank), *(marks[best]["why"][m] for m in RULES)])
    return {"name": best, "family": models[best]["family"], "reason": reason, "notes": [n for n in notes if n] + failures}


def _lead(best: str, rows: Sequence[str], models: Mapping[str, Any], marks: Mapping[str, Any],
          rank: Callable[[str], tuple[float, ...]]) -> str:
    """How many marks the pick earned, and what put it ahead of the others."""
    got = [m for m in RULES if marks[best][m]]
    words = f"{models[best]['label']} earns {('no mark', 'one mark of three', 'two marks of three', 'all three marks')[len(got)]}"
    words += f" ({' and '.join(got)})" if len(got) in (1, 2) else ""
    tied = [n for n in rows if n != best and rank(n)[0] == rank(best)[0]]
    if tied:
        alone = [all(rank(best)[i] > rank(n)[i] for n in tied) for i in (1, 2)]
        ahead = "the best quality" if alone[0] else "the best coverage" if alone[1] else "the best of quality, coverage and speed"
        return f"{words}, and has {ahead} of the {len(tied) + 1} that do."
    return words + (", more than any other." if len(rows) > 1 else ".")


def _finer(best: str, rows: Sequence[str], models: Mapping[str, Any], marks: Mapping[str, Any]) -> str | None:
    """The row to take where quality alone counts, if it is another one by more than the spread."""
    quality = {n: marks[n]["scores"]["quality"]["mean"] or 0.0 for n in rows}
    finest = max(rows, key=quality.__getitem__)
    if quality[finest] <= quality[best] + (marks[best]["scores"]["quality"]["std"] or 0.0):
        return None
    ratio = (_mean(models[best], "rows_per_s") or 0.0) / (_mean(models[finest], "rows_per_s") or math.inf)
    slower = f", at {_count(float(f'{ratio:.2g}'))} times the sampling time" if ratio >= 2 else ""
    return (f"Where quality alone counts, {models[finest]['label']} closes {quality[finest]:.0%} of the gap to real data "
            f"(against {quality[best]:.0%}){slower}.")


def _mixture(best: str, rows: Sequence[str], models: Mapping[str, Any], marks: Mapping[str, Any]) -> str | None:
    """A warning where the Gaussian mixture closes as much of the gap to real data as the pick, or as any family."""
    if "gaussian_mixture" not in marks:
        return None
    quality = {n: marks[n]["scores"]["quality"]["mean"] or 0.0 for n in (*rows, "gaussian_mixture")}
    mixture = quality.pop("gaussian_mixture")
    if quality[best] > mixture:
        return None
    finest = max(quality, key=quality.__getitem__)
    figures = f"it closes {mixture:.0%} of the gap to real data"
    if quality[finest] > mixture:
        return f"The Gaussian mixture is as good as the pick: {figures}, {models[best]['label']} {quality[best]:.0%}."
    return (f"No family beats the Gaussian mixture here: {figures}, the best family, {models[finest]['label']}, {quality[finest]:.0%}. "
            "Take the mixture, or give the families a larger budget.")


def _mean(entry: Mapping[str, Any] | None, metric: str) -> float | None:
    return entry["metrics"].get(metric, {}).get("mean") if entry else None


def _means(rows: Any) -> list[float]:
    """The mean of what is known in each row; rows of which nothing is known are left out."""
    return [m for m in map(_mean_of, rows) if m is not None]


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values) if values else None, "std": statistics.stdev(values) if len(values) > 1 else None}


def _count(v: float) -> str:
    """A positive number in at most three significant figures, thousands separated."""
    return f"{round(v, 2 - math.floor(math.log10(v))):,.0f}" if v >= 100 else f"{v:.3g}"
