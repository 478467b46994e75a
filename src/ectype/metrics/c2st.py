"""Classifier two-sample test: can a fresh classifier tell generated rows from real ones it has not seen?

The AUROC of its scores on left-out rows is ½ when it cannot, and the probability that it puts a generated row above a real one.
Nothing in a model's loss says what the classifier looks at, which is the strength of the test.

References: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests; Friedman 2003, On multivariate goodness-of-fit and
two-sample testing.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from ..data.schema import Schema
from ..rng import numpy_generator, seed_of
from .kernels import band_powers
from .spaces import PrincipalComponents, Samples

TREE_CATEGORIES = 255       # what the histograms of boosted trees can hold; columns with more are split by frequency rank
TREE_PIXELS = 256
TREE_COMPONENTS = 64
CNN_STEPS, CNN_EPOCHS = 80, 4       # whichever is longer


def c2st(real: np.ndarray, generated: np.ndarray, schema: Schema, seed: int = 0) -> float:
    """AUROC of a classifier of generated against real stored rows, the mean over cross-fitting folds.

    The raw figure: it falls below ½ by chance as often as above it when the two cannot be told apart. A table is judged by boosted
    trees. Images are judged by the sum of the logits of a small CNN and of boosted trees on at most 256 pixels drawn at random: the
    trees see what is wrong with the value of a pixel, such as noise where the paper is blank, which the CNN needs thousands of
    images to learn. Signals are judged by trees on their first ``TREE_COMPONENTS`` principal components, the length of what these leave
    out, and the power in the bands of their spectrum, without which noise is spread too thinly over the components to be seen. Five
    folds, three above 2,000 rows in all.
    """
    rows = np.concatenate([real, generated])
    positive = np.repeat([0, 1], [len(real), len(generated)])
    n_folds = min(5 if len(rows) <= 2000 else 3, len(real), len(generated))
    rng = numpy_generator(seed, "c2st")
    fold = np.concatenate([rng.permutation(n) % n_folds for n in (len(real), len(generated))])
    if schema.is_image:
        flat = rows.reshape(len(rows), -1)
        pixels = np.sort(rng.permutation(flat.shape[1])[:TREE_PIXELS])
        columns, categorical = flat[:, pixels].astype(np.float32), None
    elif schema.is_signal:
        columns, categorical = signal_columns(rows, schema, seed), None
    else:
        columns, categorical = rows, [b.type == "category" and b.n_codes <= TREE_CATEGORIES for b in schema.blocks]
    folds = []
    for k in range(n_folds):
        fit, test = fold != k, fold == k
        scores = _tree_logits(columns[fit], positive[fit], columns[test], categorical, seed_of(seed, "c2st", k) % 2**32)
        if schema.is_image:
            scores = scores + _cnn_logits(rows[fit], positive[fit], rows[test], seed, "c2st", k)
        folds.append(auroc(scores, positive[test] == 1))
    return float(np.mean(folds))


def signal_columns(rows: np.ndarray, schema: Schema, seed: int) -> np.ndarray:
    """What the trees see of stored signals, ``(N, columns)``. The components are those of all rows, real and generated alike."""
    components = PrincipalComponents(Samples(schema), rows, TREE_COMPONENTS, seed, remainder=True)
    return np.concatenate([components(rows), band_powers(rows)], axis=1, dtype=np.float32)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, ties counted half: the Mann–Whitney U, scaled."""
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    return float((rankdata(scores)[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def _tree_logits(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, categorical: list[bool] | None, seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    blank = np.isnan(x).all(0)          # nothing to bin: such a column says nothing
    x, x_test = np.where(blank, 0, x), np.where(blank, 0, x_test)
    trees = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, min_samples_leaf=min(20, max(1, len(x) // 20)),
                                           early_stopping=False, categorical_features=categorical, random_state=seed)
    return trees.fit(x, y).decision_function(x_test)


def _cnn_logits(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, *path: object) -> np.ndarray:
    from .convnet import BATCH, in_batches, train_classifier

    logits = in_batches(train_classifier(x, y, max(CNN_STEPS, CNN_EPOCHS * len(x) // BATCH), *path), x_test)
    return logits[:, 1] - logits[:, 0]
