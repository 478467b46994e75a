"""The verdict: the family to pick, or those that cannot be told apart; and the table that everybody knows.

Family A is *ahead of* family B

1. if it has more marks, even with all that are uncertain given to B; or
2. if it has at least as many, and its interval of quality lies above B's; or
3. if it has at least as many, the intervals of quality overlap, and its interval of coverage lies above B's.

The pick is the one family that none is ahead of. Where there are several, they cannot be told apart with the budget at hand, and the
verdict says so. Speed has a mark of its own, and decides nothing else but between samplers of the same weights that are about as good. A
dummy is never picked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..spec import Budget
from .intervals import separate
from .marks import NO, RULES, UNCERTAIN, YES, count, mean_of

FEW_ROWS = 200              # with fewer, chance plays a part that must be said
MORE = 5                    # times the budget that is suggested where it was too small to tell
KNOWN = (("GAN", "gan"), ("Diffusion", "ddpm"), ("VAE", "vae"), ("Normalizing flow", "flow"), ("Few-step model", "truncated"))
BASELINES = {"gaussian_mixture": ("the Gaussian mixture", "is", "the mixture"), "marginals": ("independent marginals", "are", "them")}
ALIKE = 0.05                # of the gap to real data: a faster sampler of the same weights that closes so much less is preferred
CELLS = {"high_quality": "quality", "fast_sampling": "speed", "mode_coverage": "coverage"}
Rows = Mapping[str, Any]


def known_table(models: Rows, marks: Rows) -> list[dict[str, Any]]:
    """The rows of GAN, diffusion, VAE, flow and few-step model that were asked for, with their marks."""
    return [{"kind": kind, "name": name, **{cell: marks[name][m] if name in marks else None for cell, m in CELLS.items()}}
            for kind, name in KNOWN if name in models]


def choose(models: Rows, dummies: Rows, marks: Rows, n_test: int, budget: Any = None, jobs: int = 1) -> dict[str, Any]:
    """``{name, family, decided, candidates, try_budget, reason, notes}``; see the module.

    The notes say what a reader should hold against the choice: a slower family that is better, a baseline that is as good,
    a test part so small that chance decides (the standard error of an AUROC of two samples of n rows is √((2n + 1) / 12n²)).
    """
    rows = [n for n in models if n in marks]
    failures = [f"{e['label']} failed ({e['error'].splitlines()[0]})." for n, e in models.items() if e["error"] and n == e["family"]]
    if not rows:
        return {"name": None, "family": None, "decided": False, "candidates": [], "try_budget": None,
                "reason": "No family could be trained on these data.", "notes": failures}

    def ahead(a: str, b: str) -> bool:
        return is_ahead(marks[a], marks[b])

    def likelihood(n: str) -> tuple[float, ...]:
        quality, coverage = (marks[n]["scores"][m]["mean"] or 0.0 for m in ("quality", "coverage"))
        earned = sum(marks[n][m] == YES for m in RULES) + sum(marks[n][m] == UNCERTAIN for m in RULES) / 2
        return earned, round(quality, 2), round(coverage, 2), mean_of(models[n], "rows_per_s") or 0.0

    unbeaten = [n for n in rows if not any(ahead(m, n) for m in rows)] or rows
    families: dict[str, list[str]] = {}
    for n in sorted(unbeaten, key=likelihood, reverse=True):
        families.setdefault(models[n]["family"], []).append(n)
    leaders = [_sampler(samplers, models, marks) for samplers in families.values()]
    best, decided = leaders[0], len(leaders) == 1
    waiting = [e["label"] for n, e in models.items() if n == e["family"] and n not in marks and not e["error"]]
    notes = [f"Not measured yet: {', '.join(waiting)}; the same command goes on, and the verdict may change." if waiting else None,
             _finer(best, rows, models, marks), _baseline(best, rows, models, marks)]
    notes += [f"{e['label']} was sampled in {e['options']['steps']} steps: its own number would take many times the operations of its "
              "training; a larger budget buys it."
              for n, e in models.items() if n in marks and n == e["family"] and e["options"].get("steps")]
    if n_test < FEW_ROWS:
        chance = 2 * math.sqrt((2 * n_test + 1) / (12 * n_test**2))
        notes.append(f"There are only {n_test} test rows: by chance alone, a C2ST of 0.50 comes out anywhere within ±{chance:.2f}."
                     + ("" if decided else " More rows would tell the families apart where a larger budget cannot."))
    if jobs > 1 and _in_seconds(budget):
        notes.append(f"The budget is in seconds, and {jobs} fits ran side by side: they shared the processor, and each got less done "
                     "than alone.")
    if len(models[best]["seeds"]) == 1:
        notes.append("Each family was trained once: the intervals know nothing of how much training varies; --seeds 3 shows it.")
    more = None if decided else larger(budget)
    reason = [_lead(best, rows, models, marks)] + [marks[best]["why"][m] for m in RULES] if decided else \
        [_undecided(leaders, models, marks, more)]
    return {"name": best if decided else None, "family": models[best]["family"] if decided else None, "decided": decided,
            "candidates": leaders, "try_budget": more, "reason": " ".join(reason), "notes": [n for n in notes if n] + failures}


def _sampler(samplers: Sequence[str], models: Rows, marks: Rows) -> str:
    """Of samplers of the same weights the fastest that closes nearly as much as the best of them."""
    quality = {n: marks[n]["scores"]["quality"]["mean"] or 0.0 for n in samplers}
    return max((n for n in samplers if quality[n] >= max(quality.values()) - ALIKE), key=lambda n: mean_of(models[n], "rows_per_s") or 0.0)


def is_ahead(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether a row of ``marks`` is ahead of another by more than the intervals."""
    certain, possible = sum(a[m] == YES for m in RULES), sum(b[m] != NO for m in RULES)
    if certain != possible:
        return certain > possible
    for score in ("quality", "coverage"):
        x, y = ((row["scores"][score]["low"], row["scores"][score]["high"]) for row in (a, b))
        if separate(x, y) or separate(y, x):
            return separate(x, y)
    return False


