"""What a comparison keeps for the report of one fitted model: the steps curve, trajectories, the game, neighbours."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ectype.comparison import steps
from ectype.comparison.clock import Clock
from ectype.comparison.parts import Parts
from ectype.data.sources import load
from ectype.models.diffusion import DDPM
from ectype.models.gan import GAN
from ectype.models.shortcut import Shortcut
from ectype.spec import Net, Train

FEWER = (1, 4, 16)
SMALL = {"train": Train(budget="120steps"), "net": Net(width=(32,)), "random_state": 0}


@pytest.fixture(scope="module")
def plane():
    return Parts.of(load(pd.DataFrame(np.random.default_rng(0).normal(size=(500, 2)), columns=["a", "b"])), 0, None)


@pytest.fixture(scope="module")
def shortcut(plane):
    return Shortcut(**SMALL).fit(plane.X_train)


@pytest.fixture(scope="module")
def recorded(plane, shortcut, tmp_path_factory):
    """The curve of a shortcut model of two numbers, and its folder."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(steps, "STEPS", FEWER)
        return steps.record(shortcut, plane, 0, folder, [(plane.schema.encode(shortcut.sample(100, random_state=0)), {})], Clock()), folder


def test_a_point_for_each_number_of_steps(recorded, plane):
    points, _ = recorded
    assert [p["steps"] for p in points] == list(FEWER) == [p["nfe"] for p in points] and json.loads(json.dumps(points)) == points
    for p in points:
        assert p["samples"] == plane.evaluator.n and p["floor"].keys() == set(steps.METRICS)
        assert p["left_out"] or (0 <= p["coverage"] <= 1 and p["frechet_features"] >= 0 and 0 <= p["c2st"] <= 1 and p["rows_per_s"] > 0)
    assert points[0]["floor"]["c2st"] == plane.evaluator.floor()["c2st"] and points[0]["left_out"] is None


def test_a_point_is_judged_as_the_table_is(recorded, plane, shortcut):
    points, _ = recorded
    p = next(p for p in points if p["steps"] == 4)
    judged = plane.evaluator.evaluate(plane.schema.encode(shortcut.sample(plane.evaluator.n, random_state=0, steps=4)))
    assert {m: p[m] for m in steps.METRICS} == pytest.approx({m: judged[m] for m in steps.METRICS})


def test_samples_of_the_table_are_not_judged_again(plane, shortcut, monkeypatch):
    monkeypatch.setattr(steps, "STEPS", FEWER)
    judge, seen = steps._Judge.__call__, []
    monkeypatch.setattr(steps._Judge, "__call__", lambda self, rows: seen.append(rows) or judge(self, rows))
    known = dict(zip(steps.METRICS, (0.5, 0.25, 0.125), strict=True))
    rows = plane.schema.encode(shortcut.sample(plane.evaluator.n, random_state=0, steps=4))
    points, _ = steps.curve(shortcut, plane, 0, Clock(), [(rows, known | {"recall": 1.0})], allowance_s=100.0)
    assert len(seen) == len(points) - 1 and not any(np.array_equal(rows, s) for s in seen)
    assert {m: points[1][m] for m in steps.METRICS} == known and "recall" not in points[1]


def test_what_does_not_fit_into_the_time_is_left_out_and_said(plane, shortcut):
    points, arrays = steps.curve(shortcut, plane, 0, Clock(), allowance_s=0.0)
    assert [p["steps"] for p in points] == list(steps.SPARSE) and points[0]["left_out"] is None and points[0]["c2st"] is not None
    assert all(p["left_out"].startswith("would have taken about") and p["c2st"] is None for p in points[1:])
    assert arrays["steps"].tolist() == [1] and arrays["step_rows"].shape == (1, plane.evaluator.n, 2)


def test_few_steps_and_many_have_samplers_that_suit_them(plane):
    model = DDPM(**SMALL)
    assert [steps.sampling_options(model, k)["sampler"] for k in steps.STEPS] == ["dpm"] * 6 + ["ancestral"] * 2
    assert steps.sampling_options(Shortcut(), 4) == {"steps": 4}


def test_the_allowance_grows_with_the_training():
    assert steps.allowance(1.0) == steps.LEAST_S and steps.allowance(1000.0) == 1000 * steps.SHARE


