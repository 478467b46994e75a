"""The command line, called in this process as a person would call it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ectype.cli import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ectype(capsys, monkeypatch):
    """``ectype("fit", "vae", …)`` → exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("ECTYPE_DEBUG", raising=False)

    def call(*words) -> Answer:
        capsys.readouterr()
        code = main([str(w) for w in words])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A CSV with words, whole numbers, blanks and dates, 120 rows."""
    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame({"age": rng.integers(18, 80, n), "income": np.round(rng.lognormal(3, 1, n), 2),
                          "city": rng.choice(["Rome", "Oslo", "Bern"], n), "group": rng.choice(["left", "right"], n)})
    frame.loc[::9, "income"] = np.nan
    path = tmp_path_factory.mktemp("data") / "people.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, people):
    """Folders of small trained runs: ``table``, ``conditional`` and ``numbers`` (VAE), ``images`` (conditional VAE), ``gan``."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    numbers = folder / "numbers.csv"
    pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")).to_csv(numbers, index=False)
    images = folder / "images.npz"
    np.savez(images, x=rng.integers(0, 256, (60, 4, 6, 3), dtype=np.uint8), y=np.arange(60) % 3)
    small = ["--budget", "12steps", "--net.width", "8", "--latent-dim", "2", "--quiet"]
    for name, words in {
        "table": ["vae", people, *small], "conditional": ["vae", people, "--label", "group", "--conditional", *small],
        "numbers": ["vae", numbers, *small], "images": ["vae", images, "--conditional", *small],
        "gan": ["gan", numbers, "--budget", "12steps", "--quiet"],
    }.items():
        assert main(["fit", *map(str, words), "--out", str(folder / name)]) == 0
    return folder
