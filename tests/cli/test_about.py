"""`ectype models` and `ectype data`: for people and for programs."""

import json

import pytest

from ectype import registry


def test_models_lists_every_family(ectype):
    answer = ectype("models")
    assert answer.code == 0 and answer.err == ""
    for entry in registry.FAMILIES.values():
        assert any(" or ".join((entry.name, *entry.aliases)) in line and entry.title in line and entry.paper in line for line in answer.out.splitlines())


def test_models_for_programs(ectype):
    found = json.loads(ectype("models", "--json").out)
    assert [f["name"] for f in found] == registry.names()
    for f in found:
        capabilities = registry.load(f["name"]).capabilities
        assert set(f["can"]) | {f["likelihood"]} - {None} == capabilities


@pytest.mark.parametrize("name", registry.names())
def test_one_model(ectype, name):
    answer = ectype("models", name)
    assert answer.code == 0 and registry.entry(name).paper in answer.out and "--train.budget" in answer.out
    described = json.loads(ectype("models", name, "--json").out)
    settings = {s["name"]: s["default"] for s in described["settings"]}
    cls = registry.load(name)
    assert settings["conditional"] is False
    for field, said in (("lr", lambda lr: f"{lr:g}"), ("betas", str)):
        own, others = getattr(cls.preset, field), {container: getattr(preset, field) for container, preset in cls.presets.items()}
        differ = any(value != own for value in others.values())
        assert settings[f"train.{field}"] == (None if differ else list(own) if field == "betas" else own)
        meaning = next(s["meaning"] for s in described["settings"] if s["name"] == f"train.{field}")
        assert not differ or all(f"{container} {said(value)}" in meaning for container, value in others.items())
    for sampler in described["samplers"]:
        assert sampler in answer.out


def test_an_unknown_model(ectype):
    answer = ectype("models", "flwo")
    assert answer.code == 2 and answer.out == "" and "did you mean flow?" in answer.err


def test_a_model_of_two_names(ectype):
    answer, page = ectype("models", "fewstep", "--json"), ectype("models", "fewstep").out
    assert json.loads(answer.out)["name"] == "truncated" and json.loads(answer.out)["aliases"] == ["fewstep"]
    assert "settings of `ectype fit truncated or fewstep`" in page
    assert "did you mean fewstep?" in ectype("models", "fewsteps").err


def test_data_of_a_table(ectype, people):
    answer = ectype("data", people, "--label", "group")
    assert answer.code == 0 and answer.out.startswith("people: 120 rows, 4 columns\n")
    lines = {line.split()[0]: line for line in answer.out.splitlines() if line}
    assert "integer" in lines["age"] and "14" in lines["income"] and "Bern" in lines["city"] and "the label" in lines["group"]


def test_data_for_programs(ectype, people):
    content = json.loads(ectype("data", people, "--label", "group", "--kind", "age=categorical", "--json").out)
    assert (content["name"], content["kind"]) == ("people", "table")
    assert (content["rows"], content["label"]) == (120, "group")
    assert [(c["column"], c["kind"]) for c in content["columns"]] == [
        ("age", "categorical"), ("income", "numeric"), ("city", "categorical"), ("group", "categorical")]
    left = json.loads(ectype("data", people, "--drop", "age", "city", "--json").out)["columns"]
    assert [c["column"] for c in left] == ["income", "group"]


def test_data_of_images(ectype):
    answer = ectype("data", "digits")
    assert answer.code == 0 and "1,797 images" in answer.out and "8x8" in answer.out
    assert json.loads(ectype("data", "digits", "--json").out)["kind"] == "images"


def test_notes_go_to_stderr_or_into_the_json(ectype, tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + "".join(f"{i / 7:.3f}\n" for i in range(40)) + "oops\n")
    answer = ectype("data", tmp_path / "t.csv")
    assert "note: a: a column of numbers" in answer.err and "note:" not in answer.out
    assert ectype("data", tmp_path / "t.csv", "--quiet").err == ""
    shown = ectype("data", tmp_path / "t.csv", "--json")
    assert shown.err == "" and "oops" in json.loads(shown.out)["notes"][0]


@pytest.mark.parametrize(("words", "said"), [
    (["nosuch.csv"], "nosuch.csv"), (["irsi"], "did you mean iris?"), (["iris", "--label", "targt"], "target"),
    (["iris", "--drop", "nose"], "nose")])
def test_mistakes(ectype, words, said):
    answer = ectype("data", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err
