"""Compare the families of generative models on one data set: the same split, the same training budget, measured side by side.

    data ── split ──┬── train ────▶ fit every family, once per seed ──▶ samples ──┐
                    ├── holdout ──▶ the floor: what real rows score against real  ├──▶ metrics ──▶ marks ──▶ pick
                    └── test ─────▶ what every sample is measured against ────────┘

Each figure stands between two anchors. The *floor* is what unseen real rows (the holdout) score against the test part: nobody can
be asked for more. The *dummies* need no deep learning (a copy of the training part, independent marginals, a Gaussian mixture, the
bootstrap with noise) and go through the same metrics, once per seed.

Marks and pick: :mod:`ectype.comparison.marks`; the folder that is written: :mod:`ectype.comparison.book`; what the figures mean:
:mod:`ectype.comparison.run`.
"""

from .run import Comparison, compare

__all__ = ["Comparison", "compare"]
