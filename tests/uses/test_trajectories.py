"""Trajectories: the noise that is claimed, and the rows that the family's own sampler ends at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ectype.errors import CapabilityError, InvalidParameterError
from ectype.models.autoencoder import Autoencoder
from ectype.models.diffusion import DDPM
from ectype.models.flow_matching import FlowMatching
from ectype.models.shortcut import Shortcut
from ectype.models.truncated import TruncatedDiffusion
from ectype.rng import Rows
from ectype.spec import Net, Train
from ectype.uses import trajectories

SMALL = {"train": Train(budget="30steps", validation=0), "net": Net(width=(16,)), "random_state": 0}
OPTIONS = {"ddpm": {"sampler": "ddim"}, "flow_matching": {}, "shortcut": {}}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(5, 2, 300), "kind": rng.choice(["x", "y"], 300), "b": rng.normal(-3, 0.1, 300)})


@pytest.fixture(scope="module")
def models(table):
    numbers = table[["a", "b"]]
    return {name: cls(**SMALL).fit(numbers) for name, cls in (("ddpm", DDPM), ("flow_matching", FlowMatching), ("shortcut", Shortcut))}


@pytest.mark.parametrize("name", OPTIONS)
def test_noise_grows_as_the_family_says(models, table, name):
    model, X = models[name], table[["a", "b"]][:20]
    times = np.array([0.2, 0.5, 1.0])
    there = trajectories.forward(model, X, times)
    f = model.objective_.scaled(model._encode(X)).numpy()
    alpha, sigma = (np.array(v).reshape(3) for v in zip(*(map(float, model.objective_.clock(t)) for t in map(_time, times)), strict=True))
    eps = (there.x_t - alpha[None, :, None] * f[:, None]) / sigma[None, :, None]
    assert there.x_t.shape == (20, 3, 2) and there.guess is None
    assert np.allclose(eps, eps[:, :1], atol=1e-4) and 0.5 < eps.std() < 1.5       # one draw for all times


def test_the_way_to_noise_ends_where_the_training_does(table):
    model = TruncatedDiffusion(train=Train(budget="30steps", validation=0), net=Net(width=(16,)), random_state=0).fit(table[["a", "b"]])
    last = model.objective_.last
    assert 0 < last < 1 and trajectories.forward(model, table[["a", "b"]][:3], [0.0, last]).x_t.shape == (3, 2, 2)
    with pytest.raises(InvalidParameterError, match=rf"\[0, {last:g}\]"):
        trajectories.forward(model, table[["a", "b"]][:3], [0.0, 1.0])


def _time(t: float):
    import torch

    return torch.tensor([t], dtype=torch.float32)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_way_back_ends_where_the_sampler_does(models, name, steps):
    model = models[name]
    back = trajectories.reverse(model, 16, steps, random_state=7)
    assert back.x_t.shape == back.guess.shape == (16, steps + 1, 2) and back.times[0] == 1 and back.times[-1] == 0
    ends = trajectories.as_rows(model, back.x_t[:, -1], steps=len(back.times) - 1)
    pd.testing.assert_frame_equal(ends, model.sample(16, random_state=7, steps=steps, **OPTIONS[name]), rtol=1e-4)
    assert np.array_equal(back.guess[:, -1], back.x_t[:, -1])


@pytest.mark.parametrize("cls", [DDPM, TruncatedDiffusion])
def test_pictures_at_the_end_pass_what_samples_pass(cls):
    """Levels are put right, and few-step pictures are spread, as in samples under the same condition."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    X = np.clip(np.where(y, 170, 90)[:, None, None] + 25 * rng.normal(size=(200, 4, 4)), 0, 255).astype(np.uint8)
    model = cls(conditional=True, train=Train(budget="20steps", validation=0), net=Net(width=(8, 8)), random_state=0).fit(X, y)
    options = {"sampler": "ddim"} if cls is DDPM else {}
    made = model.objective_.generate(Rows(7, 0, 16), model._encode_condition(1, 16), steps=3, **options).detach().numpy()
    ends = trajectories.as_rows(model, made, steps=3, condition=1)
    assert (ends == model.sample(16, condition=1, random_state=7, steps=3, **options)).mean() > 0.99        # a level more or less
    assert (ends != trajectories.as_rows(model, made)).mean() > 0.3


def test_a_few_of_the_times(models):
    back = trajectories.reverse(models["ddpm"], 4, 8)
    few = back.at(np.array([0, 4, 8]))
    assert np.array_equal(few.times, back.times[::4]) and np.array_equal(few.x_t, back.x_t[:, ::4]) and few.guess.shape == (4, 3, 2)


def test_images_come_back_as_they_were(models):
    X = np.random.default_rng(0).integers(0, 17, (40, 4, 4)).astype(np.uint8)
    model = Shortcut(**SMALL).fit(X)
    there = trajectories.forward(model, X[:5], [0.0])
    assert np.array_equal(trajectories.as_rows(model, there.x_t[:, 0]), X[:5])
    assert trajectories.in_plane(model) is None


def test_the_plane_of_a_mixed_table_is_that_of_its_first_two_numbers(table):
    model = DDPM(**SMALL).fit(table)
    names, where = trajectories.in_plane(model)
    there = trajectories.forward(model, table[:9], [0.0])
    at = trajectories.positions(model, table[:9])
    assert names == ["a", "b"] and at.shape == (9, 2) and np.allclose(there.x_t[:, 0][:, where], at, atol=0.05)
    assert trajectories.in_plane(DDPM(**SMALL).fit(table[["a", "kind"]])) is None


def test_mistakes(models, table):
    auto = Autoencoder(train=Train(budget="5steps")).fit(table)
    for call in (lambda: trajectories.reverse(auto, 2, 2), lambda: trajectories.forward(auto, table, [0.5])):
        with pytest.raises(CapabilityError, match="ddpm"):
            call()
    for times in ([], [1.5], [-0.1], [[0.5]]):
        with pytest.raises(InvalidParameterError, match=r"\[0, 1\]"):
            trajectories.forward(models["ddpm"], table[["a", "b"]], times)
    with pytest.raises(InvalidParameterError, match="number of steps"):
        trajectories.reverse(models["ddpm"], 2, 0)
