"""The figures of public implementations on the arrays of an NPZ file; run in their own environment by ``bench.metrics``.

``python metrics_peer.py ARRAYS.npz`` writes a JSON object to standard output. Needs ``prdc``, ``POT`` and ``torch-fidelity``; of the last
only the formulae are used, which take features, so that no weights are fetched.
"""

import contextlib
import importlib.metadata
import io
import json
import sys
from unittest.mock import MagicMock

import numpy as np
import ot
import torch
from prdc import compute_prdc
from sklearn.metrics import roc_auc_score

for module in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets", "torchvision.models"):
    sys.modules.setdefault(module, MagicMock())         # imported there by feature extractors and loaders that are not used here
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kernel_poly, mmd2  # noqa: E402

arrays = dict(np.load(sys.argv[1]))
found = {"versions": {p: importlib.metadata.version(p) for p in ("prdc", "POT", "torch-fidelity", "scikit-learn", "torch")}}
for case in sorted({name.split(":")[0] for name in arrays}):
    x, y, directions, scores = (arrays[f"{case}:{part}"] for part in ("x", "y", "directions", "scores"))
    with contextlib.redirect_stdout(io.StringIO()):
        figures = {k: float(v) for k, v in compute_prdc(x, y, 5).items()}
    statistics = [fid_features_to_statistics(torch.from_numpy(a)) for a in (x, y)]
    figures["frechet"] = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    kernel = {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    figures["kernel_distance"] = float(mmd2(kernel_poly(x, x, **kernel), kernel_poly(x, y, **kernel), kernel_poly(y, y, **kernel)))
    figures["sliced_wasserstein"] = float(ot.sliced_wasserstein_distance(x, y, projections=directions, p=1))
    figures["wasserstein_1d"] = float(ot.wasserstein_1d(x[:, 0], y[:, 0], p=1))
    figures["auroc"] = float(roc_auc_score(np.repeat([0, 1], [len(x), len(y)]), scores))
    found[case] = figures
json.dump(found, sys.stdout)
