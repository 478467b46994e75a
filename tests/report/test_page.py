"""The page and the terminal table, drawn from folders written by hand: no model is trained here."""

from __future__ import annotations

import html.parser
import io
import json
import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.datasets import load_digits, make_moons

from ectype.errors import DataFileError
from ectype.report import charts, numbers, pictures, render_table, write_report
from ectype.report.tradeoff import Spot, tradeoff

ROWS = {    # label, C2ST, Fréchet, coverage, recall, rows/s, evaluations, parameters, (quality, coverage) scores, marks
    "autoencoder": ("Autoencoder", 0.93, 2.1, 0.61, 0.66, 31000, 1, 41_000, (0.41, 0.70), (0, 1, 0)),
    "vae": ("VAE", 0.84, 1.3, 0.78, 0.75, 24000, 1, 52_000, (0.61, 0.83), (1, 1, 1)),
    "gan": ("GAN", 0.81, 1.1, 0.55, 0.52, 28000, 1, 88_000, (0.66, 0.58), (1, 1, 0)),
    "flow": ("Flow", 0.88, 1.6, 0.74, 0.80, 6100, 1, 210_000, (0.55, 0.86), (1, 1, 1)),
    "ddpm": ("DDPM", 0.69, 0.6, 0.88, 0.85, 21, 1000, 260_000, (0.80, 0.95), (1, 0, 1)),
    "ddpm-ddim50": ("DDPM ddim50", 0.72, 0.7, 0.86, 0.83, 410, 50, 260_000, (0.76, 0.93), (1, 0, 1)),
}
DUMMY_ROWS = {"training_copy": ("Training copy", 0.52, 0.05, 0.95, 0.92, (0.97, 1.0)), "marginals": ("Marginals", 0.99, 6.2, 0.2, 0.4, (0.0, 0.3)),
              "gaussian_mixture": ("Gaussian mixture", 0.80, 0.9, 0.8, 0.82, (0.68, 0.90)), "bootstrap_noise": ("Bootstrap noise", 0.9, 0.8, 0.9, 0.9, (0.6, 0.97))}
FLOOR = {"c2st": 0.51, "frechet_pca": 0.04, "coverage": 0.95, "recall": 0.9, "memorisation": 0.5}
METRICS = {
    "c2st": ("C2ST", "half", "quality", ""), "frechet_pca": ("Fréchet distance, PCA", "lower", "quality", ""),
    "coverage": ("Coverage", "higher", "coverage", ""), "recall": ("Recall", "higher", "coverage", ""),
    "memorisation": ("Memorisation", "half", "copying", ""), "rows_per_s": ("Rows per second", "higher", "cost", "rows/s"),
    "nfe": ("Evaluations per sample", "lower", "cost", ""), "fit_s": ("Fit time", "lower", "cost", "s"),
    "peak_memory_mib": ("Peak memory", "lower", "cost", "MiB"), "parameters": ("Parameters", "lower", "cost", ""),
    "log_likelihood": ("Log-likelihood", "higher", "likelihood", "nats/row"),
}
SEEDS = [0, 1, 2]


def figure(metric: str, mean: float, spread: float) -> dict:
    values = [mean - spread, mean, mean + spread]
    return {"mean": mean, "std": spread, "floor": FLOOR.get(metric), "n": 3, "better": METRICS[metric][1], "values": values}


