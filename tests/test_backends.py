"""A comparison on joblib's backends for clusters, where they are installed: the same figures as one fit after another."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from joblib import effective_n_jobs, parallel_config

from ectype.comparison import compare
from ectype.metrics.threads import one_thread

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"a": RNG.normal(size=80), "b": RNG.normal(size=80), "kind": RNG.choice(["x", "y"], 80)})
SETTINGS = dict(models=["autoencoder", "flow"], budget="6steps", seeds=1)
TIMES = {"rows_per_s", "fit_s", "peak_memory_mib"}


def figures(results: dict) -> dict:
    """What does not depend on a clock."""
    rows = results["models"] | results["dummies"]
    return json.loads(json.dumps({n: {m: f for m, f in e["metrics"].items() if m not in TIMES} | {"steps": e.get("steps")} for n, e in rows.items()}))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return figures(compare(TABLE, out=tmp_path_factory.mktemp("alone"), **SETTINGS).results)


@pytest.fixture
def dask():
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster):
        yield "dask"


@pytest.fixture
def ray():
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield "ray"
    ray.shutdown()


@pytest.mark.filterwarnings("default")          # of these libraries
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_cluster_gives_the_same_figures(backend, alone, request, tmp_path):
    name = request.getfixturevalue(backend)
    with parallel_config(backend=name, n_jobs=2):
        done = compare(TABLE, out=tmp_path, **SETTINGS)
    assert done.results["environment"]["jobs"] == 2 and not any(e["error"] for e in done.results["models"].values())
    assert figures(done.results) == alone


def test_a_configured_backend_gets_whole_fits_alone():
    with parallel_config(backend="threading", n_jobs=2):
        with one_thread():
            assert effective_n_jobs(None) == 1
        assert effective_n_jobs(None) == 2
