"""The doctor: degradations do what they say, and the claims of the metrics hold where a test has the time to try them."""

import itertools
import json

import numpy as np
import pytest

from ectype.calibration import Finding, examine, holds
from ectype.calibration.degradations import DEGRADATIONS
from ectype.calibration.doctor import MONOTONE, STILL, largest_change, rank_correlation, until_saturated
from ectype.calibration.table import as_dict, as_markdown, cell, table, verdict
from ectype.calibration.targets import TARGETS, Patient
from ectype.data.toy import TRUTHS, Shapes
from ectype.metrics import METRICS, Estimate


@pytest.fixture(scope="module")
def found():
    """Every metric on every degradation of a table, and on lost modes; of pictures, `ectype doctor` has the time."""
    return [*examine(["mixed"], rows=300, repeats=1), *examine(["ring8"], ["lost_modes"], rows=200, repeats=1)]


@pytest.fixture(scope="module")
def patients():
    return {name: Patient.of(target, 0, 60) for name, target in TARGETS.items()}


def test_every_claim_holds(found):
    assert [(f.metric, f.degradation, f.target, f.values) for f in found if f.holds is False] == []
    assert holds(found) and verdict(found).endswith("claims hold.")


def test_every_metric_claims_something_and_nothing_unknown():
    for m in METRICS.values():
        assert m.reacts and not set(m.reacts) & set(m.ignores)
        assert {name.split("@")[0] for name in (*m.reacts, *m.ignores)} <= set(DEGRADATIONS)
    reacting = {name.split("@")[0] for m in METRICS.values() for name in m.reacts}
    assert reacting == set(DEGRADATIONS)            # nothing is done to the rows that no metric would see


def test_a_claim_can_fail(monkeypatch):
    liar = METRICS["duplicates"]
    monkeypatch.setitem(METRICS, "duplicates", type(liar)(**{**vars(liar), "reacts": ("skew",), "ignores": ("copies",)}))
    found = [f for f in examine(["ring8"], ["skew", "copies"], rows=60, repeats=1) if f.metric == "duplicates"]
    assert [f.holds for f in found] == [False, False] or [(f.claim, f.holds) for f in found] == [("ignores", False), ("reacts", False)]
    assert not holds(found) and "duplicates: reacts skew, on ring8" in verdict(found)