def example(data: dict, columns: list[str]) -> dict:
    """The content of ``results.json`` with plausible figures, for data of any kind."""
    models, marks = {}, {}
    for name, (label, c2st, frechet, coverage, recall, rate, nfe, size, scores, earned) in ROWS.items():
        family = name.split("-")[0]
        metrics = {"c2st": figure("c2st", c2st, 0.012), "frechet_pca": figure("frechet_pca", frechet, 0.08), "coverage": figure("coverage", coverage, 0.02),
                   "recall": figure("recall", recall, 0.03), "memorisation": figure("memorisation", 0.51, 0.02), "rows_per_s": figure("rows_per_s", rate, rate / 20),
                   "nfe": figure("nfe", nfe, 0.0), "fit_s": figure("fit_s", 10.2, 0.1), "peak_memory_mib": figure("peak_memory_mib", 612.0, 9.0),
                   "parameters": figure("parameters", size, 0.0)}
        if name in ("vae", "flow"):
            metrics["log_likelihood"] = figure("log_likelihood", -101.3 if name == "vae" else -97.8, 0.4)
        models[name] = {"label": label, "title": f"{label} in full", "seeds": SEEDS, "metrics": metrics, "family": family,
                        "options": {"steps": 50} if "-" in name else {}, "steps": [2130, 2096, 2144], "error": None,
                        "likelihood": {"vae": "bound", "flow": "exact"}.get(name), "worst_columns": [{"column": c, "distance": 0.3 / (i + 1)} for i, c in enumerate(columns)]}
        marks[name] = {**dict(zip(("quality", "speed", "coverage"), map(bool, earned), strict=True)),
                       "scores": {"quality": {"mean": scores[0], "std": 0.03}, "coverage": {"mean": scores[1], "std": 0.02}},
                       "why": {"quality": f"Closes {scores[0]:.0%} of the gap to real data (C2ST {c2st:.2f}, 0.50 is ideal).",
                               "speed": f"{rate:,} rows/s with {nfe} network evaluations per sample.",
                               "coverage": f"Reaches {scores[1]:.0%} of real data (coverage {coverage} of 0.95, recall {recall} of 0.90)."}}
    dummies = {}
    for name, (label, c2st, frechet, coverage, recall, scores) in DUMMY_ROWS.items():
        dummies[name] = {"label": label, "title": "Dummy", "seeds": SEEDS, "worst_columns": [],
                         "metrics": {m: figure(m, v, 0.01) for m, v in (("c2st", c2st), ("frechet_pca", frechet), ("coverage", coverage), ("recall", recall),
                                                                      ("memorisation", 1.0 if name == "training_copy" else 0.5))}}
        marks[name] = {"scores": {"quality": {"mean": scores[0], "std": 0.01}, "coverage": {"mean": scores[1], "std": 0.01}}}
    return {
        "schema_version": 1, "data": data, "floor": FLOOR, "models": models, "dummies": dummies, "marks": marks,
        "settings": {"source": data["name"], "budget": "10s", "seeds": SEEDS, "models": ["autoencoder", "vae", "gan", "flow", "ddpm"], "interrupted": False, "feature_spaces": {"pca": "21 principal components", "features": "48 features of a CNN"},
                     "label": None, "kinds": {}, "drop": [], "size": None},
        "environment": {"ectype": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6", "processor": "a processor", "cores": 2},
        "metrics": {m: {"title": t, "better": b, "unit": u, "group": g, "meaning": f"What {t} says in one sentence.", "blind_spot": f"What {t} cannot see.",
                        "reference": "Somebody 2020"} for m, (t, b, g, u) in METRICS.items()},
        "thresholds": {"quality": 0.5, "copying": 0.75, "coverage": 0.75, "evaluations": 10, "slower": 20},
        "rules": {"quality": "Closes at least half of the gap.", "speed": "At most 10 evaluations.", "coverage": "Reaches at least 75%."},
        "pick": {"name": "vae", "family": "vae", "reason": "VAE earns all three marks, and the best quality of the 2 that do.",
                 "notes": ["Where quality alone counts, DDPM closes 80% of the gap to real data (against 61%), at 1,140 times the sampling time."]},
    }


def write_curves(directory) -> None:
    (directory / "curves").mkdir()
    steps = np.unique(np.geomspace(25, 2100, 30).astype(int))
    for i, name in enumerate(("autoencoder", "vae", "gan", "flow", "ddpm")):
        runs = [{"seed": s, "history": [{"step": int(k), "elapsed_s": k / 200, "held_out": 20 + 80 * (k / 25) ** -0.6 + i + s} for k in steps]} for s in SEEDS]
        (directory / "curves" / f"{name}.json").write_text(json.dumps(runs))


def write_images(directory):
    """Digits beside noisy digits."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    x = load_digits().images
    np.savez_compressed(directory / "samples" / "real.npz", x=x[:200])
    for i, name in enumerate(ROWS):
        np.savez_compressed(directory / "samples" / f"{name}.npz", x=np.clip(np.round(x[200 * (i + 1) : 200 * (i + 2)] + rng.normal(0, 1.5, (200, 8, 8))), 0, 16))
    write_curves(directory)
    data = {"name": "digits", "rows": 1797, "fingerprint": "3f2a9c", "label": None, "kind": "images", "notes": [],
            "split": {"train": 1077, "holdout": 360, "test": 360, "evaluated": 360},
            "schema": [{"name": "image", "kind": "image", "height": 8, "width": 8, "channels": 1, "levels": 17, "top": 16.0}]}
    (directory / "results.json").write_text(json.dumps(example(data, [])))
    return directory


def write_table(directory):
    """A mixed table, with blanks, and a column whose name is markup."""
    (directory / "samples").mkdir(parents=True)
    rng = np.random.default_rng(0)

    def draw(shift: float) -> pd.DataFrame:
        n = 400
        age = np.round(np.clip(rng.gamma(6, 7, n) + 4 * shift, 17, 90))
        return pd.DataFrame({
            "age": age, "income": np.where(rng.random(n) < 0.1, np.nan, np.exp(rng.normal(10, 0.6 + 0.2 * shift, n)).round(2)),
            "workclass": rng.choice(["Private", "Self-employed, not incorporated", "State", None], n, p=[0.7 - 0.1 * shift, 0.15, 0.1 + 0.1 * shift, 0.05]),
            "joined": pd.Timestamp("2015-01-01") + pd.to_timedelta((rng.random(n) * 2000).round(), "D"),
            "<b>married</b>": rng.random(n) < 0.4 + 0.1 * shift})
    draw(0).to_csv(directory / "samples" / "real.csv", index=False)
    for i, name in enumerate(ROWS):
        draw(1 - 0.15 * i).to_csv(directory / "samples" / f"{name}.csv", index=False)
    write_curves(directory)
    schema = [{"name": "age", "kind": "integer", "low": 17.0, "high": 90.0, "step": 1.0, "missing": False},
              {"name": "income", "kind": "numeric", "low": 2300.5, "high": 190000.25, "step": None, "missing": True},
              {"name": "workclass", "kind": "categorical", "categories": 3, "missing": True, "most_frequent": ["Private", "Self-employed, not incorporated", "State"]},
              {"name": "joined", "kind": "datetime", "low": 1.42e9, "high": 1.59e9, "step": 86400.0, "missing": False},
              {"name": "<b>married</b>", "kind": "boolean", "categories": 2, "missing": False, "most_frequent": ["False", "True"]}]
    data = {"name": "people", "rows": 2000, "fingerprint": "77e1", "label": "<b>married</b>", "kind": "table", "notes": ["joined: read as dates"],
            "split": {"train": 1200, "holdout": 400, "test": 400, "evaluated": 400}, "schema": schema}
    (directory / "results.json").write_text(json.dumps(example(data, [c["name"] for c in schema])))
    return directory


def write_plane(directory):
    """A table of two columns."""
    (directory / "samples").mkdir(parents=True)
    for i, name in enumerate(("real", *ROWS)):
        x, _ = make_moons(600, noise=0.06 + 0.05 * i, random_state=i)
        pd.DataFrame(x, columns=["x0", "x1"]).to_csv(directory / "samples" / f"{name}.csv", index=False)
    write_curves(directory)
    schema = [{"name": c, "kind": "numeric", "low": -1.5, "high": 2.5, "step": None, "missing": False} for c in ("x0", "x1")]
    data = {"name": "moons", "rows": 3000, "fingerprint": "0b", "label": None, "kind": "table", "notes": [],
            "split": {"train": 1800, "holdout": 600, "test": 600, "evaluated": 600}, "schema": schema}
    (directory / "results.json").write_text(json.dumps(example(data, ["x0", "x1"])))
    return directory


WRITERS = {"images": write_images, "table": write_table, "plane": write_plane}
VOID = {"meta", "img", "br", "link", "rect", "line", "circle", "path", "polygon", "hr", "input"}


class Page(html.parser.HTMLParser):
    """A page taken apart: every element with its attributes, the text under each heading, and whether all tags are closed."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.elements, self.open, self.headings, self.data = text, [], [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append([tag, ""])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.data.append(data)
        if self.open and {"h1", "h2", "h3"} & set(self.open):
            self.headings[-1][1] += data

    def all(self, tag):
        return [attrs for t, attrs in self.elements if t == tag]


@pytest.fixture(scope="module", params=WRITERS)
def page(request, tmp_path_factory):
    folder = WRITERS[request.param](tmp_path_factory.mktemp(request.param))
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path)


