"""What a code keeps, in numbers: where the rows lie in it, what its first layer looks for, what comes back out of it.

Notation
    x       a row as features, (d,) when flattened; h its code, (k,); x_hat what is made of h
    m, V    mean of the training rows, and their first k principal axes, (d, k)

    error       e(x) = ½ Σⱼ (x_hatⱼ − xⱼ)²
    PCA         x_hat = m + V Vᵀ (x − m)

No linear code of k numbers has a smaller mean error than PCA's on the rows that it was fitted on (Eckart & Young), so the difference
between the two errors, on other rows, is what the non-linearity buys on these data. A decoder that is given more than the code (the
positions of max-unpooling) is measured twice, with that and from the code alone. Families whose decoder ends in rows in place of features
(the VAE's most probable category) are measured at the features of these rows.

References
    Eckart & Young, *The approximation of one matrix by another of lower rank*, 1936.
    van der Maaten & Hinton, *Visualizing data using t-SNE*, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .. import registry
from ..errors import CapabilityError, DataError, InvalidParameterError, UnknownNameError
from ..estimator import GenerativeModel
from ..train.reconstruction import Coder

METHODS = ("pca", "tsne")
MOST_CLASSES = 10           # that have a colour each
PCA_ROWS = 10_000           # that the principal components are fitted on


class Passage:
    """Rows on their way through a code and back, as features ``(N, *shape)``.

    X_train : rows that the principal components are fitted on (at most 10,000 of them); those of ``X`` where there are none.
    condition : of the rows, for a conditional model.

    ``original`` and ``rebuilt`` are before and after; ``from_code`` is what is rebuilt from the code alone, where the decoder is otherwise
    given more, else None; ``pca`` what as many principal components as the code has numbers make of the rows, None where the code is as
    wide as the row, and such components a copy.

    Raises :class:`CapabilityError` for a model that cannot encode and decode, :class:`DataError` for fewer than two rows.
    """

    def __init__(self, model: GenerativeModel, X: Any, X_train: Any = None, condition: Any = None):
        require(model, X, "encode", "decode")
        self.model, self.schema, self.features = model, model.schema_, model.objective_.features
        self.width, self.n_features = model.objective_.latent_dim, math.prod(self.features.shape)
        self._x, self._c = model._given(X, condition)
        self._X_train = X_train
        self.original = self._through(lambda x, c: self.features.embed(x).float())
        self.rebuilt = self._rebuild()
        self.from_code = self._rebuild_from_code()

    def _through(self, function: Callable[[Tensor, Tensor | None], Tensor]) -> np.ndarray:
        return self.model._by_batch(self._x, self._c, function)

    def _rebuild(self) -> np.ndarray:
        objective, embed = self.model.objective_, self.features.embed
        if not isinstance(objective, Coder):
            return self._through(lambda x, c: embed(objective.reconstruct(x, c)).float())
        return self._through(lambda x, c: objective.pass_through(embed(x), objective.embed_condition(c)).float())

    def _rebuild_from_code(self) -> np.ndarray | None:
        objective = self.model.objective_
        if not isinstance(objective, Coder) or type(objective).pass_through is Coder.pass_through:
            return None
        alone = self._through(lambda x, c: objective.rebuild(objective.encode(x, c), objective.embed_condition(c)).float())
        return None if np.allclose(alone, self.rebuilt, atol=1e-4) else alone

    @cached_property
    def pca(self) -> np.ndarray | None:
        """x_hat = m + V Vᵀ (x − m)."""
        from sklearn.decomposition import PCA

        if self.width >= self.n_features:
            return None
        train = self.original
        if self._X_train is not None:
            stored = self.model._encode(evenly(self._X_train, PCA_ROWS))
            train = self.model._by_batch(stored, None, lambda x, c: self.features.embed(x).float())
        train = train.reshape(len(train), -1)
        with np.errstate(invalid="ignore"):         # the shares of a variance that is zero, which nobody asks for
            axes = PCA(min(self.width, *train.shape), random_state=0).fit(train)
        flat = self.original.reshape(len(self.original), -1)
        return axes.inverse_transform(axes.transform(flat)).astype(np.float32).reshape(self.original.shape)

    @property
    def kinds(self) -> dict[str, np.ndarray]:
        """What comes back, by ``rebuilt``, ``pca`` and ``from_code``, those that there are."""
        return {k: v for k, v in (("rebuilt", self.rebuilt), ("pca", self.pca), ("from_code", self.from_code)) if v is not None}

    def errors(self, kind: str = "rebuilt") -> np.ndarray:
        """½ (x_hatⱼ − xⱼ)² of each feature, ``(N, *shape)``."""
        return 0.5 * np.square(self.kinds[kind].astype(np.float64) - self.original)

    def row_errors(self, kind: str = "rebuilt") -> np.ndarray:
        """e(x) of each row, ``(N,)``."""
        return self.errors(kind).reshape(len(self.original), -1).sum(1)

    def column_errors(self, kind: str = "rebuilt") -> np.ndarray:
        """The mean error of each column of a table, ``(columns,)``; together the mean of :meth:`row_errors`."""
        column = self.features.column.cpu().numpy()
        return np.bincount(column, weights=self.errors(kind).mean(0), minlength=len(self.schema.blocks))

    def stored(self, features: np.ndarray) -> np.ndarray:
        """The stored rows nearest to some features."""
        with torch.no_grad():
            return self.features.project(torch.from_numpy(features).to(self.model._device)).cpu().numpy()

    def rows(self, features: np.ndarray) -> Any:
        """The rows nearest to some features, in the container of the training data."""
        return self.schema.decode(self.stored(features))

    def column_values(self, features: np.ndarray) -> np.ndarray:
        """Features of the first n rows of a table as numbers ``(n, columns)``: numbers in the user's units, dates in seconds since 1970,
        NaN for blanks; of a category 1 where it is that of the original row, 0 where not."""
        stored, original = self.stored(features), self._x[: len(features)].numpy()
        out = np.empty(stored.shape, np.float64)
        for i, block in enumerate(self.schema.blocks):
            out[:, i] = _as_numbers(block, stored[:, i]) if block.type == "number" else stored[:, i] == original[:, i]
        return out


def plane(codes: np.ndarray, method: str = "pca") -> tuple[np.ndarray, tuple[str, str]]:
    """Points ``(N, 2)`` for codes ``(N, k)`` and what their axes are: codes of two numbers as they are, others through PCA or t-SNE.

    A code of one number lies along the first axis; the second then only keeps the points apart.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    n, k = codes.shape
    codes = np.asarray(codes, np.float64)
    if k == 1:
        golden = (math.sqrt(5) - 1) / 2         # its multiples fill an interval evenly, in any order of the rows
        return np.column_stack([codes[:, 0], np.arange(n) * golden % 1]), ("code", "")
    if k == 2:
        return codes, ("first number of the code", "second number of the code")
    if not np.ptp(codes, axis=0).any():
        return np.zeros((n, 2)), ("code, the same of every row", "")
    if method == "tsne":
        from sklearn.manifold import TSNE

        return TSNE(2, perplexity=min(30.0, (n - 1) / 3), init="pca", random_state=0).fit_transform(codes), ("t-SNE of the code", "")
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(codes)
    first, second = (f"principal component {i + 1} of the code ({share:.0%})" for i, share in enumerate(pca.explained_variance_ratio_))
    return pca.transform(codes), (first, second)


