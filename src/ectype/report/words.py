"""The verdict and the cards in words, for somebody who has never heard of any of the figures.

A C2ST of 0.78 becomes: shown a generated row beside a real one, a detector points to the generated one 78 times in 100, where 50 would be
a coin toss (the AUROC is that probability). Everything here is read off ``results.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .folder import MARKS
from .numbers import short

THINGS = {"images": ("picture", "pictures"), "signals": ("signal", "signals"), "table": ("row", "rows")}
STRENGTHS = {"quality": "makes good samples", "speed": "samples fast", "coverage": "leaves little of the data out"}
WEAKNESSES = {"quality": "does not make good samples yet", "speed": "samples slowly", "coverage": "leaves parts of the data out"}
SURVEYS = {     # family: high quality, fast sampling, mode coverage, as surveys of generative models give them
    "gan": ("yes", "yes", "no"), "ddpm": ("yes", "no", "yes"), "vae": ("no", "yes", "yes"), "flow": ("no", "yes", "yes"),
    "truncated": ("yes", "yes", "yes")}
MOST_NAMES = 3          # in the headline
CELLS = ("high_quality", "fast_sampling", "mode_coverage")


def title(results: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    name, pick, models = results["data"]["name"], results["pick"], results["models"]
    if pick["name"] is not None:
        full = re.sub(r":[^,]*", "", models[pick["name"]]["title"])         # what stands after a colon explains the name
        known = ", of those measured so far" if results["settings"].get("interrupted") else ""
        return f"For {name}, take the {full[:1].lower() if full[1:2].islower() else full[:1]}{full[1:]}{known}"
    candidates = [models[n]["label"] for n in pick["candidates"] if n in models]
    if not candidates:
        return f"No family could be trained on {name}"
    return f"For {name}, no clear winner yet" + (f": {listed(candidates, 'or')}" if len(candidates) <= MOST_NAMES else "")


def verdict(results: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences: of the pick, what its samples are like; without one, what would decide."""
    pick, models = results["pick"], results["models"]
    if pick["name"] is not None:
        rest = [says(results, pick["name"]) for says in (variety, pace, originality)]
        return [likeness(results, pick["name"]), " ".join(words for words in rest if words)]
    candidates = [n for n in pick["candidates"] if n in models]
    if not candidates:
        return []
    words = f"{listed([models[n]['label'] for n in candidates], 'and')} are closer to each other than these measurements can tell: " \
            f"{'either' if len(candidates) == 2 else 'any of them'} is a sensible choice today."
    if pick.get("try_budget"):
        words += f" To separate them, train longer (--budget {pick['try_budget']}) or with more seeds (--seeds)."
    return [words, *(likeness(results, n) for n in candidates[:2])]


def likeness(results: Mapping[str, Any], name: str) -> str:
    """How easily samples are told from real rows."""
    one, many = THINGS[results["data"]["kind"]]
    entry, auroc = results["models"][name], _mean(results["models"][name], "c2st")
    if auroc is None:
        return f"How real the {many} of {entry['label']} look was not measured."
    share = round(100 * max(auroc, 0.5))
    how = next(words for most, words in ((55, "can hardly be told from a real one at all"), (65, "is hard to tell from a real one"),
                                         (80, "can be told from a real one, but not easily"), (92, "is easily told from a real one"),
                                         (101, "is told from a real one at once")) if share < most)
    return (f"{entry['label']}: a generated {one} {how}. Shown one of each, a detector trained for the task points to the generated one "
            f"{share} times in 100; 50 is a coin toss.")


def variety(results: Mapping[str, Any], name: str) -> str | None:
    """How much of the data samples reach."""
    score = results["marks"].get(name, {}).get("scores", {}).get("coverage", {}).get("mean")
    if score is None:
        return None
    many = THINGS[results["data"]["kind"]][1]
    if score >= 0.995:
        return f"Its {many} are as varied as fresh real ones."
    return f"Its {many} reach {score:.0%} of the variety that fresh real ones reach."


def pace(results: Mapping[str, Any], name: str) -> str | None:
    """How fast samples are drawn."""
    rate = _mean(results["models"][name], "rows_per_s")
    many = THINGS[results["data"]["kind"]][1]
    if not rate:
        return None
    return f"It draws {short(float(f'{rate:.2g}'))} {many} a second here."


def originality(results: Mapping[str, Any], name: str) -> str | None:
    """Whether samples are copies of training rows."""
    copied = _mean(results["models"][name], "memorisation")
    if copied is None:
        return None
    limit = results["thresholds"]["copying"]
    one = THINGS[results["data"]["kind"]][0]
    if copied >= limit:
        return (f"Beware: {copied:.0%} of them are nearer to a {one} that it was trained on than to a fresh real one (50% is fair), "
                "so it partly copies.")
    return "They are not copies of the training data."


def good_at(results: Mapping[str, Any], name: str) -> str:
    """What a family is good at here, in one sentence that follows from its marks."""
    marks, label = results["marks"][name], results["models"][name]["label"]
    good = listed([STRENGTHS[m] for m in MARKS if marks.get(m) == "yes"], "and")
    bad = listed([WEAKNESSES[m] for m in MARKS if marks.get(m) == "no"], "and")
    doubts = listed([m for m in MARKS if marks.get(m) == "uncertain"], "and")
    words = f"Here, {label} {good or 'has no clear strength'}"
    words += f"{', but' if good else ': it'} {bad}" if bad else ""
    return words + "." + (f" Too close to call: {doubts}." if doubts else "")


def known_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The known table as it was measured here: rows of ``kind``, ``name`` and three cells of a mark and of what surveys say."""
    rows = []
    for row in results.get("known_table") or ():
        name = row.get("name")
        said = SURVEYS.get(name, (None,) * 3)
        cells = [{"mark": row.get(cell), "surveys": word} for cell, word in zip(CELLS, said, strict=True)]
        rows.append({"kind": row["kind"], "name": name, "cells": cells})
    return rows


def listed(names: Sequence[str], last: str) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def _mean(entry: Mapping[str, Any], metric: str) -> float | None:
    return entry["metrics"].get(metric, {}).get("mean")