def test_trajectories_lie_in_the_plane(recorded, plane):
    _, folder = recorded
    with np.load(folder / "trajectories" / "shortcut.npz") as file:
        a = dict(file)
    assert a["columns"].tolist() == ["a", "b"] and a["reverse"].shape == a["guess"].shape == (steps.PATHS, steps.FRAMES, 2)
    assert a["forward"].shape[1:] == a["reverse"].shape[1:] == (steps.FRAMES, 2) and len(a["times"]) == len(a["reverse_times"]) == steps.FRAMES
    ends, starts = a["reverse"][:, -1], a["reverse"][:, 0]
    assert np.abs(ends.std(0) - a["data"].std(0)).max() < 0.6 and not np.allclose(ends, starts)
    assert np.abs(a["forward"][:, -1].std(0) - 1).max() < 0.25                  # all noise at t = 1


def test_images_keep_rows_as_they_come(tmp_path):
    X = np.random.default_rng(0).integers(0, 17, (120, 4, 4)).astype(np.uint8)
    parts = Parts.of(load(X), 0, None)
    model = DDPM(train=Train(budget="3steps"), net=Net(width=(8,)), random_state=0).fit(parts.X_train)
    ways = steps._ways(model, parts, 0)
    assert ways["forward"].shape == ways["reverse"].shape == ways["guess"].shape == (steps.SHOWN, steps.TIMES, 4, 4)
    assert ways["forward"].dtype == np.uint8 and np.array_equal(ways["forward"][:, 0], parts.X_test[: steps.SHOWN])
    steps._keep_nearest(tmp_path, "ddpm", parts, parts.train[:8])
    with np.load(tmp_path / "ddpm.npz") as file:
        assert np.array_equal(file["x"], parts.X_train[:8]) and np.allclose(file["ratio"], 0, atol=1e-6)     # copies are their own neighbours


def test_fresh_rows_are_as_far_from_the_training_rows_as_usual(plane, tmp_path):
    steps._keep_nearest(tmp_path, "thing", plane, plane.test[:60])
    kept = json.loads((tmp_path / "thing.json").read_text())
    assert kept["columns"] == ["a", "b"] and len(kept["rows"]) == 60 and 0.7 < np.median(kept["ratio"]) < 1.4
    assert all(isinstance(v, str) for v in kept["rows"][0])


@pytest.mark.parametrize("columns", [["a"], ["a", "b"]])
def test_the_game_is_filmed_in_one_and_two_dimensions(plane, tmp_path, columns):
    parts = plane if len(columns) == 2 else Parts.of(load(plane.X_train[columns]), 0, None)
    model = GAN(train=Train(budget="60steps"), net=Net(width=(16,)), random_state=0).fit(parts.X_train)
    assert steps.record(model, parts, 0, tmp_path, [(parts.test, {})], Clock()) == []
    with np.load(tmp_path / "trajectories" / "gan.npz") as file:
        a = dict(file)
    assert len(a["film_steps"]) == len(a["film_rows"]) == len(a["film_critic"]) == steps.FRAMES and a["film_steps"][-1] == 60
    assert a["film_critic"].shape[1:] == tuple(len(a[f"axis_{k}"]) for k in range(len(columns))) and 0 <= a["film_critic"].min() <= a["film_critic"].max() <= 1
    if len(columns) == 1:
        width = a["axis_0"][1] - a["axis_0"][0]
        assert (a["film_data"] * width).sum() == pytest.approx(1, abs=0.02) == (a["film_rows"][-1] * width).sum()


def test_a_table_of_many_columns_has_no_film_but_its_dependence(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "kind": rng.choice(["x", "y", "z"], 300), "c": rng.normal(size=300)})
    parts = Parts.of(load(frame), 0, None)
    model = GAN(train=Train(budget="5steps"), random_state=0).fit(parts.X_train)
    assert steps.record(model, parts, 0, tmp_path, [(parts.test, {})], Clock()) == [] and not (tmp_path / "trajectories").exists()
    with np.load(tmp_path / "associations" / "gan.npz") as file:
        assert file["real"].shape == (3, 3) and np.allclose(file["real"], file["generated"])        # the test rows stood in for samples