def first_layer(model: GenerativeModel, n: int = 64) -> np.ndarray:
    """The weights that the features of a row meet first, of at most ``n`` units: those of largest norm, in their order.

    Tables ``(units, columns)``; of a column with several features (categories, marks) the weight of largest magnitude, of one without any
    (constant) zero. Images
    ``(units, h, w)`` or ``(units, h, w, 3)``; of images of other than one or three channels, the sum over channels. Signals
    ``(units, l, channels)``. Of a perceptron ``h, w, l`` are the size of the data, of a convolution that of its kernels.

    Raises :class:`CapabilityError` for a model that has no encoder.
    """
    check_is_fitted(model)
    if not isinstance(n, int | np.integer) or n < 1:
        raise InvalidParameterError("n is out of its domain", expected="an int >= 1", got=repr(n))
    objective = model.objective_
    shape = objective.features.shape
    d = math.prod(shape)
    encoder = objective if isinstance(objective, Coder) and not hasattr(objective, "encoder") else getattr(objective, "encoder", None)
    weights = [] if encoder is None else [p for p in encoder.parameters() if p.ndim > 1]
    first = next((w for w in weights if (w.ndim == 2 and w.shape[1] in (d, d + objective.n_cond))
                  or (w.ndim == len(shape) + 1 > 2 and w.shape[1] == shape[0])), None)
    if first is None:
        raise CapabilityError(f"{type(model).__name__} has no first layer to look at", hint="the autoencoders and the VAE have one")
    w = first.detach().float().cpu().numpy()
    if w.ndim == 2:
        w = w[:, :d].reshape(-1, *shape)
    norms = np.square(w).reshape(len(w), -1).sum(1)
    w = w[np.sort(np.argsort(-norms, kind="stable")[:n])]
    if model.schema_.is_table:
        column = objective.features.column.cpu().numpy()
        groups = [w[:, column == i] for i in range(len(model.schema_.blocks))]
        return np.stack([np.take_along_axis(g, np.abs(g).argmax(1)[:, None], 1)[:, 0] if g.shape[1] else np.zeros(len(g), g.dtype)
                         for g in groups], axis=1)
    if model.schema_.is_image:
        return w[:, 0] if w.shape[1] == 1 else np.moveaxis(w, 1, -1) if w.shape[1] == 3 else w.sum(1)
    return np.swapaxes(w, 1, 2)


