"""Data sets that have a name: scikit-learn's bundled ones, targets with a known truth, and published ones.

Published files are read from the folder named by ``ECTYPE_DATA_DIR``, as ``mnist/train-images-idx3-ubyte.gz`` and so on, else from
the cache, else downloaded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .arrays import as_labels, read_idx
from .fetch import Published, fetch
from .files import read_bytes
from .tables import read_text_table
from .toy import TRUTHS, Truth

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8 grey with 17 levels, labelled; bundled with scikit-learn",
    "iris": "150 flowers: 4 measures and their species; bundled with scikit-learn",
    "wine": "178 wines: 13 measures and their cultivar; bundled with scikit-learn",
    "breast_cancer": "569 tumours: 30 measures and the diagnosis; bundled with scikit-learn",
    "moons": "5,000 points on two blurred half circles; known density",
    "gaussians25": "5,000 points of 25 narrow Gaussians on a grid; known density",
    "ring8": "5,000 points of 8 narrow Gaussians on a circle; known density",
    "mixed": "5,000 rows of category, boolean, count, number and skewed amount; known density",
    "mnist": "60,000 handwritten digits, 28x28 grey, labelled; 10 MB to download",
    "mnist_test": "10,000 handwritten digits, the test part of mnist; 1.7 MB to download",
    "fashion_mnist": "60,000 items of clothing, 28x28 grey, labelled; 26 MB to download",
    "fashion_mnist_test": "10,000 items of clothing, the test part of fashion_mnist; 4.4 MB to download",
    "adult": "32,561 census records: 14 mixed columns and the income; 4 MB to download",
    "adult_test": "16,281 census records, the test part of adult; 2 MB to download",
    "mushroom": "8,124 mushrooms: 22 categorical columns and the class; 0.4 MB to download",
}

N_KNOWN_TRUTH = 5000
COMPONENT = "component"         # the name of the labels of known-truth points: which Gaussian or arc

MNIST = ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/")
FASHION = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
           "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/")
UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/"


def _idx_pair(folder: str, part: str, urls: tuple[str, ...], images: str, labels: str) -> tuple[Published, Published]:
    """The files of images and labels of one part, from their checksums."""
    files = (f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)
    return tuple(Published(folder, name, sha256, tuple(url + name for url in urls)) for name, sha256 in files)


IDX_PAIRS = {
    "mnist": _idx_pair("mnist", "train", MNIST,
                       images="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                       labels="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "mnist_test": _idx_pair("mnist", "t10k", MNIST,
                            images="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                            labels="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    "fashion_mnist": _idx_pair("fashion_mnist", "train", FASHION,
                               images="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                               labels="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    "fashion_mnist_test": _idx_pair("fashion_mnist", "t10k", FASHION,
                                    images="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                                    labels="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
}
ADULT = {
    "adult": Published("adult", "adult.data", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                       (UCI + "adult/adult.data",)),
    "adult_test": Published("adult", "adult.test", "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
                            (UCI + "adult/adult.test",)),
}
MUSHROOM = Published("mushroom", "agaricus-lepiota.data", "e65d082030501a3ebcbcd7c9f7c71aa9d28fdfff463bf4cf4716a3fe13ac360e",
                     (UCI + "mushroom/agaricus-lepiota.data",))
ADULT_COLUMNS = ("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
                 "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income")
MUSHROOM_COLUMNS = ("class", "cap-shape", "cap-surface", "cap-color", "bruises", "odor", "gill-attachment", "gill-spacing",
                    "gill-size", "gill-color", "stalk-shape", "stalk-root", "stalk-surface-above-ring", "stalk-surface-below-ring",
                    "stalk-color-above-ring", "stalk-color-below-ring", "veil-type", "veil-color", "ring-number", "ring-type",
                    "spore-print-color", "population", "habitat")


def read_named(name: str, *, quiet: bool = False) -> tuple[Any, pd.Series | None, Truth | None, list[str]]:
    """Rows or images, labels, the known truth and notes of one of :data:`NAMES`."""
    if name == "digits":
        from sklearn.datasets import load_digits
        bunch = load_digits()
        return bunch.images.astype(np.uint8), pd.Series(bunch.target, name="y"), None, []
    if name in ("iris", "wine", "breast_cancer"):
        X = _bundled(name)
        return X, X["target"], None, []
    if name in TRUTHS:
        truth = TRUTHS[name]
        X = truth.sample(N_KNOWN_TRUTH, np.random.default_rng(0))
        y = X["group"] if name == "mixed" else pd.Series(truth.nearest(X)[0].astype(str), name=COMPONENT)
        return X, y, truth, []
    if name in IDX_PAIRS:
        images, labels = (read_idx(read_bytes(fetch(file, quiet=quiet))) for file in IDX_PAIRS[name])
        return images, as_labels(labels, name="y"), None, []
    if name in ADULT:
        text = read_bytes(fetch(ADULT[name], quiet=quiet)).decode("ascii")
        lines = [line.rstrip(".") for line in text.splitlines() if not line.startswith("|")]   # the test part opens with a remark
        X, notes = read_text_table("\n".join(lines).encode(), columns=ADULT_COLUMNS)
        return X, X["income"], None, notes
    X, notes = read_text_table(read_bytes(fetch(MUSHROOM, quiet=quiet)), columns=MUSHROOM_COLUMNS)
    return X, X["class"], None, notes


def _bundled(name: str) -> pd.DataFrame:
    """A table of scikit-learn with its class in words in the column ``target``."""
    from sklearn import datasets
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    return bunch.data.assign(target=np.asarray(bunch.target_names, dtype=str)[bunch.target])