def larger(budget: Any) -> str | None:
    """About ``MORE`` times a budget, as it would be given; ``None`` where there is not one for all."""
    if not isinstance(budget, str):
        return None
    given = Budget.parse(budget)
    if given.seconds is None:
        return f"{MORE * given.steps}steps"
    seconds = MORE * given.seconds
    return f"{seconds / 60:g}m" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g}s"


def _in_seconds(budget: Any) -> bool:
    given = budget.values() if isinstance(budget, Mapping) else [budget]
    return any(isinstance(b, str) and not b.replace("+", "").isdigit() and Budget.parse(b).seconds is not None for b in given)


def _lead(best: str, rows: Sequence[str], models: Rows, marks: Rows) -> str:
    """How many marks the pick earned, and what put it ahead of the others."""
    got = [m for m in RULES if marks[best][m] == YES]
    words = f"{models[best]['label']} earns {('no mark', 'one mark of three', 'two marks of three', 'all three marks')[len(got)]}"
    words += f" ({' and '.join(got)})" if len(got) in (1, 2) else ""
    others = [n for n in rows if models[n]["family"] != models[best]["family"]]
    tied = [n for n in others if sum(marks[n][m] != NO for m in RULES) >= len(got)]
    if not others:
        return words + "."
    if not tied:
        return words + ", more than any other."
    finer = all(separate(_ends(marks[best], "quality"), _ends(marks[n], "quality")) for n in tied)
    return f"{words}, and has {'the best quality' if finer else 'the best of quality and coverage'} of the {len(tied) + 1} that may do so."


def _undecided(leaders: Sequence[str], models: Rows, marks: Rows, more: str | None) -> str:
    """Who cannot be told apart, what each closes, and who is the fastest of them."""
    labels = [models[n]["label"] for n in leaders]
    remedy = f"try --budget {more}" if more else "try a larger budget, or more seeds"
    words = [f"Cannot tell {', '.join(labels[:-1])} and {labels[-1]} apart with this budget, {remedy}."]
    closed = [f"{models[n]['label']} {q['mean']:.0%} ({q['low']:.0%} to {q['high']:.0%})" for n in leaders
              if (q := marks[n]["scores"]["quality"])["mean"] is not None and None not in (q["low"], q["high"])]
    if closed:
        words.append(f"Of the gap to real data they close: {', '.join(closed)}.")
    rates = {n: mean_of(models[n], "rows_per_s") or 0.0 for n in leaders}
    fastest, *_, slowest = sorted(leaders, key=lambda n: -rates[n])
    if rates[slowest] and rates[fastest] >= 2 * rates[slowest]:
        words.append(f"The fastest of them to sample is {models[fastest]['label']} ({count(rates[fastest])} rows/s).")
    return " ".join(words)


def _ends(mark: Mapping[str, Any], score: str) -> tuple[float | None, float | None]:
    return mark["scores"][score]["low"], mark["scores"][score]["high"]


def _finer(best: str, rows: Sequence[str], models: Rows, marks: Rows) -> str | None:
    """The row to take where quality alone counts, if it is another one by more than the intervals."""
    quality = {n: marks[n]["scores"]["quality"]["mean"] or 0.0 for n in rows}
    finest = max(rows, key=quality.__getitem__)
    if not separate(_ends(marks[finest], "quality"), _ends(marks[best], "quality")):
        return None
    ratio = (mean_of(models[best], "rows_per_s") or 0.0) / (mean_of(models[finest], "rows_per_s") or math.inf)
    slower = f", at {count(float(f'{ratio:.2g}'))} times the sampling time" if ratio >= 2 else ""
    return (f"Where quality alone counts, {models[finest]['label']} closes {quality[finest]:.0%} of the gap to real data "
            f"(against {quality[best]:.0%}){slower}.")


def _baseline(best: str, rows: Sequence[str], models: Rows, marks: Rows) -> str | None:
    """A warning where the better of two baselines closes as much of the gap to real data as the best row, or as any family."""
    def quality(n: str) -> float:
        return marks[n]["scores"]["quality"]["mean"] or 0.0

    known = [n for n in BASELINES if n in marks]
    if not known or quality(best) > quality(simple := max(known, key=quality)):
        return None
    (name, are, take), finest = BASELINES[simple], max(rows, key=quality)
    figures = f"{'it closes' if are == 'is' else 'they close'} {quality(simple):.0%} of the gap to real data"
    if quality(finest) > quality(simple):
        label = models[best]["label"]
        return f"{name[0].upper()}{name[1:]} {are} as good as {label}: {figures}, {label} {quality(best):.0%}."
    return (f"No family beats {name} here: {figures}, the best family, {models[finest]['label']}, {quality(finest):.0%}. "
            f"Take {take}, or give the families a larger budget.")
