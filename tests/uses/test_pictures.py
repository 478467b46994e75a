"""Codes in numbers, against closed forms, and the pictures of them: what is drawn, and what is refused."""

from __future__ import annotations

import io

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import ectype
from ectype import Corruption, Net, Train
from ectype.errors import CapabilityError, DataError, InvalidParameterError, UnknownNameError
from ectype.uses import pictures
from ectype.uses.codes import Passage, colouring, evenly, first_layer, plane
from ectype.uses.pictures import code_map, filters, reconstructions

SHORT = Train(budget="6steps")
SMALL = Net(width=(16,))
DIGITS = load_digits()


def columns(n: int = 200, d: int = 5) -> np.ndarray:
    """Correlated normal columns, a line and a little beside it."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.2 * rng.normal(size=(n, d))


def people(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.normal(40, 9, n), "income": rng.lognormal(3, 1, n).round(2),
                          "joined": pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), "D"),
                          "city": rng.choice(["Rome", "Oslo", "Bern"], n), "member": rng.random(n) < 0.4})
    frame.loc[::9, "income"] = np.nan
    return frame


def waves(n: int = 60, length: int = 32) -> np.ndarray:
    rng = np.random.default_rng(2)
    t = np.linspace(0, 1, length)
    return np.stack([np.sin(2 * np.pi * (k * t + p)) for k, p in zip(rng.integers(1, 4, n), rng.random(n), strict=True)])[..., None]


@pytest.fixture(scope="module")
def table():
    return ectype.Autoencoder(latent_dim=3, net=SMALL, train=SHORT, random_state=0).fit(people())


@pytest.fixture(scope="module")
def linear():
    return ectype.LinearAutoencoder(latent_dim=2, train=Train(budget="600steps"), random_state=0).fit(columns())


@pytest.fixture(scope="module")
def stacked():
    model = ectype.StackedAutoencoder(latent_dim=4, net=Net(width=(20,)), train=SHORT, random_state=0)
    return model.fit(DIGITS.images[:200])


@pytest.fixture(scope="module")
def conv():
    return ectype.ConvAutoencoder(latent_dim=5, net=Net(width=(8, 12)), train=SHORT, random_state=0).fit(DIGITS.images[:100])


@pytest.fixture(scope="module")
def signals():
    return ectype.StackedAutoencoder(latent_dim=4, net=SMALL, train=SHORT, random_state=0).fit(waves(), kinds="signal")


@pytest.fixture(scope="module")
def gan():
    return ectype.GAN(train=SHORT, net=SMALL, random_state=0).fit(columns())


# -------------------------------------------------------------------------------------------------------------------- passage


def test_what_comes_back_is_the_reconstruction_and_its_error_the_score(table, stacked, conv):
    for model, X in ((table, people()), (stacked, DIGITS.images[200:240]), (conv, DIGITS.images[200:240])):
        passage = Passage(model, X)
        np.testing.assert_allclose(passage.row_errors(), -model.score_samples(X), rtol=1e-4)
        made = passage.rows(passage.rebuilt)
        pd.testing.assert_frame_equal(made, model.reconstruct(X)) if isinstance(made, pd.DataFrame) else \
            np.testing.assert_array_equal(made, model.reconstruct(X))


def test_the_error_of_pca_is_half_the_variance_of_the_components_left_out(table):
    passage = Passage(table, people())
    flat = passage.original.astype(np.float64)
    left_out = np.sort(np.linalg.eigvalsh(np.cov(flat.T, bias=True)))[: flat.shape[1] - passage.width]
    assert passage.width == 3 and passage.row_errors("pca").mean() == pytest.approx(left_out.sum() / 2, rel=1e-4)


def test_pca_is_fitted_on_the_training_rows(stacked):
    test, train = DIGITS.images[200:240], DIGITS.images[:200]
    flat = {k: Passage(stacked, x).original.reshape(len(x), -1).astype(np.float64) for k, x in (("test", test), ("train", train))}
    mean = flat["train"].mean(0)
    axes = np.linalg.svd(flat["train"] - mean, full_matrices=False)[2][:4]
    expected = 0.5 * np.square((flat["test"] - mean) @ (np.eye(64) - axes.T @ axes)).sum(1)
    np.testing.assert_allclose(Passage(stacked, test, train).row_errors("pca"), expected, rtol=1e-3)
    assert Passage(stacked, test).row_errors("pca").mean() < expected.mean()


def test_the_linear_autoencoder_loses_what_pca_loses(linear):
    passage = Passage(linear, columns())
    assert passage.row_errors().mean() == pytest.approx(passage.row_errors("pca").mean(), rel=1e-3)


def test_a_code_as_wide_as_the_row_is_not_compared_with_pca():
    model = ectype.DenoisingAutoencoder(corruption=Corruption(kind="gaussian", level=0.3), net=SMALL, train=SHORT, random_state=0)
    passage = Passage(model.fit(columns()), columns())
    assert passage.width == 10 > passage.n_features == 5 and passage.pca is None and set(passage.kinds) == {"rebuilt"}


def test_recorded_positions_are_told_from_the_code_alone(conv, stacked):
    X = DIGITS.images[200:230]
    passage = Passage(conv, X)
    assert list(passage.kinds) == ["rebuilt", "pca", "from_code"]
    np.testing.assert_array_equal(passage.rows(passage.from_code), conv.inverse_transform(conv.transform(X)))
    assert not np.allclose(passage.row_errors("from_code"), passage.row_errors())
    assert Passage(stacked, X).from_code is None
    resized = ectype.ConvAutoencoder(latent_dim=5, upsampling="resize", net=Net(width=(8,)), train=SHORT, random_state=0)
    assert Passage(resized.fit(X), X).from_code is None


def test_errors_of_columns_add_up_to_those_of_rows(table):
    passage = Passage(table, people())
    for kind in passage.kinds:
        assert passage.column_errors(kind).shape == (5,)
        assert passage.column_errors(kind).sum() == pytest.approx(passage.row_errors(kind).mean(), rel=1e-6)


def test_columns_as_numbers(table):
    frame = people()
    values = Passage(table, frame).column_values(Passage(table, frame).original[:50])
    assert values.shape == (50, 5) and (values[:, 3:] == 1).all()
    np.testing.assert_allclose(values[:, 1], frame["income"][:50], rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(values[:, 2], frame["joined"][:50].astype("datetime64[s]").astype("int64"), atol=86_400)


def test_families_that_rebuild_rows_are_measured_at_the_features_of_these():
    model = ectype.VAE(latent_dim=2, net=SMALL, train=SHORT, random_state=0).fit(people())
    passage = Passage(model, people())
    pd.testing.assert_frame_equal(passage.rows(passage.rebuilt), model.reconstruct(people()))


def test_conditions_reach_the_code():
    y = DIGITS.target[:60]
    model = ectype.Autoencoder(latent_dim=3, conditional=True, net=Net(kind="mlp", width=(16,)), train=SHORT, random_state=0)
    model.fit(DIGITS.images[:60], y)
    passage = Passage(model, DIGITS.images[:60], condition=y)
    np.testing.assert_allclose(passage.row_errors(), -model.score_samples(DIGITS.images[:60], condition=y), rtol=1e-4)
    assert len(code_map(model, DIGITS.images[:60], y).axes) == 1


# -------------------------------------------------------------------------------------------------------------------- plane


def test_two_numbers_are_drawn_as_they_are_and_one_along_an_axis():
    codes = np.random.default_rng(0).normal(size=(30, 2))
    np.testing.assert_array_equal(plane(codes)[0], codes)
    points, (across, up) = plane(codes[:, :1])
    np.testing.assert_array_equal(points[:, 0], codes[:, 0])
    assert len(np.unique(points[:, 1])) == 30 and (across, up) == ("code", "")


def test_a_code_that_is_the_same_of_every_row_is_one_point():
    for method in ("pca", "tsne"):
        points, names = plane(np.ones((10, 4)), method)
        assert not points.any() and points.shape == (10, 2) and "the same" in names[0]


def test_rows_that_are_all_alike_can_be_drawn(stacked, table):
    X = np.repeat(DIGITS.images[:1], 3, axis=0)
    assert Passage(stacked, X).row_errors("pca") == pytest.approx(0, abs=1e-6)
    for model, rows in ((stacked, X), (table, people().iloc[[5, 5, 5]])):
        assert png(code_map(model, rows)) and png(reconstructions(model, rows))


def test_more_numbers_are_drawn_by_their_principal_components():
    codes = np.random.default_rng(0).normal(size=(400, 4)) * [1, 5, 3, 0.5]
    points, names = plane(codes)
    centred = codes - codes.mean(0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(np.square(points).sum(0), variances[:2])
    assert f"({variances[0] / variances.sum():.0%})" in names[0]


def test_t_sne_keeps_neighbours_and_repeats_itself():
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(0, 0.1, (25, 6)), rng.normal(5, 0.1, (25, 6))])
    points, _ = plane(codes, "tsne")
    np.testing.assert_array_equal(points, plane(codes, "tsne")[0])
    within = max(np.linalg.norm(points[s] - points[s].mean(0), axis=1).max() for s in (slice(25), slice(25, None)))
    assert np.linalg.norm(points[:25].mean(0) - points[25:].mean(0)) > within
    assert plane(codes[:3], "tsne")[0].shape == (3, 2)
    with pytest.raises(UnknownNameError, match="did you mean tsne"):
        plane(codes, "tnse")


# -------------------------------------------------------------------------------------------------------------------- first layer


def test_the_first_layer_of_a_perceptron(linear, stacked, signals):
    np.testing.assert_array_equal(first_layer(linear), linear.objective_.encoder.weight.detach())
    w = stacked.objective_.layers[0].weight.detach().numpy()
    np.testing.assert_array_equal(first_layer(stacked), w.reshape(-1, 8, 8))
    strongest = np.sort(np.argsort(-np.square(w).sum(1))[:3])
    np.testing.assert_array_equal(first_layer(stacked, 3), w[strongest].reshape(-1, 8, 8))
    assert first_layer(signals).shape == (16, 32, 1)


def test_the_first_layer_of_a_convolution(conv):
    np.testing.assert_array_equal(first_layer(conv), next(conv.objective_.encoder.parameters()).detach()[:, 0])
    colours = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
    model = ectype.ConvAutoencoder(latent_dim=2, net=Net(width=(8,)), train=SHORT, random_state=0).fit(colours)
    assert first_layer(model).shape == (8, 3, 3, 3)


def test_a_constant_column_has_no_weights():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc")).assign(b="one")
    w = first_layer(ectype.LinearAutoencoder(train=Train(budget="5steps")).fit(X))
    assert w.shape[1] == 3 and (w[:, 1] == 0).all() and (w[:, [0, 2]] != 0).any()


def test_weights_of_a_column_with_several_features(table):
    w = next(p for p in table.objective_.encoder.parameters() if p.ndim == 2).detach().numpy()
    column = table.objective_.features.column.numpy()
    expected = np.stack([np.abs(w[:, column == i]).max(1) for i in range(5)], axis=1)
    np.testing.assert_array_equal(np.abs(first_layer(table)), expected)
    assert (first_layer(table) < 0).any()


def test_weights_of_the_condition_are_no_part_of_it():
    model = ectype.Autoencoder(latent_dim=2, conditional=True, net=SMALL, train=SHORT, random_state=0)
    model.fit(columns(), np.arange(200) % 3)
    assert first_layer(model).shape == (16, 5)
    images = ectype.Autoencoder(latent_dim=2, conditional=True, net=Net(width=(8,)), train=SHORT, random_state=0)
    assert first_layer(images.fit(DIGITS.images[:40], DIGITS.target[:40])).shape == (8, 3, 3)


# -------------------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize(("y", "groups", "names"), [
    (["b", "a", "b"], [1, 0, 1], ["a", "b"]), ([3.0, 1.0, 3.0], [1, 0, 1], ["1", "3"]), ([10, 9, 10], [1, 0, 1], ["9", "10"]),
    ([True, False], [1, 0], ["False", "True"]), (["a", None], [1, 0], ["(blank)", "a"]), ([1.0, np.nan], [0, 1], ["1", "(blank)"])])
def test_labels_are_classes(y, groups, names):
    found, classes = colouring(pd.Series(y))
    assert list(found) == groups and classes == names


def test_many_numbers_are_a_quantity():
    values, classes = colouring(np.arange(50) / 7)
    assert classes == [] and values == pytest.approx(np.arange(50) / 7)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_blank_among_many_dates_is_nan(zone):
    days = pd.Series(pd.date_range("2020-01-01", periods=20, tz=zone))
    days[3] = pd.NaT
    values, classes = colouring(days)
    assert classes == [] and np.flatnonzero(np.isnan(values)).tolist() == [3]
    assert np.ptp(np.diff(values[4:])) == 0 and values[4] > values[2] > 0


def test_many_words_are_the_nine_most_frequent_and_the_others():
    words = [chr(97 + i) for i in range(15) for _ in range(15 - i)]
    groups, classes = colouring(words)
    assert classes == [*"abcdefghi", "others"]
    assert (groups == 9).sum() == sum(15 - i for i in range(9, 15))


def test_rows_at_even_distances():
    assert list(evenly(np.arange(100), 4)) == [0, 33, 66, 99]
    assert list(evenly(pd.Series(np.arange(100)), 2)) == [0, 99] and evenly(None, 3) is None


# -------------------------------------------------------------------------------------------------------------------- pictures


def png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def test_a_code_map_has_a_dot_for_each_row_and_a_name_for_each_class(stacked):
    X, y = DIGITS.images[:80], DIGITS.target[:80]
    (ax,) = code_map(stacked, X, y).axes
    np.testing.assert_allclose(np.sort(np.concatenate([c.get_offsets() for c in ax.collections]), axis=0),
                               np.sort(plane(stacked.transform(X))[0], axis=0), rtol=1e-6)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [str(i) for i in range(10)]
    colours = {matplotlib.colors.to_hex(c.get_facecolor()[0]) for c in ax.collections}
    assert colours == set(pictures.CLASSES)


def test_without_labels_the_reconstruction_error_gives_the_colour(stacked):
    X = DIGITS.images[:80]
    ax, bar = code_map(stacked, X).axes
    np.testing.assert_allclose(ax.collections[0].get_array(), Passage(stacked, X).row_errors(), rtol=1e-5)
    assert "reconstruction error" in bar.get_ylabel() and ax.get_legend() is None


def test_quantities_give_the_colour_too(table):
    ax, bar = code_map(table, people(), people()["age"]).axes
    np.testing.assert_allclose(ax.collections[0].get_array(), people()["age"])
    assert bar.get_ylabel() == "age"


def test_of_many_rows_some_are_drawn(stacked, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_POINTS", 25)
    (ax,) = code_map(stacked, DIGITS.images[:80], DIGITS.target[:80]).axes
    assert sum(len(c.get_offsets()) for c in ax.collections) == 25


def test_filters_are_drawn_in_the_form_of_the_data(stacked, signals, table):
    (ax,) = filters(stacked, 6).axes
    page = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_allclose(page[:8, :8], first_layer(stacked, 6)[0])
    assert np.isnan(page[:, 8]).all()
    (ax,) = filters(signals).axes
    assert len(ax.lines) == 2 * 16 and len(ax.lines[1].get_xdata()) == 32
    (ax,) = filters(table).axes
    expected = first_layer(table) / np.abs(first_layer(table)).max()
    np.testing.assert_allclose([p.get_width() for p in ax.patches], expected.ravel(), rtol=1e-5, atol=1e-7)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(people().columns)


def test_reconstructions_of_images_stand_below_the_originals_with_their_errors(conv):
    X = DIGITS.images[200:240]
    figure, passage = reconstructions(conv, X, 4), Passage(conv, X)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels[0] == "original" and [label.split("\n")[-1] for label in labels[1:]] == \
        [f"{passage.row_errors(k).mean():.3g}" for k in ("rebuilt", "pca", "from_code")]
    assert "from the code alone" in labels[3] and labels[2].startswith("PCA")
    strip = figure.axes[0].images[0].get_array()
    assert strip.shape == (8, 4 * 8 + 3)
    np.testing.assert_allclose(strip[:, :8], X[0] / 16)
    assert "40 rows" in figure.get_supxlabel()


def test_reconstructions_of_signals_lie_over_the_originals(signals):
    figure = reconstructions(signals, waves(), 3)
    assert len(figure.axes) == 3 and all(len(ax.lines) == 3 for ax in figure.axes)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), waves()[1, :, 0], atol=1e-5)
    assert [t.get_text().split()[0] for t in figure.legends[0].get_texts()] == ["original", "StackedAutoencoder", "PCA"]


def test_reconstructions_of_a_table_are_drawn_column_by_column(table):
    frame = people()
    figure, passage = reconstructions(table, frame, 5), Passage(table, frame)
    errors = figure.axes[0]
    order = np.argsort(-passage.column_errors())
    assert [t.get_text() for t in errors.get_yticklabels()] == [frame.columns[i] for i in order]
    drawn = {ax.get_title(): ax for ax in figure.axes[1:] if ax.axison}
    assert set(drawn) == set(frame.columns)
    own = drawn["age"].collections[-1].get_offsets()
    np.testing.assert_allclose(own[:, 0], frame["age"], atol=0.1)
    np.testing.assert_allclose(own[:, 1], table.reconstruct(frame)["age"], atol=1e-3)
    back = (table.reconstruct(frame)["city"] == frame["city"]).groupby(frame["city"]).mean()
    shown = [t.get_text() for t in drawn["city"].get_yticklabels()]
    assert [p.get_width() for p in drawn["city"].patches] == pytest.approx([back[c] for c in shown])


def test_a_table_rebuilt_by_a_wide_code_is_drawn_without_pca():
    model = ectype.DenoisingAutoencoder(net=SMALL, train=SHORT, random_state=0).fit(columns())
    figure = reconstructions(model, columns())
    assert "PCA" not in figure.get_supxlabel() and len(figure.axes[0].get_legend().get_texts()) == 1


def test_pictures_are_the_same_each_time_and_belong_to_no_window(stacked):
    X = DIGITS.images[:40]
    before = torch.get_rng_state()
    for draw in (lambda: code_map(stacked, X), lambda: filters(stacked), lambda: reconstructions(stacked, X, 2)):
        figure = draw()
        assert type(figure.canvas).__name__ == "FigureCanvasAgg" and not hasattr(figure, "number")
        assert png(figure) == png(draw())
    assert torch.equal(before, torch.get_rng_state())


# -------------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("draw", [code_map, reconstructions, lambda model, X: filters(model)])
def test_a_family_without_a_code_is_refused(gan, draw):
    with pytest.raises(CapabilityError, match=r"GAN (cannot encode and decode|has no first layer)"):
        draw(gan, columns())


def test_a_model_without_an_encoder_network_has_no_filters():
    flow = ectype.Flow(train=Train(budget="2steps"), random_state=0).fit(columns(60, 2))
    with pytest.raises(CapabilityError, match="no first layer"):
        filters(flow)


@pytest.mark.parametrize("draw", [code_map, reconstructions])
def test_one_row_is_too_few(linear, draw):
    with pytest.raises(DataError, match="at least 2, got 1"):
        draw(linear, columns()[:1])


@pytest.mark.parametrize("call", [lambda m: code_map(m, columns(), [1, 2]), lambda m: reconstructions(m, columns(), 0),
                                  lambda m: filters(m, 0), lambda m: code_map(m, columns(), method="umap")])
def test_other_mistakes_say_what_is_expected(linear, call):
    with pytest.raises((DataError, InvalidParameterError, UnknownNameError), match="expected"):
        call(linear)


def test_a_model_must_be_fitted():
    with pytest.raises(NotFittedError):
        code_map(ectype.Autoencoder(), columns())


def test_single_far_rows_do_not_shrink_a_map():
    points = np.random.default_rng(0).normal(size=(500, 2))
    seen, n = pictures.within_view(points)
    assert n == 0 and (seen == points).all()
    points[7] = 1e6, -3.0
    seen, n = pictures.within_view(points)
    assert n == 1 and 4 < seen[7, 0] < 12 and seen[7, 1] == -3.0 and (np.delete(seen, 7, 0) == np.delete(points, 7, 0)).all()
