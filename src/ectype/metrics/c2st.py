"""Classifier two-sample test: can a fresh classifier tell generated rows from real ones it has not seen?

The AUROC of its scores on left-out rows is ½ when it cannot, and the probability that it puts a generated row above a real one.
Nothing in a model's loss says what the classifier looks at, which is the strength of the test.

References: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests; Friedman 2003, On multivariate goodness-of-fit and
two-sample testing; Nadeau & Bengio 2003, Inference for the generalization error.
"""

from __future__ import annotations

import numpy as np

from ..data.schema import Schema
from ..rng import numpy_generator, seed_of
from .kernels import band_powers
from .spaces import PrincipalComponents, Samples
from .uncertainty import Estimate, auroc_and_variance

TREE_BINS = 255             # most that the histograms of boosted trees can hold; pixels of fewer levels get one for each, which costs less
TREE_CATEGORIES = TREE_BINS     # columns with more are split by frequency rank
TREE_PIXELS = 256
TREE_COMPONENTS = 64
TREES, TREE_RATE = 60, 0.1
CNN_BATCH = 64
CNN_STEPS, CNN_EPOCHS = 24, 4       # whichever is longer: of a few hundred images the trees say more, and 40 steps gained nothing


def c2st(real: np.ndarray, generated: np.ndarray, schema: Schema, seed: int = 0) -> float:
    """The value of :func:`c2st_estimate`."""
    return c2st_estimate(real, generated, schema, seed).value


def c2st_estimate(real: np.ndarray, generated: np.ndarray, schema: Schema, seed: int = 0) -> Estimate:
    """AUROC of a classifier of generated against real stored rows, the mean over cross-fitting folds.

    The raw figure: it falls below ½ by chance as often as above it when the two cannot be told apart. Its interval is that of the rows
    that are judged; that other rows would have made other classifiers is in Nadeau and Bengio's correction. A table is judged by boosted
    trees. Images are judged by the sum of the logits of a small CNN and of boosted trees on at most 256 pixels drawn at random: the
    trees see what is wrong with the value of a pixel, such as noise where the paper is blank, which the CNN needs thousands of
    images to learn. Signals are judged by trees on their first ``TREE_COMPONENTS`` principal components, the length of what these leave
    out, and the power in the bands of their spectrum, without which noise is spread too thinly over the components to be seen. Five
    folds for tables of up to 2,000 rows in all, else three.
    """
    rows = np.concatenate([real, generated])
    positive = np.repeat([0, 1], [len(real), len(generated)])
    n_folds = min(5 if schema.is_table and len(rows) <= 2000 else 3, len(real), len(generated))
    rng = numpy_generator(seed, "c2st")
    fold = np.concatenate([rng.permutation(n) % n_folds for n in (len(real), len(generated))])
    bins = TREE_BINS
    if schema.is_image:
        flat = rows.reshape(len(rows), -1)
        pixels = np.sort(rng.permutation(flat.shape[1])[:TREE_PIXELS])
        columns, categorical = flat[:, pixels].astype(np.float32), None
        bins = int(np.clip(schema.blocks[0].levels, 2, TREE_BINS))
    elif schema.is_signal:
        columns, categorical = signal_columns(rows, schema, seed), None
    else:
        columns, categorical = rows, [b.type == "category" and b.n_codes <= TREE_CATEGORIES for b in schema.blocks]
    folds = []
    for k in range(n_folds):
        fit, test = fold != k, fold == k
        scores = _tree_logits(columns[fit], positive[fit], columns[test], categorical, bins, seed_of(seed, "c2st", k) % 2**32)
        if schema.is_image:
            scores = scores + _cnn_logits(rows[fit], positive[fit], rows[test], seed, "c2st", k)
        folds.append(auroc_and_variance(scores, positive[test] == 1))
    value, variance = np.mean(folds, axis=0)
    variance *= 1 / n_folds + 1 / (n_folds - 1)     # the folds share training rows (Nadeau & Bengio): more than the 1/K of independent ones
    return Estimate.share(float(value), float(variance), min(len(real), len(generated)))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, ties counted half: the Mann–Whitney U, scaled."""
    return auroc_and_variance(scores, positive)[0]


def signal_columns(rows: np.ndarray, schema: Schema, seed: int) -> np.ndarray:
    """What the trees see of stored signals, ``(N, columns)``. The components are those of all rows, real and generated alike."""
    components = PrincipalComponents(Samples(schema), rows, TREE_COMPONENTS, seed, remainder=True)
    return np.concatenate([components(rows), band_powers(rows)], axis=1, dtype=np.float32)


def _tree_logits(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, categorical: list[bool] | None, bins: int,
                 seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    blank = np.isnan(x).all(0)          # nothing to bin: such a column says nothing
    x, x_test = np.where(blank, 0, x), np.where(blank, 0, x_test)
    trees = HistGradientBoostingClassifier(max_iter=TREES, learning_rate=TREE_RATE, max_leaf_nodes=15,
                                           min_samples_leaf=min(20, max(1, len(x) // 20)), early_stopping=False,
                                           categorical_features=categorical, max_bins=bins, random_state=seed)
    return trees.fit(x, y).decision_function(x_test)


def _cnn_logits(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, *path: object) -> np.ndarray:
    from .convnet import in_batches, train_classifier

    logits = in_batches(train_classifier(x, y, max(CNN_STEPS, CNN_EPOCHS * len(x) // CNN_BATCH), *path, batch=CNN_BATCH), x_test)
    return logits[:, 1] - logits[:, 0]
