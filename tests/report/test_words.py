"""The verdict and the cards in words that need no statistics."""

from __future__ import annotations

import copy
import json

import pytest

from ectype.report import words
from ectype.report.folder import read_results


@pytest.fixture(scope="module")
def results(tmp_path_factory, writers):
    return read_results(writers["images"](tmp_path_factory.mktemp("words")))


@pytest.mark.parametrize(("c2st", "said"), [(0.44, "hardly be told from a real one at all. Shown one of each, a detector trained for the task points to the "
                                             "generated one 50 times"), (0.6, "is hard to tell"), (0.78, "not easily"), (0.9, "easily told"),
                                            (0.996, "at once"), (None, "was not measured")])
def test_the_auroc_in_plain_words(results, c2st, said):
    r = copy.deepcopy(results)
    r["models"]["vae"]["metrics"]["c2st"]["mean"] = c2st
    assert said in words.likeness(r, "vae")


def test_the_verdict_of_a_pick_and_of_several_candidates(results):
    assert words.title(results) == "For digits, take the VAE in full"
    assert words.verdict(results)[1] == ("Its pictures reach 83% of the variety that fresh real ones reach. It draws 24k pictures a second here. "
                                         "They are not copies of the training data.")
    cut = results | {"settings": results["settings"] | {"interrupted": True}}
    assert words.title(cut) == "For digits, take the VAE in full, of those measured so far"
    undecided = results | {"pick": results["pick"] | {"name": None, "family": None, "candidates": ["vae", "gan"], "try_budget": "50s"}}
    assert words.title(undecided) == "For digits, no clear winner yet: VAE or GAN"
    assert "either is a sensible choice" in words.verdict(undecided)[0] and "--budget 50s" in words.verdict(undecided)[0]
    many = results | {"pick": undecided["pick"] | {"candidates": list(results["models"])}}
    assert words.title(many) == "For digits, no clear winner yet" and "any of them" in words.verdict(many)[0]


def test_an_explanation_in_a_name_stays_out_of_the_headline(results):
    r = copy.deepcopy(results)
    r["models"]["vae"]["title"] = "Shortcut model: one to four steps, sampler 1step"
    assert words.title(r) == "For digits, take the shortcut model, sampler 1step"


def test_a_model_that_copies_is_called_one(results):
    r = copy.deepcopy(results)
    r["models"]["vae"]["metrics"]["memorisation"]["mean"] = 0.9
    assert "Beware: 90% of them are nearer to a picture that it was trained on" in words.originality(r, "vae")


@pytest.mark.parametrize(("name", "said"), [
    ("vae", "Here, VAE makes good samples, samples fast and leaves little of the data out."),
    ("autoencoder", "Here, Autoencoder samples fast, but does not make good samples yet and leaves parts of the data out."),
    ("flow", "Here, Flow samples fast and leaves little of the data out. Too close to call: quality.")])
def test_what_a_family_is_good_at_follows_from_its_marks(results, name, said):
    assert words.good_at(results, name) == said


def test_a_family_without_any_mark(results):
    r = copy.deepcopy(results)
    r["marks"]["gan"].update(quality="no", speed="no", coverage="no")
    assert words.good_at(r, "gan").startswith("Here, GAN has no clear strength: it does not make good samples yet, samples slowly and")


def test_the_known_table_stands_beside_what_surveys_say(results):
    rows = words.known_table(results)
    assert [row["kind"] for row in rows] == ["GAN", "Diffusion", "VAE", "Normalizing flow"]
    assert rows[0]["cells"] == [{"mark": "yes", "surveys": "yes"}, {"mark": "yes", "surveys": "yes"}, {"mark": "no", "surveys": "no"}]
    assert words.known_table(results | {"known_table": []}) == []
    assert json.loads(json.dumps(rows)) == rows
