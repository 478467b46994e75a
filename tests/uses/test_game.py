"""The film of a game: frames that repeat, what they hold, drawings, files, and what cannot be filmed."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import norm

import ectype
from ectype.data.toy import TRUTHS
from ectype.errors import DataError, InvalidParameterError
from ectype.spec import Net, Train
from ectype.uses import game
from ectype.uses.game import CELLS, film_game, smoothed

SHORT = ectype.GAN(train=Train(budget="60steps", validation=0.3), net=Net(width=(16, 16)), random_state=0)
LINE = np.random.default_rng(0).normal(3.0, 2.0, (300, 1))


@pytest.fixture(scope="module")
def line():
    return film_game(SHORT, LINE, density=lambda X: norm.logpdf(X[:, 0], 3.0, 2.0), samples=200)


@pytest.fixture(scope="module")
def plane():
    truth = TRUTHS["moons"]
    return film_game(SHORT, truth.sample(300, np.random.default_rng(0)), density=truth.log_prob, samples=200)


def test_frames_hold_samples_and_the_critic_at_the_evaluations(line, plane):
    for film, d in ((line, 1), (plane, 2)):
        assert [f.step for f in film.frames] == [25, 50, 60]
        for frame in film.frames:
            assert frame.samples.shape == (200, d) and np.isfinite(frame.samples).all()
            assert frame.critic.shape == (CELLS[d],) * d and (frame.critic > 0).all() and (frame.critic < 1).all() and frame.critic.std() > 0
        assert not np.array_equal(film.frames[0].critic, film.frames[-1].critic)


def test_the_grid_reaches_beyond_the_data_and_knows_the_density(line, plane):
    (grid,) = line.axes
    assert grid[0] < LINE.min() and grid[-1] > LINE.max()
    np.testing.assert_allclose(line.density, norm.pdf(grid, 3.0, 2.0))
    x, y = plane.axes
    assert plane.density[10, 50] == pytest.approx(np.exp(TRUTHS["moons"].log_prob(np.array([[x[10], y[50]]])))[0])


def test_the_critic_on_the_grid_is_that_of_the_model(line):
    """The last frame is the trained model, where the last evaluation was the best one: the same weights give the same D."""
    model = ectype.GAN(**{**SHORT.get_params(deep=False), "game": "non-saturating", "train": Train(budget="25steps", validation=0.3)})
    frame = film_game(model, LINE, samples=50).frames[-1]
    grid = line.axes[0][:, None]
    objective, x = model.fit(LINE).objective_, torch.from_numpy(model.schema_.encode(grid))
    expected = torch.sigmoid(objective.logit(objective.features.embed(x), objective.given_of(x, None))).detach().numpy()
    np.testing.assert_allclose(frame.critic, expected, rtol=1e-4)
    inside = np.abs(grid[:, 0] - 3.0) < 2.0                     # of rows like those of the training it is the score, too
    np.testing.assert_allclose(frame.critic[inside], np.exp(model.score_samples(grid))[inside], rtol=1e-4)


def test_a_relativistic_critic_is_drawn_even_between_real_and_generated_rows(line):
    """Its logit is known up to a constant: D beside the data's place is neither all one nor all zero."""
    assert SHORT.game == "relativistic"
    for frame in line.frames:
        assert frame.critic.min() < 0.5 < frame.critic.max()


def test_a_film_repeats_and_leaves_the_model_as_it_is(line):
    again = film_game(SHORT, pd.DataFrame(LINE, columns=["x0"]), samples=200)
    assert not hasattr(SHORT, "objective_") and again.density is None
    for a, b in zip(line.frames, again.frames, strict=True):
        np.testing.assert_array_equal(a.critic, b.critic)
        np.testing.assert_array_equal(a.samples, b.samples)


def test_frames_are_thinned(monkeypatch):
    """To the first, the last, and some between."""
    monkeypatch.setattr(game, "MOST_FRAMES", 2)
    assert [f.step for f in film_game(SHORT, LINE, samples=20).frames] == [25, 60]


@pytest.mark.parametrize("ending", [".webp", ".gif", ".png"])
def test_films_are_files(line, plane, ending, tmp_path):
    for i, film in enumerate((line, plane)):
        path = film.save(tmp_path / f"{i}{ending}", seconds=2.0)
        assert path.stat().st_size < 600_000
        with Image.open(path) as image:
            assert image.n_frames == 3 and min(image.size) >= 250
            assert np.asarray(image.convert("L"), float).std() > 5


def test_frames_are_left_out_of_a_large_file(line, tmp_path):
    whole = line.save(tmp_path / "a.gif").stat().st_size
    with Image.open(line.save(tmp_path / "b.gif", most_bytes=whole - 1)) as image:
        assert image.n_frames == 2
    with pytest.raises(InvalidParameterError, match="moving picture is too large"):
        line.save(tmp_path / "c.gif", most_bytes=1000)
    with pytest.raises(InvalidParameterError, match="unknown format"):
        line.save(tmp_path / "d.mp4")


def test_a_smoothed_histogram_is_a_density():
    grid = np.linspace(-5, 5, 200)
    found = smoothed(np.random.default_rng(0).normal(size=50_000), grid)
    assert found.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found, norm.pdf(grid), atol=0.02)


def test_what_cannot_be_filmed_is_said():
    with pytest.raises(InvalidParameterError, match="conditional=False"):
        film_game(ectype.GAN(conditional=True), LINE)
    with pytest.raises(DataError, match="one or two numeric columns"):
        film_game(SHORT, np.random.default_rng(0).normal(size=(200, 3)))
    with pytest.raises(DataError, match="one or two numeric columns"):
        film_game(SHORT, pd.DataFrame({"x": np.arange(200.0), "y": ["a", "b"] * 100}))
    with pytest.raises(DataError, match="at least 100 rows"):
        film_game(SHORT, LINE[:20])