def change(folder, edit) -> dict:
    """Edit ``results.json`` in place."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    edit(results)
    path.write_text(json.dumps(results))
    return results


# ------------------------------------------------------------------------------------------------------------------- the whole page


def test_the_page_fetches_nothing_and_runs_nothing(page):
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    addresses = [a[k] for _, a in page.elements for k in ("src", "href") if k in a]
    assert addresses and all(a.startswith(("#", "data:")) for a in addresses)
    assert "url(" not in page.text and "@import" not in page.text and len(page.text) < 5_000_000


def test_the_page_has_an_outline(page):
    assert [text for tag, text in page.headings if tag == "h1"] == [page.headings[0][1]]
    assert [text for tag, text in page.headings if tag == "h2"] == [
        "Quality, speed and coverage", "Marks, and why", "All figures", "Real beside generated", "How to read this page", "The data, as understood",
        "The run, and how to repeat it"]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_everything_can_be_read_aloud(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and len(a["aria-label"]) > 10) for a in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 4
    assert all(a.get("tabindex") == "0" and ("aria-label" in a or "aria-labelledby" in a) for a in page.all("div") if a.get("class") == "scroll")
    assert all("scope" in a for a in page.all("th"))


def test_every_row_has_its_card_and_the_pick_comes_first(page):
    cards = [a["aria-labelledby"] for a in page.all("article")]
    assert cards[0] == "card-vae" and set(cards) == {f"card-{n}" for n in ROWS}


def test_every_figure_is_explained(page):
    text = " ".join(page.data)
    for title, *_ in METRICS.values():
        assert f"What {title} says in one sentence." in text and f"What {title} cannot see." in text


def test_families_floor_and_dummies_stand_in_this_order(page):
    for table in page.text.split('<table class="figures">')[1:3]:
        assert table.index("VAE") < table.index("Real data") < table.index("Gaussian mixture")


# ------------------------------------------------------------------------------------------------------------------- details


def test_the_page_is_drawn_from_the_files_alone(folder):
    first = write_report(folder).read_text()
    assert write_report(folder).read_text() == first


def test_images_are_shown_pixel_by_pixel(folder):
    text = write_report(folder).read_text()
    assert text.count("data:image/png;base64,") == 2 * len(ROWS) and "image-rendering: pixelated" in text


def test_large_pictures_keep_the_page_small(folder):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, size=(60, 120, 160, 3), dtype=np.uint8)       # nothing compresses worse
    for name in ("real", *ROWS):
        np.savez(folder / "samples" / f"{name}.npz", x=noise)
    change(folder, lambda r: r["data"]["schema"][0].update(height=120, width=160, channels=3, levels=256, top=255.0))
    assert write_report(folder).stat().st_size < 5_000_000


def test_names_from_the_data_are_text_and_not_markup(tmp_path):
    text = write_report(write_table(tmp_path)).read_text()
    assert "<b>married</b>" not in text and "&lt;b&gt;married&lt;/b&gt;" in text


def test_the_worst_column_is_named_and_drawn_first(tmp_path):
    text = write_report(write_table(tmp_path)).read_text()
    assert "Furthest from real: <strong>age</strong>" in text
    panels = text.split('<div class="panels">')[1]
    assert panels.index("<span>age</span>") < panels.index("<span>workclass</span>") and "(blank)" in panels


def test_two_columns_are_shown_as_a_plane(tmp_path):
    page = Page(write_report(write_plane(tmp_path)).read_text())
    assert sum(a.get("aria-label", "").startswith("Scatter plot of 600 real rows") for a in page.all("svg")) == len(ROWS)


def test_failed_families_interruptions_and_notes_are_said(folder):
    def edit(r):
        r["models"]["gan"].update(seeds=[], metrics={}, steps=[], error="seed 0: DivergedError: <it> does not stay finite")
        del r["marks"]["gan"]
        r["settings"]["interrupted"] = True
    change(folder, edit)
    text = write_report(folder).read_text()
    assert "seed 0: DivergedError: &lt;it&gt; does not stay finite" in text and "was interrupted" in text
    assert "1,140 times the sampling time" in text and 'id="card-gan"' not in text


def test_a_page_without_any_model_is_still_a_page(folder):
    def edit(r):
        for n, e in r["models"].items():
            e.update(seeds=[], metrics={}, steps=[], error="seed 0: no")
            del r["marks"][n]
        r["pick"] = {"name": None, "family": None, "reason": "No family could be trained on these data.", "notes": []}
    results = change(folder, edit)
    assert "No family could be trained on digits" in write_report(folder).read_text()
    assert "failed" in lines(results)


def test_a_likelihood_that_is_a_bound_is_written_as_one(folder):
    text = write_report(folder).read_text()
    assert "≥ −101.3" in text and "≥ <b>−97.8" not in text and "<b>−97.8</b>" in text


def test_a_run_in_seconds_can_be_repeated_in_steps(folder):
    text = write_report(folder).read_text()
    assert "&#39;vae&#39;: [2130, 2096, 2144]" in text and "ectype compare digits --models autoencoder,vae,gan,flow,ddpm --budget 10s" in text


def test_training_loss_stands_in_where_nothing_was_held_out(folder):
    runs = [{"seed": 0, "history": [{"step": s, "elapsed_s": 1.0, "generator.loss": 1 / s, "critic.loss": 2 / s} for s in (25, 50, 75)]}]
    (folder / "curves" / "gan.json").write_text(json.dumps(runs))
    assert "Training loss (critic.loss)" in write_report(folder).read_text()


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("{"), lambda p: p.write_text("[]"),
                                    lambda p: p.write_text('{"schema_version": 99}')])
def test_a_folder_that_cannot_be_drawn_says_what_to_do(folder, damage):
    damage(folder / "results.json")
    with pytest.raises(DataFileError, match="hint"):
        write_report(folder)


def test_missing_samples_are_named(folder):
    (folder / "samples" / "vae.npz").unlink()
    with pytest.raises(DataFileError, match=r"vae\.npz"):
        write_report(folder)


# ------------------------------------------------------------------------------------------------------------------- drawings


@pytest.mark.parametrize("width", [860, 360])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.4])
def test_labels_of_the_picture_do_not_overlap(width, spread):
    rng = np.random.default_rng(3)
    names = [e[0] for e in ROWS.values()]
    spots = [Spot(n, i, 10 ** (3 + spread * 4 * rng.normal()), float(np.clip(0.6 + spread * rng.normal(), 0, 1)), 0.05, 0.8) for i, n in enumerate(names)]
    picture = tradeoff(spots, mixture=0.55, threshold=0.5, slowest=100.0, width=width, height=420)
    found = re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)" class="name"[^>]*>([^<]+)<', picture)
    assert [name for *_, name in sorted(found, key=lambda f: names.index(f[2]))] == names
    boxes = [(float(x), float(y) - 11, float(x) + 7.6 * len(name), float(y) + 2) for x, y, name in found]
    assert all(0 <= b[0] and b[2] <= width + 8 and 0 <= b[1] for b in boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def test_shapes_differ_and_keep_their_area():
    drawn = {shape: charts.marker(shape, 50, 50, 10, "") for shape in charts.SHAPES}
    assert len(set(drawn.values())) == len(charts.SHAPES)
    for shape, text in drawn.items():
        points = np.array([p.split(",") for p in re.findall(r"[\d.-]+,[\d.-]+", text)], float)
        if len(points):
            x, y = points.T
            area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            assert 0.8 < area / (np.pi * 100) < 1.2, shape


def test_a_histogram_of_equal_samples_is_the_same_line_twice():
    values = np.random.default_rng(0).normal(size=500)
    area, line = re.findall(r'd="M([^"]+)"', charts.histogram(values, values, 0, "the same twice"))
    assert line in area


@pytest.mark.parametrize("values", [np.zeros(5), np.array([1e300, -1e300, 0.0]), np.arange(3.0)])
def test_a_histogram_survives_odd_columns(values):
    assert "nan" not in charts.histogram(values, values[:2], 0, "odd column")


def test_a_grid_holds_every_image_once():
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
    sheet = np.asarray(pictures.grid(images, 3, 5.0))
    grow = pictures.SMALLEST // 5
    assert sheet.shape == (2 * 4 * grow + pictures.GAP, 3 * 5 * grow + 2 * pictures.GAP, 2)
    assert [sheet[(4 * grow + pictures.GAP) * (i // 3), (5 * grow + pictures.GAP) * (i % 3), 0] for i in range(6)] == [0, 51, 102, 153, 204, 255]
    assert (sheet[4 * grow, :, 1] == 0).all()


@pytest.mark.parametrize(("metric", "value", "text"), [
    ("c2st", 0.7149, "0.71"), ("rows_per_s", 12345.6, "12,300"), ("rows_per_s", 21.04, "21.0"), ("parameters", 123456, "123,456"), ("nfe", 1000.0, "1,000"),
    ("frechet_pca", 0.04312, "0.0431"), ("log_likelihood", -101.26, "−101"), ("fit_s", 0.0, "0"), ("c2st", None, "–")])
def test_figures_have_the_digits_they_deserve(metric, value, text):
    assert numbers.number(metric, value) == text


def test_a_column_of_figures_has_one_number_of_decimals():
    values = [2.1, 0.61, 12.0]
    digits = numbers.decimals("frechet_pca", values)
    assert [numbers.number("frechet_pca", v, digits) for v in values] == ["2.100", "0.610", "12.000"]
    assert numbers.spread("frechet_pca", {"mean": 2.1, "std": 0.08}, digits) == "±0.080"


@pytest.mark.parametrize(("better", "winners"), [("lower", {"a"}), ("higher", {"c"}), ("half", {"a", "b"})])
def test_those_that_are_written_alike_are_best_together(better, winners):
    figures = {n: {"mean": v, "better": better} for n, v in (("a", 0.42), ("b", 0.503), ("c", 0.9), ("d", None))}
    assert numbers.best("c2st", figures) == winners


# ------------------------------------------------------------------------------------------------------------------- the terminal


def lines(results: dict) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_table(results))
    return console.export_text()


@pytest.mark.parametrize("kind", WRITERS)
def test_the_table_fits_in_a_hundred_columns(tmp_path, kind):
    text = lines(json.loads((WRITERS[kind](tmp_path) / "results.json").read_text()))
    head, *rows = [line.rstrip() for line in text.splitlines()]
    assert max(len(line) for line in rows) <= 100 and "NFE" in head and "…" not in text
    assert next(line for line in rows if line.startswith("DDPM ")).split()[-1] == "1,000"
    assert text.index("DDPM ddim50") < text.index("Real data") < text.index("Gaussian mixture") < text.index("Pick for")
