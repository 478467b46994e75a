"""The page: complete, self-contained, readable without eyes and without JavaScript, and honest about what is not there."""

from __future__ import annotations

import html.parser
import json
import re
from itertools import pairwise

import numpy as np
import pytest

from ectype.errors import DataFileError
from ectype.report import write_report
from ectype.report.page import flags, spent

VOID = {"meta", "img", "br", "rect", "line", "circle", "path", "polygon", "image", "input"}
HEADINGS = {"h1", "h2", "h3", "h4"}
ROWS = {"autoencoder", "vae", "gan", "flow", "ddpm", "ddpm-dpm20"}


class Page(html.parser.HTMLParser):
    """A page taken apart: its elements, its headings and its text; every element that is opened must be closed."""

    def __init__(self, text: str):
        super().__init__()
        self.source, self.elements, self.open, self.headings, self.words = text, [], [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in HEADINGS:
            self.headings.append([tag, ""])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)
        if HEADINGS & set(self.open):
            self.headings[-1][1] += data

    def all(self, tag):
        return [attrs for t, attrs in self.elements if t == tag]


@pytest.fixture(scope="module")
def page(drawn):
    return Page(write_report(drawn).read_text(encoding="utf-8"))


def change(folder, edit) -> None:
    """Edit ``results.json`` in place."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    edit(results)
    path.write_text(json.dumps(results))


def forget(results, name: str, error: str) -> None:
    """Make a family one that failed."""
    results["models"][name].update(seeds=[], metrics={}, steps=[], error=error)
    del results["marks"][name]


# ------------------------------------------------------------------------------------------------------------------- every page


def test_it_fetches_nothing_and_runs_nothing(page):
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    addresses = [a[k] for _, a in page.elements for k in ("src", "href") if k in a]
    assert addresses and all(a.startswith(("#", "data:")) for a in addresses)
    assert "url(" not in page.source and "@import" not in page.source and len(page.source) < 5_000_000


def test_it_has_an_outline(page):
    assert [tag for tag, _ in page.headings].count("h1") == 1 and page.headings[0][0] == "h1"
    assert [text for tag, text in page.headings if tag == "h2"] == [
        "The known table, on these data", "Quality, speed and coverage", "Marks, and why", "All figures", "Real beside generated", "How to read this page",
        "The data, as understood", "The run, and how to repeat it"]
    levels = [int(tag[1]) for tag, _ in page.headings]
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_it_can_be_read_aloud(page):
    assert page.all("html")[0]["lang"] == "en" and all(a.get("alt") for a in page.all("img"))
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and len(a["aria-label"]) > 10) for a in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 4 and all("scope" in a for a in page.all("th"))
    scrolled = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert scrolled and all(a.get("tabindex") == "0" and {"aria-label", "aria-labelledby"} & set(a) for a in scrolled)


def test_every_row_has_its_card_and_the_pick_comes_first(page):
    cards = [a["aria-labelledby"] for a in page.all("article")]
    assert cards[0] == "card-vae" and set(cards) == {f"card-{name}" for name in ROWS} and len(cards) == len(ROWS)


def test_every_figure_is_explained_with_its_blind_spot(page):
    text = " ".join(page.words)
    for title in ("C2ST", "Recall", "Log-likelihood"):
        assert f"What {title} says." in text and f"What {title} cannot see." in text


def test_families_floor_and_dummies_stand_in_this_order(page):
    for table in page.source.split('<table class="figures">')[1:3]:
        assert table.index("VAE") < table.index("Real data") < table.index("Gaussian mixture")


# ------------------------------------------------------------------------------------------------------------------- what it shows


def test_it_is_drawn_from_the_files_alone(images):
    first = write_report(images).read_text()
    assert write_report(images).read_text() == first


def test_images_are_shown_pixel_by_pixel(images):
    text = write_report(images).read_text()
    pairs = re.findall(r'<div class="pair">(.*?)</div>', text, re.DOTALL)
    assert [p.count("data:image/png;base64,") for p in pairs] == [2] * len(ROWS) and "image-rendering: pixelated" in text


def test_large_pictures_keep_the_page_small(images):
    noise = np.random.default_rng(0).integers(0, 256, size=(24, 120, 160, 3), dtype=np.uint8)      # nothing compresses worse
    for name in ("real", *ROWS):
        np.savez(images / "samples" / f"{name}.npz", x=noise)
    change(images, lambda r: r["data"]["schema"][0].update(height=120, width=160, channels=3, levels=256, top=255.0))
    assert write_report(images).stat().st_size < 5_000_000


def test_names_from_the_data_are_text_and_not_markup(table):
    text = write_report(table).read_text()
    assert "<b>married</b>" not in text and "&lt;b&gt;married&lt;/b&gt;" in text


def test_the_worst_column_is_named_and_drawn_first(table):
    text = write_report(table).read_text()
    panels = text.split('<div class="panels">')[1]
    assert "Furthest from real: <strong>age</strong>" in text and "(blank)" in panels
    assert panels.index("<span>age</span>") < panels.index("<span>workclass</span>")


def test_signals_are_drawn_as_lines_in_one_frame(signals):
    change(signals, lambda r: r["settings"].update(kinds="signal@100", size=[300]))
    text = write_report(signals).read_text()
    drawings = [d for pair in re.findall(r'<div class="pair plots">(.*?)</div>', text, re.DOTALL)
                for d in re.findall(r'<svg [^>]*class="chart signals".*?</svg>', pair)]
    assert len(drawings) == 2 * len(ROWS) and all(d.count("<rect") == 15 and d.count("<path") == 30 for d in drawings)
    heights = [float(v) for d in drawings for v in re.findall(r"[ML][\d.]+,([\d.]+)", d)]
    assert min(heights) >= 0 and max(heights) <= float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawings[0])[1])
    assert "2,000 signals of 300 samples at 100 Hz in 2 channels" in text and "--kind signal@100" in text and "--size 300" in text
    assert "kinds=&#39;signal@100&#39;" in text


def test_two_columns_are_shown_as_a_plane(plane):
    page = Page(write_report(plane).read_text())
    said = [a.get("aria-label", "") for a in page.all("svg")]
    assert sum(s.startswith("Scatter plot of 600 real rows") for s in said) == len(ROWS)


def test_a_likelihood_that_is_a_bound_is_written_as_one(images):
    text = write_report(images).read_text()
    assert "≥ −101.3" in text and "<td><b>−97.8</b>" in text


def test_a_figure_of_one_seed_among_several_says_so(images):
    change(images, lambda r: r["models"]["ddpm"]["metrics"]["c2st"].update(n=1, std=None))
    assert write_report(images).read_text().count('<span class="ci">n=1</span>') == 1


def test_failures_interruptions_and_notes_are_said(images):
    def edit(r):
        forget(r, "gan", "seed 0: DivergedError: <it> does not stay finite")
        r["settings"]["interrupted"] = True
    change(images, edit)
    text = write_report(images).read_text()
    assert "seed 0: DivergedError: &lt;it&gt; does not stay finite" in text and "was interrupted" in text
    assert "1,100 times the sampling time" in text and 'id="card-gan"' not in text


def test_a_page_without_any_model_is_still_a_page(images):
    def edit(r):
        for name in ROWS:
            forget(r, name, "seed 0: no")
        r["pick"] = {"name": None, "family": None, "decided": False, "candidates": [], "try_budget": None, "reason": "No family could be trained on these data.", "notes": []}
    change(images, edit)
    assert "No family could be trained on digits" in Page(write_report(images).read_text()).headings[0][1]


def test_a_flag_stays_on_one_line_and_the_rest_is_text():
    assert flags("<b> try --budget 40s, or --seeds (--jobs 2)") == (
        '&lt;b&gt; try <span class="flag">--budget 40s</span>, or <span class="flag">--seeds</span> (<span class="flag">--jobs 2</span>)')


def test_what_each_family_was_given_is_said(images):
    assert write_report(images).read_text().count("<dd>10s, 1,200 rows, threads as usual</dd>") == len(ROWS)


def test_a_file_that_holds_something_else_is_missing(table):
    (table / "neighbours" / "vae.json").write_text('{"rows": []}')
    assert "<code>neighbours/vae.json</code>" in write_report(table).read_text()


def test_training_loss_stands_in_where_nothing_was_held_out(images):
    history = [{"step": s, "elapsed_s": 1.0, "generator.loss": 1 / s, "critic.loss": 2 / s} for s in (25, 50, 75)]
    (images / "curves" / "gan.json").write_text(json.dumps([{"seed": 0, "history": history}]))
    assert "Training loss (critic.loss)" in write_report(images).read_text()


def test_a_run_in_seconds_can_be_repeated_in_steps(images):
    text = write_report(images).read_text()
    assert "ectype compare digits --models autoencoder,vae,gan,flow,ddpm --budget 10s --seeds 3 --seed 0" in text
    assert "&#39;vae&#39;: [2130, 2096, 2144]" in text


def test_the_command_to_repeat_a_run_says_how_the_data_were_read(table):
    reading = {"label": "the label", "kinds": {"zip": "categorical"}, "drop": ["a b", "c"], "size": [28, 20]}
    change(table, lambda r: r["settings"].update(reading))
    text = "".join(Page(write_report(table).read_text()).words)
    assert "--label 'the label' --kind zip=categorical --drop 'a b' c --size 28x20" in text


def test_a_run_that_was_cut_short_promises_no_repetition(images):
    change(images, lambda r: r["models"]["vae"].update(steps=[2130]))
    assert "&#39;vae&#39;: [2130" not in write_report(images).read_text()


# ------------------------------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("{"), lambda p: p.write_text("[]"),
                                    lambda p: p.write_text('{"schema_version": 99}')])
def test_a_folder_that_cannot_be_drawn_says_what_to_do(images, damage):
    damage(images / "results.json")
    with pytest.raises(DataFileError, match="hint"):
        write_report(images)


@pytest.mark.parametrize("gone", ["samples/real.npz", "samples/vae.npz", "curves/gan.json"])
def test_what_is_gone_is_named_and_the_rest_is_drawn(images, gone):
    (images / gone).unlink()
    page = Page(write_report(images).read_text())
    assert f"<code>{gone}</code>" in page.source and "Missing from the folder" in page.source
    assert {a["aria-labelledby"] for a in page.all("article")} == {f"card-{name}" for name in ROWS}


@pytest.mark.parametrize("damaged", ["samples/vae.npz", "trajectories/ddpm.npz", "neighbours/vae.npz", "curves/vae.json"])
def test_a_damaged_file_is_one_that_is_missing(images, damaged):
    path = images / damaged
    path.write_bytes(path.read_bytes()[:40])
    assert f"<code>{damaged}</code>" in write_report(images).read_text()


def test_a_folder_of_the_first_format_is_drawn_without_intervals(images):
    def edit(r):
        r["schema_version"] = 1
        del r["floor_intervals"], r["known_table"], r["pick"]["candidates"], r["pick"]["decided"]
        for m in r["marks"].values():
            m.update({k: m[k] == "yes" for k in ("quality", "speed", "coverage") if k in m})
        for e in (*r["models"].values(), *r["dummies"].values()):
            for f in e["metrics"].values():
                del f["low"], f["high"]
        for m in r["marks"].values():
            for score in m["scores"].values():
                del score["low"], score["high"]
    change(images, edit)
    page = Page(write_report(images).read_text())
    text = " ".join("".join(page.words).split())
    assert "For images" not in text and "For digits, take the VAE in full" in text and 'class="ci"' not in page.source
    assert 'class="whisker' not in page.source and "Normalizing flow" in text


def test_where_the_time_went_is_told():
    seconds = {"training": 156.4, "sampling": 1069.0, "metrics": 42.0}
    assert spent({"spent_s": seconds}) == "All fits and dummies took 1,267 s together: training 156 s, drawing samples 1,069 s, measuring 42 s."
    assert spent({}) == ""
