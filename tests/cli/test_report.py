"""`ectype report`: a comparison drawn again from its files."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of one family."""
    from ectype.cli import main

    out = tmp_path_factory.mktemp("compared") / "c"
    assert main(["compare", "iris", "--models", "autoencoder", "--budget", "12steps", "--seeds", "1", "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def folder(compared, tmp_path):
    return shutil.copytree(compared, tmp_path / "c")


@pytest.mark.parametrize(("format", "made"), [("html", "report.html"), ("md", "report.md"), ("csv", "figures/figures.csv"),
                                              ("svg", "figures/picture.svg"), ("png", "figures/picture.png")])
def test_each_format_is_written_and_named_on_stdout(ectype, folder, format, made):
    (folder / "report.html").unlink()
    answer = ectype("report", folder, "--format", format)
    assert answer.code == 0 and f"{folder / made}\n" in answer.out and (folder / made).stat().st_size > 0
    assert answer.err == "" and (folder / "report.html").exists() is (format == "html")


def test_the_summary_has_the_baselines_beside_the_families(ectype, folder):
    assert ectype("report", folder, "--format", "md").code == 0
    text = (folder / "report.md").read_text()
    dummies = json.loads((folder / "results.json").read_text())["dummies"]
    places = [text.index(f"| _{label}_ |") for label in ("Real data", *(e["label"] for e in dummies.values()))]
    assert len(places) == 5 and places == sorted(places)


def test_the_page_comes_out_as_it_was(ectype, folder):
    before = (folder / "report.html").read_text()
    assert ectype("report", folder) == (0, f"{folder / 'report.html'}\n", "")
    assert (folder / "report.html").read_text() == before


def test_open_shows_the_page(ectype, folder, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda address: shown.append(address) or bool(len(shown) < 2))
    assert ectype("report", folder, "--open").err == ""
    answer = ectype("report", folder, "--open", "--format", "md")
    assert answer.code == 0 and answer.out == f"{folder / 'report.md'}\n" and "no browser could be opened" in answer.err
    assert shown == [(folder / "report.html").as_uri()] * 2


@pytest.mark.parametrize(("words", "said"), [(["nowhere"], "there is no folder nowhere"), (["."], "holds no results.json"), ([], "DIR"),
                                             ([".", "--format", "pdf"], "pdf")])
def test_mistakes(ectype, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = ectype("report", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err
