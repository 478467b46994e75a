"""What the doctor found, as a table: a row for each metric, a column for each degradation, the weakest target in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..metrics import METRICS
from .degradations import DEGRADATIONS
from .doctor import MONOTONE, STILL, Finding, holds

LEGEND = (f"reacts: the least rank correlation of size and badness over the targets, at least {MONOTONE:g} is asked for. ignores: the "
          f"largest change against undegraded rows, in half-widths of 95 % intervals, at most {STILL:g}. In brackets: no claim is made.")


def cell(findings: Sequence[Finding]) -> str:
    """One metric under one degradation, over the targets, in a few characters; a claim that fails names its targets."""
    if not findings:
        return ""
    claimed = [f for f in findings if f.claim]
    failed = [f.target for f in claimed if not f.holds]
    if not claimed:
        return f"({min(f.correlation for f in findings):+.2f})"
    reacts, ignores, others = ([f for f in findings if f.claim == claim] for claim in ("reacts", "ignores", ""))
    words = [f"reacts {min(f.correlation for f in reacts):+.2f}"] if reacts else []
    words += [f"ignores {max(f.change for f in ignores):.1f}"] if ignores else []
    words += [f"({min(f.correlation for f in others):+.2f})"] if others else []     # of the kinds of data that the claim leaves out
    return ", ".join(words) + (f" FAILS on {', '.join(failed)}" if failed else "")


def table(findings: Sequence[Finding]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of text."""
    columns = [d for d in DEGRADATIONS if any(f.degradation == d for f in findings)]
    rows = [[METRICS[m].title, *(cell([f for f in findings if (f.metric, f.degradation) == (m, d)]) for d in columns)]
            for m in METRICS if any(f.metric == m for f in findings)]
    return ["metric", *(d.replace("_", " ") for d in columns)], rows


def verdict(findings: Sequence[Finding]) -> str:
    """The outcome in one sentence."""
    claims = [f for f in findings if f.holds is not None]
    failed = [f for f in claims if not f.holds]
    if not failed:
        return f"All {len(claims)} claims hold."
    named = "; ".join(f"{f.metric}: {f.claim} {f.degradation}, on {f.target}" for f in failed)
    return f"{len(failed)} of {len(claims)} claims fail. {named}."


def as_markdown(findings: Sequence[Finding]) -> str:
    """The table with its legend."""
    head, rows = table(findings)
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(["# Do the metrics measure what they say?", "", verdict(findings), "", *lines, "", LEGEND, ""])


def as_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything, for a file."""
    return {"holds": holds(findings), "monotone": MONOTONE, "still": STILL,
            "degradations": {d.name: d.title for d in DEGRADATIONS.values()}, "findings": [asdict(f) for f in findings]}