def colouring(y: Any) -> tuple[np.ndarray, list[str]]:
    """What gives labels ``(N,)`` their colours: numbers of classes and the names of these, or quantities and no names.

    At most ten classes have a colour each. More numbers than that are a quantity; of more words, the nine most frequent are classes and
    the others one. A blank is the class "(blank)" of words, and NaN among quantities.
    """
    values = pd.Series(np.asarray(y)) if not isinstance(y, pd.Series) else y.reset_index(drop=True)
    known = values.dropna()
    numbers = known.dtype.kind in "iuf" or pd.api.types.is_datetime64_any_dtype(known)
    if numbers and known.nunique() > MOST_CLASSES:
        if values.dtype.kind != "M":
            return values.to_numpy(np.float64), []
        return np.where(values.isna(), np.nan, values.astype("int64").to_numpy(np.float64)), []
    text = values.map(word).where(values.notna(), "(blank)").astype(object)
    frequent = text.value_counts()
    names = [word(v) for v in np.sort(known.unique())] if numbers else sorted(frequent.index)
    names += [v for v in frequent.index if v not in names]
    if len(names) > MOST_CLASSES:
        kept = set(frequent.sort_values(ascending=False, kind="stable").index[: MOST_CLASSES - 1])
        names = [v for v in names if v in kept] + ["others"]
        text = text.where(text.isin(kept), "others")
    return text.map({v: i for i, v in enumerate(names)}).to_numpy(np.intp), names


def word(value: Any) -> str:
    """A label as it is read: 3.0 is 3."""
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)


def _as_numbers(block: Any, stored: np.ndarray) -> np.ndarray:
    """Values of a column of numbers or dates, decoded; dates in seconds since 1970."""
    values = pd.Series(block.decode(stored))
    if block.kind != "datetime":
        return pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    when = pd.to_datetime(values, utc=True).dt.tz_localize(None)
    return np.where(when.isna(), np.nan, when.astype("datetime64[s]").astype("int64").to_numpy(np.float64))


def require(model: GenerativeModel, X: Any, *needed: str) -> None:
    absent = [n for n in needed if n not in model.capabilities]
    if absent:
        able = [n for n in registry.names() if registry.load(n).capabilities >= set(needed)]
        raise CapabilityError(f"{type(model).__name__} cannot {' and '.join(absent)}", hint=f"these can: {', '.join(able)}")
    check_is_fitted(model)
    if len(X) < 2:
        raise DataError("too few rows to draw", expected="at least 2", got=len(X))


def evenly(X: Any, most: int) -> Any:
    """At most so many rows, at even distances."""
    if X is None or len(X) <= most:
        return X
    index = np.linspace(0, len(X) - 1, most).astype(int)
    return X.iloc[index] if isinstance(X, pd.DataFrame | pd.Series) else np.asarray(X)[index]
