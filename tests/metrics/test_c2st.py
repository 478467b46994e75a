"""The classifier test: chance on one distribution, certainty on two that do not overlap."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ectype.data.schema import Schema
from ectype.metrics.c2st import _cnn_logits, _tree_logits, auroc, c2st
from ectype.metrics.convnet import one_cycle
from ectype.metrics.threads import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def mixed(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) + shift
    return pd.DataFrame({"x": x, "y": x + rng.normal(size=n), "c": rng.choice(list("abc"), n),
                         "m": np.where(rng.random(n) < 0.4, np.nan, x)})


def pictures(n, seed, side=(6, 5)):
    rng = np.random.default_rng(seed)
    light = np.linspace(0, 1, side[0])[:, None] * rng.random((n, 1, 1)) + 0.2 * rng.random((n, *side))
    return (light * 200).astype(np.uint8)


def test_auroc_with_ties():
    scores, positive = np.array([0, 1, 1, 2, 2, 2.0]), np.array([False, True, False, True, False, True])
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_tables_of_one_distribution_are_at_chance_on_average():
    schema = Schema.fit(mixed(500, 0))
    values = [c2st(schema.encode(mixed(200, 2 * s + 1)), schema.encode(mixed(200, 2 * s + 2)), schema, s) for s in range(4)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)


def test_a_bin_for_each_level_of_a_pixel_grows_the_same_trees():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 17, (300, 12)).astype(np.float32), np.repeat([0, 1], 150)
    x[:150, 3] += rng.integers(0, 2, 150)
    few, many = (_tree_logits(x[::2], y[::2], x[1::2], None, bins, 0) for bins in (18, 255))
    assert np.array_equal(few, many) and auroc(few, y[1::2] == 1) != 0.5


def test_disjoint_tables_are_told_apart():
    schema = Schema.fit(mixed(500, 0))
    assert c2st(schema.encode(mixed(150, 1)), schema.encode(mixed(150, 2, shift=8.0)), schema) > 0.99


def test_dependence_alone_is_enough():
    schema = Schema.fit(mixed(500, 0))
    fake = mixed(400, 2)
    fake["y"] = np.random.default_rng(0).permutation(fake["y"])
    assert c2st(schema.encode(mixed(400, 1)), schema.encode(fake), schema) > 0.6


def test_blanks_alone_are_enough():
    schema = Schema.fit(mixed(500, 0))
    fake = mixed(300, 2)
    fake["m"] = fake["x"]
    assert c2st(schema.encode(mixed(300, 1)), schema.encode(fake), schema) > 0.6


def test_images(monkeypatch):
    monkeypatch.setattr("ectype.metrics.c2st.CNN_STEPS", 40)
    schema = Schema.fit(pictures(100, 0))
    real, same, upside_down = (schema.encode(p) for p in (pictures(80, 1), pictures(80, 2), pictures(80, 3)[:, ::-1]))
    assert c2st(real, same, schema) == pytest.approx(0.5, abs=0.13)
    assert c2st(real, upside_down, schema) > 0.95


def test_the_network_sees_what_is_at_no_single_pixel():
    rng = np.random.default_rng(0)
    images, lying = np.zeros((300, 1, 12, 12), np.uint8), np.arange(300) % 2
    for image, turn in zip(images[:, 0], lying, strict=True):
        i, j = rng.integers(0, 10, 2)
        (image.T if turn else image)[i : i + 3, j] = 255                # a short stroke somewhere, upright or lying
    logits = _cnn_logits(images[:200], lying[:200], images[200:], 0)
    assert auroc(logits, lying[200:] == 1) > 0.9


@pytest.mark.parametrize("make", [mixed, pictures])
def test_the_seed_decides_and_nothing_else(make, monkeypatch):
    monkeypatch.setattr("ectype.metrics.c2st.CNN_STEPS", 10)
    schema = Schema.fit(make(60, 0))
    real, fake = schema.encode(make(40, 1)), schema.encode(make(40, 2))
    first = c2st(real, fake, schema, seed=1)
    torch.manual_seed(5)
    np.random.seed(5)
    assert c2st(real, fake, schema, seed=1) == first
    assert c2st(real, fake, schema, seed=2) != first


def test_the_rate_goes_up_and_down_as_torch_says():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=31)
    for step in range(30):
        group = optimizer.param_groups[0]
        assert one_cycle(step, 31) == {"lr": pytest.approx(group["lr"], rel=1e-12), "betas": pytest.approx(group["betas"], rel=1e-12)}
        optimizer.step()
        schedule.step()