def test_sizes_grow_and_fit_their_targets():
    for d in DEGRADATIONS.values():
        assert set(d.sizes) <= set(TARGETS)
        assert all(0 < a < b for sizes in d.sizes.values() for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_size_zero_is_healthy_and_the_same_call_gives_the_same_rows(patients, name):
    d = DEGRADATIONS[name]
    patient = patients[next(iter(d.sizes))]
    assert d(patient, 0) is patient.fresh
    largest = d.sizes[patient.target.name][-1]
    np.testing.assert_array_equal(d(patient, largest), d(patient, largest))
    assert d(patient, largest).shape == patient.fresh.shape and d(patient, largest).dtype == patient.fresh.dtype


@pytest.mark.parametrize("name", ["copies", "skew", "broken_link"])
def test_what_is_replaced_at_one_size_is_replaced_at_a_larger_one(patients, name):
    patient = patients["mixed"]
    small, large = (DEGRADATIONS[name](patient, size) for size in (0.3, 0.6))
    changed = [(rows != patient.fresh).any(1) for rows in (small, large)]
    assert 0 < changed[0].sum() < changed[1].sum() and (name == "broken_link" or not (changed[0] & ~changed[1]).any())


def test_the_degradations_do_what_they_say(patients):
    ring, mixed, shapes = patients["ring8"], patients["mixed"], patients["shapes"]
    lost = DEGRADATIONS["lost_modes"](ring, 0.5)
    assert len(np.unique(TRUTHS["ring8"].nearest(ring.schema.decode(lost))[0])) == 4
    noisy = DEGRADATIONS["noise"](mixed, 1.0)
    is_number = np.array([b.type == "number" for b in mixed.schema.blocks])
    assert (noisy[:, ~is_number] == mixed.fresh[:, ~is_number]).all() and (noisy[:, is_number] != mixed.fresh[:, is_number]).all()
    train = {row.tobytes() for row in mixed.train}
    assert sum(row.tobytes() in train for row in DEGRADATIONS["copies"](mixed, 0.5)) == 30
    groups = mixed.schema.decode(DEGRADATIONS["skew"](mixed, 0.9))["group"]
    assert (groups == "south").mean() > 0.9
    broken = DEGRADATIONS["broken_link"](mixed, 1.0)
    assert (broken[:, :-1] == mixed.fresh[:, :-1]).all() and sorted(broken[:, -1]) == sorted(mixed.fresh[:, -1])
    blurred = DEGRADATIONS["blur"](shapes, 1.5)
    assert np.abs(np.diff(blurred.astype(int), axis=3)).mean() < 0.5 * np.abs(np.diff(shapes.fresh.astype(int), axis=3)).mean()


def test_pictures_have_the_density_they_say():
    truth = Shapes()
    images, factors = truth.sample(500, np.random.default_rng(0))
    assert images.shape == (500, 16, 16) and images.dtype == np.uint8
    volume = (2 * truth.shift) ** 2 * (truth.large - truth.small) * (truth.bright - truth.dim)
    assert truth.log_prob(factors) == pytest.approx(np.full(500, -np.log(5 * volume)))
    assert (truth.log_prob(factors.assign(radius=9.0)) == -np.inf).all()
    disc = factors.iloc[:1].assign(shape=0, x=7.5, y=7.5, radius=4.0, brightness=0.4)
    assert (truth.render(disc) / 255 - truth.paper).sum() / 0.4 == pytest.approx(np.pi * 16, rel=0.02)             # the disc's area
    np.testing.assert_array_equal(truth.render(disc)[0], truth.render(disc)[0].T)


def test_what_is_as_bad_as_can_be_gets_no_worse():
    assert until_saturated(METRICS["c2st"], [0.5, 0.8, 0.995, 1.0, 0.999]) == [0.5, 0.8, 0.995]
    assert until_saturated(METRICS["recall"], [1.0, 0.5, 0.0, 0.0]) == [1.0, 0.5, 0.0]
    assert until_saturated(METRICS["frechet_pca"], [0.0, 2.0, 1.0]) == [0.0, 2.0, 1.0]


def test_rank_correlation_and_change():
    assert rank_correlation([0, 1, 2, 3], [5, 6, 8, 9]) == pytest.approx(1.0)
    assert rank_correlation([0, 1, 2], [1, 1, 1]) == 0.0
    assert rank_correlation([0, 1, 2, 3], [9, 8, 8, 1]) == pytest.approx(-0.9487, abs=1e-4)
    still = [Estimate(0.5, 0.4, 0.6), Estimate(0.6, 0.5, 0.7)]
    assert largest_change(still) == pytest.approx(0.1 / np.hypot(0.1, 0.1)) and largest_change(still) < STILL
    assert largest_change([Estimate(0.0, 0.0, 0.0), Estimate(0.0, 0.0, 0.0)]) == 0.0


def finding(metric: str, degradation: str, target: str, correlation: float, change: float, claim: str) -> Finding:
    kept = None if not claim else correlation >= MONOTONE if claim == "reacts" else change <= STILL
    return Finding(metric, degradation, target, (0.0, 1.0), (0.5, 0.6), correlation, change, claim, kept)


def test_the_table_shows_the_weakest_target():
    some = [finding("c2st", "noise", "moons", 1.0, 9.0, "reacts"), finding("c2st", "noise", "mixed", 0.8, 9.0, "reacts"),
            finding("c2st", "copies", "moons", 0.3, 0.4, "ignores"), finding("recall", "noise", "moons", -0.5, 1.0, "")]
    head, rows = table(some)
    assert head == ["metric", "noise", "copies"]
    assert rows == [["Classifier test", "reacts +0.80 FAILS on mixed", "ignores 0.4"], ["Recall", "(-0.50)", ""]]
    assert cell(some[:1]) == "reacts +1.00" and verdict(some) == "1 of 3 claims fail. c2st: reacts noise, on mixed."
    assert cell([some[0], finding("c2st", "noise", "shapes", 0.1, 9.0, "")]) == "reacts +1.00, (+0.10)"
    assert "| Recall | (-0.50) |  |" in as_markdown(some)
    assert json.loads(json.dumps(as_dict(some)))["holds"] is False
