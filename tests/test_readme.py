"""The README says what the software does: its table is the registry's, its example runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_table_of_models_is_the_registrys():
    spec = importlib.util.spec_from_file_location("models_table", ROOT / "docs" / "models_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.insert(README) == README, "run: python docs/models_table.py"


def test_it_is_short_enough_to_be_read():
    assert len(README.splitlines()) < 120


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_its_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace('"10s"', '"30steps"'), names)
    X, model = names["X"], names["model"]
    assert list(model.sample(5, random_state=0).columns) == list(X.columns)
    assert model.transform(X).shape == (178, 4)
    assert (tmp_path / "wine-vae" / "model.json").exists()
