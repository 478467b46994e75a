"""The claims of the metrics, tried: each metric, on each degradation of each target.

Reacting is measured by Spearman's correlation between the size of the degradation and how much worse the figure is,
:meth:`ectype.metrics.Metric.gap` for most. It is 1 where every step makes it worse. Ignoring is measured in units of the figures' own
uncertainty: the largest change against the undegraded rows, divided by the half-widths of both intervals, added in squares; more than
``STILL`` is a change that chance does not make.

Reference: Spearman 1904, The proof and measurement of association between two things.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from ..data.schema import Schema
from ..metrics import METRICS, Estimate, Metric
from .degradations import DEGRADATIONS, Degradation
from .targets import REPEATS, TARGETS, Patient

MONOTONE = 0.95         # rank correlation from which a metric reacts
SATURATED = 0.01        # from the worst value that a figure can have: there it saturates, as its blind spot says
STILL = 1.5             # half-widths of an interval up to which it ignores: 2.9 standard deviations


@dataclass(frozen=True)
class Finding:
    """One metric under one degradation of one target.

    ``values`` belong to ``sizes``, the first of which is 0; ``correlation`` is that of size and badness up to the first size at which
    the figure is as bad as can be, ``change`` the largest change in half-widths; ``claim`` is ``"reacts"``, ``"ignores"`` or ``""``, and
    ``holds`` says whether it does, ``None`` without a claim.
    """

    metric: str
    degradation: str
    target: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    correlation: float
    change: float
    claim: str
    holds: bool | None


def examine(targets: Iterable[str] | None = None, degradations: Iterable[str] | None = None, *, rows: int | None = None,
            repeats: int = REPEATS, seed: int = 0, progress: Callable[[str, str, float], None] | None = None) -> list[Finding]:
    """Try every metric on the degradations of the targets; ``None`` = all of them. Findings in the order of the catalogue.

    ``rows`` is the size of test, holdout and generated part, ``None`` = the target's own; figures are averaged over ``repeats`` draws
    of all parts. ``progress`` is called with target, degradation and the share that is done.
    """
    chosen = [TARGETS[t] for t in (TARGETS if targets is None else targets)]
    tried = [(t, d) for t in chosen for d in (DEGRADATIONS if degradations is None else degradations) if t.name in DEGRADATIONS[d].sizes]
    found: list[Finding] = []
    for target in chosen:
        patients = [Patient.of(target, seed + r, rows) for r in range(repeats)]
        healthy = [p.evaluator.estimate(p.fresh, seed + r) for r, p in enumerate(patients)]
        for name in (d for t, d in tried if t is target):
            if progress is not None:
                progress(target.name, name, tried.index((target, name)) / len(tried))
            found += _under(patients, healthy, DEGRADATIONS[name], seed)
    order = list(METRICS)
    return sorted(found, key=lambda f: order.index(f.metric))


def _under(patients: list[Patient], healthy: list[dict[str, Estimate]], degradation: Degradation, seed: int) -> list[Finding]:
    """Every metric of a target under one degradation."""
    target, schema = patients[0].target, patients[0].schema
    sizes = degradation.sizes[target.name]
    ill = [[p.evaluator.estimate(degradation(p, s, seed + r), seed + r) for r, p in enumerate(patients)] for s in sizes]
    findings = []
    for name in healthy[0]:
        estimates = [_average([e[name] for e in repeated]) for repeated in (healthy, *ill)]
        worth = until_saturated(METRICS[name], [e.value for e in estimates])
        correlation = rank_correlation((0.0, *sizes)[: len(worth)], [badness(METRICS[name], v) for v in worth])
        change = largest_change(estimates)
        claim = METRICS[name].claim(degradation.name, *kinds_of(schema))
        kept = None if not claim else correlation >= MONOTONE if claim == "reacts" else change <= STILL
        findings.append(Finding(name, degradation.name, target.name, (0.0, *sizes), tuple(e.value for e in estimates), correlation, change,
                                claim, kept))
    return findings


def kinds_of(schema: Schema) -> tuple[str, ...]:
    """The kinds of data that claims are made for."""
    if schema.is_image:
        return ("images",)
    return ("table", "numbers") if all(b.type == "number" and not b.step for b in schema.blocks) else ("table",)


def _average(estimates: list[Estimate]) -> Estimate:
    """The mean over repeats; the interval is one of a single draw, so that it does not shrink below what a comparison sees."""
    return Estimate(*(float(np.mean(v)) for v in zip(*estimates, strict=True)))


def badness(metric: Metric, value: float) -> float:
    """How bad a value is; not cut at the ideal, where noise would become ties."""
    return -value if metric.better == "higher" else value


def until_saturated(metric: Metric, values: list[float]) -> list[float]:
    """The values up to the first that is as bad as can be, where the metric has a worst value: beyond it, order is chance."""
    worst = metric.bounds[0] if metric.better == "higher" else metric.bounds[1]
    full = [i for i, v in enumerate(values) if abs(v - worst) <= SATURATED]
    return values[: full[0] + 1] if full else values


def rank_correlation(x: Iterable[float], y: Iterable[float]) -> float:
    """Spearman's correlation, ties at their mean rank; 0 where one of the two does not vary."""
    a, b = (rankdata(np.round(list(v), 9)) for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else 0.0


def largest_change(estimates: list[Estimate]) -> float:
    """Largest distance from the first figure, in half-widths of the two intervals, on the sides that face each other."""
    first, changes = estimates[0], []
    for e in estimates[1:]:
        down, up = (first, e) if e.value < first.value else (e, first)
        half = math.hypot(down.value - down.low, up.high - up.value)
        changes.append(0.0 if e.value == first.value else abs(e.value - first.value) / max(half, 1e-12))
    return max(changes)


def holds(findings: Iterable[Finding]) -> bool:
    """Whether every claim that was tried holds."""
    return all(f.holds is not False for f in findings)
