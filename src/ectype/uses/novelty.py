"""Novelty detection: any family of the registry, fitted on normal rows only, says which new rows are unlike them, how surely, and why.

Notation
    s(x)        the score of a row, higher = more normal; any family's ``score_samples``
    s_1 … s_n   scores of n normal rows that the model was not fitted on: the calibration rows
    α           the false-alarm rate that is asked for: the share of *normal* rows that may be called novel

A score has no unit that could be compared between families, or with a threshold chosen beforehand. The calibration rows give it one. If a
new row is normal, its score is one more of the same kind as s_1 … s_n, and every rank among them is equally likely, so that

    p(x) = (1 + #{i: s_i ≤ s(x)}) / (n + 1)

is at most α with a probability of at most α, whatever the model is and however bad it is: a *conformal* p-value. (A bad model calls no
more normal rows novel; it finds fewer of the others.) A row is novel when p(x) ≤ α, which is when s(x) is below the k-th lowest of the
calibration scores, k = ⌊α (n + 1)⌋. With n < 1/α − 1 no p-value can be that small: then k = 1, and the rate is 1/(n + 1), which
``false_alarm_rate_`` says.

**Which rows calibrate.** Rows that the model has seen look more normal than new ones. So a part of the rows is kept from it; identical rows
stay on one side, since a copy is no new row. Where that part would be too small, the rows take turns (*cross-conformal*): in each of five
folds a model fitted on the other four scores the rows of the fold, and the model that is kept is fitted on all. The guarantee then holds
up to how much the five models and the last one differ.

**Categories that normal rows have one of each.** The share of rows whose category no other row has estimates the chance that the next
normal row brings a new one (Good and Turing's estimate). Where that is not far below α, a new category is no sign of novelty: with
``unseen="novel"`` such rows would use up the alarms, and no other row could be found. So new values count only in columns in which they
use at most half of the alarms together, the rarest first; elsewhere they are taken for the column's most frequent one. With
``unseen="error"`` a row that could not be scored does not calibrate: it is learnt from, and another one is held out in its place.

**Why a row is novel.** Where a score is a sum of squared errors, each column's errors are its part of it (the autoencoders); the default
knows the score that a row would gain if a column alone were restored. For any other family the same is measured: the column is replaced
by its value in several normal rows, and the mean gain in score is what it contributed. Images are covered patch by patch.

References
    Good, *The population frequencies of species and the estimation of population parameters*, 1953.
    Vovk, Gammerman & Shafer, *Algorithmic learning in a random world*, 2005, chapter 4 (conformal anomaly detection).
    Laxhammar & Falkman, *Conformal prediction for distribution-independent anomaly detection in streaming vessel data*, 2010.
    Vovk, *Cross-conformal predictors*, 2015.
    Bates, Candès, Lei, Romano & Sesia, *Testing for outliers with conformal p-values*, 2023.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import rng
from ..data.blocks import to_float
from ..data.schema import Schema, as_container, as_frame
from ..errors import CalibrationWarning, CapabilityError, DataError, InvalidParameterError, SavedModelError, SchemaMismatchError, warn
from ..estimator import BATCH, load_model
from ..saved import DETECTOR, MEMORY, WEIGHTS
from ..spec import Interval, annotations, validate
from ..train.loop import FEWEST_HELD_OUT, Reporter
from ..train.reconstruction import Coder
from .neighbours import DenoisingNeighbours, by_column, columns_of

FORMAT = 4                  # of detector.json; a reader refuses a higher one
HELD_OUT = 0.2              # share of the rows that calibrate
MOST_HELD_OUT = 2_000       # more would make a p-value no more useful, unless the rate is so small that it needs them
FOLDS = 5
FEWEST = 3                  # rows: two to learn from and one to calibrate on
NORMAL_ROWS = 8             # whose values stand in for a column's, to see what it contributed
PATCHES = 7                 # along the longer side of an image, or along a signal times PATCHES
FEW_DISTINCT = 0.9          # share of different calibration scores, below which copies deserve a word
LOWEST = -1e300             # stands for −inf where a difference is taken
UNSEEN = 1e6                # what a value that no model can know takes from the score: more than any value that it can

Rate = Annotated[float, Interval(0, 1, open_low=True, open_high=True)]


class NoveltyDetector(OutlierMixin, BaseEstimator):
    """Says which rows are unlike the normal rows that it was fitted on, with a stated rate of false alarms.

    Parameters
        model : any family with a score, as an estimator that is not fitted; None = :class:`~ectype.uses.neighbours.DenoisingNeighbours`,
            the distance to the nearest rows and the error of a diffusion model's denoiser together, which detected best over tables.
        false_alarm_rate : α, the share of normal rows that may be called novel.
        calibration : how rows are set aside for the threshold: ``"split"`` (a fifth of them, at most 2,000 or 2/α), ``"cross"`` (five
            folds, six fits) or ``"auto"``: a split where it leaves at least 2/α rows, else folds.
        unseen : what a category that no normal row had does, or a blank (a cell that cannot be read) where none had one: ``"error"``, or
            ``"novel"``: its row is.
            With ``"error"`` the rate is one among rows of known values: no others calibrate. With ``"novel"`` it is one among all rows,
            and a new category counts only in columns where normal rows seldom bring one (``ignored_`` names the others).
        random_state : seed of the split and, where it has none of its own, of the model.

    Attributes after ``fit``: ``model_`` (the fitted model), ``calibration_scores_`` (sorted), ``n_calibration_`` (how many), ``offset_``
    (the threshold), ``false_alarm_rate_`` (k/(n+1), the rate that so many rows can hold), ``notes_`` (what deserves a word),
    ``normal_`` (rows that explanations borrow from), ``own_values_`` (of columns in which some normal rows have a category that no other
    row has, the share of such rows), ``ignored_`` (columns in which a new category does not count with ``unseen="novel"``),
    ``n_features_in_``, ``feature_names_in_``.

    >>> detector = NoveltyDetector(false_alarm_rate=0.01).fit(X_normal)     # doctest: +SKIP
    >>> detector.predict(X), detector.p_values(X), detector.explain(X)      # doctest: +SKIP
    """

    def __init__(self, model: Any = None, *, false_alarm_rate: Rate = 0.05, calibration: Literal["auto", "split", "cross"] = "auto",
                 unseen: Literal["error", "novel"] = "error", random_state: Any = None):
        self.model = model
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.unseen = unseen
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, kinds: Mapping[str, str] | str | None = None,
            progress: Reporter | None = None) -> NoveltyDetector:
        """Fit the model on normal rows and find the threshold; ``y`` is ignored.

        X : normal rows in any container that the model takes.  kinds, progress : as in the model's ``fit``.
        """
        validate(type(self).__name__, self.get_params(deep=False), annotations(type(self).__init__))
        model = self._prototype()
        X = as_container(X)
        schema = Schema.fit(X, kinds=kinds)
        self._check_columns(X, reset=True)
        seed = rng.as_seed(self.random_state)
        if "random_state" in model.get_params() and model.random_state is None:
            model.set_params(random_state=seed)
        groups = _identical(X, schema)
        n, enough = len(X), math.ceil(2 / float(self.false_alarm_rate))
        how = self.calibration if self.calibration != "auto" else "split" if HELD_OUT * n >= enough else "cross"
        if n < FEWEST:
            raise DataError("too few rows to learn from and to calibrate on", expected=f"at least {FEWEST}", got=f"n_samples = {n}")
        if groups.max() + 1 < FEWEST:           # nothing but copies: then copies are what new rows will be
            groups = np.arange(n)
        self._weigh_new_values(Schema.fit(take(X, np.unique(groups, return_index=True)[1]), kinds=kinds))
        parts = _parts(groups, 1 if how == "split" else min(FOLDS, groups.max() + 1), min(HELD_OUT, max(MOST_HELD_OUT, enough) / n), seed)
        if self.unseen == "error":
            parts = [known for held in parts if len(known := _known(X, groups, held, seed, kinds, fill=how == "split"))]
            if not parts:
                raise DataError("each normal row has a category that no other row has, so that none can be held out to calibrate on",
                                expected="columns whose values come again", got=_shares(self.own_values_),
                                hint='leave such columns out, or give unseen="novel"')
        judged = []
        for held in parts:
            self.model_ = clone(model).fit(take(X, np.setdiff1d(np.arange(n), held)), kinds=kinds, progress=progress)
            judged.append(self._judged(take(X, held)))
        scores, new = map(np.concatenate, zip(*judged, strict=True))
        if how == "cross":
            self.model_ = clone(model).fit(X, kinds=kinds, progress=progress)
        elif isinstance(self.model_, DenoisingNeighbours):
            self.model_.remember(take(X, held[self.model_.schema_.accepts(take(X, held))]))
        normal = take(X, rng.numpy_generator(seed, "normal rows").permutation(n)[:NORMAL_ROWS])
        self._calibrate(scores, normal, new)
        for note in self.notes_:
            warn(note, CalibrationWarning)
        return self

    def _prototype(self) -> Any:
        if self.model is None:
            return DenoisingNeighbours()
        if isinstance(self.model, DenoisingNeighbours):
            return clone(self.model)
        if "score" not in getattr(self.model, "capabilities", ()):
            raise CapabilityError(f"{type(self.model).__name__} has no score", hint="give an estimator such as ectype.VAE()")
        if self.model.get_params().get("conditional"):
            raise InvalidParameterError("a conditional model scores rows given a label, which new rows do not have",
                                        expected="conditional=False", got="conditional=True")
        return clone(self.model)

    def _weigh_new_values(self, schema: Schema) -> None:
        """How often normal rows, copies counted once, bring a category of their own, column by column."""
        counts = {b.name: b.counts[: len(b.values)] for b in schema.blocks if b.type == "category" and b.dtype != "category"}
        self.own_values_ = {name: n.count(1) / sum(n) for name, n in counts.items() if 1 in n}           # declared ones are all known

    def _calibrate(self, scores: np.ndarray, normal: Any, new: np.ndarray | None = None) -> NoveltyDetector:
        """The threshold that so many scores of normal rows give; ``normal`` are rows whose values explanations may borrow, ``new`` which
        cells ``(n, columns)`` of the calibration rows have a new category, for which nothing was taken from the score yet."""
        n = len(scores)
        if not n:
            raise DataError("there are no normal rows to calibrate on", expected="scores of at least one row", got="none",
                            hint=f"a fit holds rows out where its share of them, Train(validation=…), is {FEWEST_HELD_OUT} or more")
        self.n_calibration_, self.normal_ = n, normal
        self._scores, self._new = _ranked(scores), np.zeros((n, len(self.model_.schema_.blocks)), bool) if new is None else new
        return self.set_rate(self.false_alarm_rate)

    def set_rate(self, false_alarm_rate: float) -> NoveltyDetector:
        """Move a fitted detector to another false-alarm rate: its threshold, and the columns in which a new category counts."""
        validate(type(self).__name__, {"false_alarm_rate": false_alarm_rate}, annotations(type(self).__init__))
        self.false_alarm_rate, n, rate = false_alarm_rate, self.n_calibration_, float(false_alarm_rate)
        names = sorted(self.own_values_, key=self.own_values_.get)
        together = np.cumsum([self.own_values_[name] for name in names])
        self.ignored_ = [name for name, share in zip(names, together, strict=True) if share > rate / 2]
        self.calibration_scores_ = np.sort(self._scores - UNSEEN * self._counted(self._new).sum(1))
        k = max(1, math.floor(rate * (n + 1) + 1e-9))
        self.offset_, self.false_alarm_rate_ = float(self.calibration_scores_[k - 1]), k / (n + 1)
        needed, distinct = math.ceil(1 / rate - 1e-9) - 1, len(np.unique(self.calibration_scores_))
        self.notes_ = [] if n >= needed else [f"{n} normal rows to calibrate on hold a false-alarm rate of {1 / (n + 1):.3g}; "
                                              f"{rate:g} needs {needed}"]
        if distinct < FEW_DISTINCT * n:
            self.notes_.append(f"the {n} normal rows to calibrate on have {distinct} different scores: copies of a row say no more "
                               "than the row")
        if self.offset_ == -np.inf:
            self.notes_.append(f"no row can be novel at a false-alarm rate of {rate:g}: too many of the normal rows have no finite score")
        elif self.offset_ < -UNSEEN / 2:
            self.notes_.append(f"at a false-alarm rate of {rate:g} only rows with a new category or blank can be novel: a larger share of "
                               "the normal rows has one")
        if self.unseen == "novel" and self.ignored_:
            shares = {name: self.own_values_[name] for name in self.ignored_}
            self.notes_.append(f"a new category is not novel where normal rows often bring one: {_shares(shares)}")
        if self.unseen == "error" and sum(self.own_values_.values()) > rate:
            self.notes_.append(f"rows with a category that no other row has do not calibrate ({_shares(self.own_values_)}), and new rows "
                               'like them will be refused; unseen="novel" takes them')
        return self

    @classmethod
    def calibrated(cls, model: Any, scores: Any, normal: Any = None, *, false_alarm_rate: float = 0.05) -> NoveltyDetector:
        """A detector from a model that is fitted already and the scores of normal rows that it has not seen.

        scores : ``(n,)``, for example ``model.held_out_scores_``. Rows held out in training chose the weights, where it stopped early:
            they look a little more normal than new ones, and the rate is exact only for rows that had no part in the training.
        normal : a few normal rows, whose values explanations may borrow; not needed for autoencoders.
        """
        check_is_fitted(model)
        detector = cls(clone(model), false_alarm_rate=false_alarm_rate)
        detector._prototype()
        detector.model_ = model
        detector._check_columns(None, reset=False)
        detector._weigh_new_values(model.schema_)
        return detector._calibrate(np.asarray(scores, np.float64), normal)

    def _check_columns(self, X: Any, *, reset: bool) -> None:
        """Learn the number of features and their names (of ``X``, or those of the model), or compare in scikit-learn's way."""
        if X is None:
            self.n_features_in_ = self.model_.n_features_in_
            if hasattr(self.model_, "feature_names_in_"):
                self.feature_names_in_ = self.model_.feature_names_in_
            return
        try:
            validate_data(self, X=X, skip_check_array=True, reset=reset)
        except ValueError as error:
            raise SchemaMismatchError(str(error)) from None

    # -- judging ---------------------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        """The model's score of each row, ``(N,)``: higher = more normal. With ``unseen="novel"`` a value that normal rows cannot tell
        about takes 10⁶ from it; a row too far off to have a score has −inf."""
        scores, new = self._judged(X)
        return scores - UNSEEN * self._counted(new).sum(1)

    def _judged(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """The score of each row, ``(N,)``, and which of its cells ``(N, columns)`` have a new category, for which nothing is taken yet."""
        X, lost, new = self._given(X)
        return _ranked(self.model_.score_samples(X)) - UNSEEN * lost.sum(1), new

    def _counted(self, new: np.ndarray) -> np.ndarray:
        """The new categories in columns where normal rows seldom bring one."""
        return new & ~np.isin(self.model_.schema_.columns, self.ignored_)

    def decision_function(self, X: Any) -> np.ndarray:
        """The score minus the threshold, ``(N,)``: negative = novel."""
        scores = self.score_samples(X)
        return np.subtract(scores, self.offset_, out=np.zeros(len(scores)), where=scores != self.offset_)    # −inf − (−inf) is 0 here

    def predict(self, X: Any) -> np.ndarray:
        """+1 for a normal row and −1 for a novel one, ``(N,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Any) -> np.ndarray:
        """(1 + #{i: s_i ≤ s(x)}) / (n + 1) of each row, ``(N,)``: how likely a normal row has a score so low."""
        return self.p_values_of(self.score_samples(X))

    def p_values_of(self, scores: np.ndarray) -> np.ndarray:
        """:meth:`p_values` of scores that are known already."""
        return (1 + np.searchsorted(self.calibration_scores_, scores, side="right")) / (self.n_calibration_ + 1)

    def _given(self, X: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Rows that the model can score, which of their cells ``(N, columns)`` are blank where no normal row was, and which have a category
        that no normal row had."""
        check_is_fitted(self)
        validate(type(self).__name__, {"unseen": self.unseen}, annotations(type(self).__init__))      # set_params may have changed it
        X = as_container(X)
        schema = self.model_.schema_
        if X.ndim == 2 and schema.is_table:
            self._check_columns(X, reset=False)
        if not len(X):
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")
        if not schema.is_table:
            return X, *np.zeros((2, len(X), 1), bool)
        if schema.container == "dataframe" and isinstance(X, np.ndarray) and X.ndim == 2:
            X = as_frame(X).set_axis(schema.columns, axis=1)        # in their order, as the models take it
        filled, lost, new = _filled_in(X, schema)
        if self.unseen == "error" and (lost | new).any():
            try:
                schema.encode(X)
            except SchemaMismatchError as error:
                raise SchemaMismatchError(error.what, expected=error.expected, got=error.got, hint='correct them, or let such rows be '
                                          'novel: unseen="novel", on the command line --unseen novel') from None
        return filled, lost, new

    # -- explaining ------------------------------------------------------------------------------------------------------------

    @property
    def borrows(self) -> bool:
        """Whether explanations borrow values from normal rows: for all models but the autoencoders and the default."""
        return not isinstance(self.model_, DenoisingNeighbours) and not isinstance(self.model_.objective_, Coder)

    def explain(self, X: Any, *, progress: Reporter | None = None) -> Any:
        """How much each column contributed to a row's novelty, in units of the score: larger = more novel.

        A table gives a DataFrame ``(N, columns)``; images an array of their own shape ``(N, H, W)`` or ``(N, H, W, channels)``, signals of
        theirs. For the autoencoders the parts of a row sum to minus its score (values beyond the training range apart); for the default a
        part is the score that the row would gain if that column were restored; for the others what it gains with normal rows' values.

        progress : called, where rows are scored again for it, first of all and now and then with ``{"regions", "copies", "fraction",
            "elapsed_s"}``: columns or patches that are replaced, by those of how many normal rows, and how far that is.
        """
        X, lost, new = self._given(X)
        schema, unseen = self.model_.schema_, lost | self._counted(new)
        if self.borrows:
            return _labelled(self._covered(X, progress) + (UNSEEN * unseen if schema.is_table else 0), X, schema)
        parts = self.model_.gains(X) if isinstance(self.model_, DenoisingNeighbours) else self._squared_errors(X)
        return _labelled(parts + UNSEEN * unseen if schema.is_table else _channels_as_given(parts, schema), X, schema)

    def _squared_errors(self, X: Any) -> np.ndarray:
        """½ (x_hatₖ − xₖ)², summed over the features of each column, ``(N, columns)`` or ``(N, *stored_shape)``."""
        schema, objective = self.model_.schema_, self.model_.objective_
        errors = self.model_._by_batch(torch.from_numpy(schema.encode(X)), None, objective.errors).astype(np.float64)
        return by_column(errors, columns_of(objective.features), len(schema.blocks)) if schema.is_table else errors

    def _covered(self, X: Any, progress: Reporter | None) -> np.ndarray:
        """Mean gain in score when a column, or a patch, is replaced by those of normal rows; a patch's gain is spread over its values.

        A copy that equals its row gains nothing and is not scored: blank paper is in many patches. The others of all normal rows are scored
        together, since a handful of rows takes as long as a whole batch.
        """
        if self.normal_ is None:
            raise CapabilityError(f"{type(self.model_).__name__} is explained with the help of normal rows, of which none were kept",
                                  hint="NoveltyDetector.calibrated(…, normal=rows)")
        schema, n_normal, began = self.model_.schema_, len(self.normal_), time.monotonic()
        gains = np.zeros((len(X), X.shape[1]) if schema.is_table else X.shape)
        regions = [(i,) for i in range(X.shape[1])] if schema.is_table else _patches(X.shape[1:], schema.is_image)
        starts = range(0, len(X), BATCH // NORMAL_ROWS)
        for done, (start, region) in enumerate(itertools.product(starts, regions)):
            if progress is not None:
                progress({"regions": len(regions), "copies": n_normal, "fraction": done / (len(starts) * len(regions)),
                          "elapsed_s": time.monotonic() - began})
            if region == regions[0]:
                part = take(X, np.arange(start, min(start + BATCH // NORMAL_ROWS, len(X))))
                stored, before = (schema.encode(part) if schema.is_table else part), self._finite_scores(part)
                normal = schema.encode(self.normal_) if schema.is_table else self.normal_
            at = (slice(None), *region)
            unlike = [_unlike(stored[at], row) for row in normal[at]]
            copies = [_replaced(take(part, rows), self.normal_, i, region) for i, rows in enumerate(unlike) if len(rows)]
            change = np.zeros(len(part))
            if copies:
                rows = np.concatenate(unlike)
                scores = self._finite_scores(pd.concat(copies) if isinstance(part, pd.DataFrame) else np.concatenate(copies))
                np.add.at(change, rows, (scores - before[rows]) / n_normal)
            size = gains[(0, *region)].size
            gains[(slice(start, start + len(part)), *region)] = (change / size).reshape(-1, *(1,) * (gains[at].ndim - 1))
        return gains

    def _finite_scores(self, X: Any) -> np.ndarray:
        return np.maximum(_ranked(self.model_.score_samples(X)), LOWEST)

    # -- files -----------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write the model's folder ``path`` with ``detector.json`` in it; nothing in it executes."""
        check_is_fitted(self)
        folder = self.model_.save(path)
        schema, normal = self.model_.schema_, self.normal_
        neighbours = isinstance(self.model_, DenoisingNeighbours)
        described = {
            "format": FORMAT, "model": "neighbours" if neighbours else "family", "sha256": _digests(folder),
            "default": self.model is None, "false_alarm_rate": float(self.false_alarm_rate), "calibration": self.calibration,
            "unseen": self.unseen, "own_values": self.own_values_, "n_features_in": self.n_features_in_,
            "calibration_scores": [s if s > -np.inf else None for s in self._scores.tolist()],
            "new_values": {name: rows.tolist() for i, name in enumerate(schema.columns) if len(rows := np.flatnonzero(self._new[:, i]))},
            "feature_names_in": list(map(str, getattr(self, "feature_names_in_", []))) or None,
            "normal": None if normal is None or not len(normal) else _finite(schema.encode(normal[schema.accepts(normal)])),
        }
        new = folder / f"{DETECTOR}.new"
        new.write_text(json.dumps(described))
        os.replace(new, folder / DETECTOR)
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike, *, device: str = "auto") -> NoveltyDetector:
        """What :meth:`save` wrote. Raises :class:`SavedModelError` where the folder is incomplete, damaged, or of a newer format, or where
        the model in it is not the one that was calibrated."""
        file = Path(path) / DETECTOR
        if not file.is_file():
            raise SavedModelError(f"{path} holds no detector", expected="a folder written by NoveltyDetector.save",
                                  hint="NoveltyDetector.calibrated makes one of a fitted model")
        try:
            d = json.loads(file.read_text())
            if d["format"] > FORMAT:
                raise SavedModelError(f"{file} was written by a newer version", expected=f"format {FORMAT} or older", got=d["format"])
            _check_digests(file, d.get("sha256", {}))               # format 1 had none
            model = (DenoisingNeighbours.load if d["model"] == "neighbours" else load_model)(path, device=device)
            detector = cls(None if d["default"] else clone(model), false_alarm_rate=d["false_alarm_rate"], calibration=d["calibration"],
                           unseen=d["unseen"])
            detector.model_, detector.n_features_in_ = model, d["n_features_in"]
            detector.own_values_ = d.get("own_values", {})          # which format 2 had not
            if d["feature_names_in"]:
                detector.feature_names_in_ = np.asarray(d["feature_names_in"], dtype=object)
            schema = model.schema_
            dtype = np.uint8 if schema.is_image else np.float32
            normal = None if d["normal"] is None else schema.decode(np.array(d["normal"], dtype=np.float64).astype(dtype))
            scores = np.asarray(d["calibration_scores"], np.float64)         # null, which is −inf, becomes NaN
            new = np.zeros((len(scores), len(schema.blocks)), bool)
            for name, rows in d.get("new_values", {}).items():      # in format 3 the scores had lost for them already
                new[rows, schema.columns.index(name)] = True
            return detector._calibrate(scores, normal, new)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            if isinstance(error, SavedModelError):
                raise
            what = f"{file} is damaged ({type(error).__name__}: {error})"
            raise SavedModelError(what, hint="restore it from a copy, or fit again") from error

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        return tags


def take(X: Any, rows: np.ndarray) -> Any:
    """Some rows of a DataFrame or an array."""
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def _ranked(scores: np.ndarray) -> np.ndarray:
    """Scores that can be ordered: a row so far off that its score overflowed, which is NaN, is below all others."""
    return np.where(np.isnan(scores), -np.inf, scores)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a detector belongs to, as far as they are there."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, MEMORY) if (folder / name).is_file()}


def _check_digests(file: Path, expected: Mapping[str, str]) -> None:
    found = _digests(file.parent)
    for name, digest in expected.items():
        if name in found and found[name] != digest:
            raise SavedModelError(f"{file} was calibrated for another {name}", expected=f"sha256 {digest[:12]}…",
                                  got=f"{found[name][:12]}…", hint=f"save the detector again, or delete {DETECTOR} to use the model alone")


def _identical(X: Any, schema: Schema) -> np.ndarray:
    """The group of each row, ``(N,)``: rows with the same values are of one group."""
    stored = schema.encode(X)
    flat = np.ascontiguousarray(stored.reshape(len(stored), -1))
    keys = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
    return np.unique(keys, return_inverse=True)[1].ravel()


def _parts(groups: np.ndarray, n_parts: int, share: float, seed: int) -> list[np.ndarray]:
    """Rows that calibrate: one part of about ``share`` of the rows, or ``n_parts`` that are all of them; groups stay whole."""
    order = rng.numpy_generator(seed, "calibration").permutation(groups.max() + 1)
    if n_parts > 1:
        return [np.flatnonzero(np.isin(groups, part)) for part in np.array_split(order, n_parts)]
    sizes = np.bincount(groups)[order].cumsum()
    held = order[: max(1, np.searchsorted(sizes, share * len(groups), side="right"))]
    return [np.flatnonzero(np.isin(groups, held))]


def _known(X: Any, groups: np.ndarray, held: np.ndarray, seed: int, kinds: Any, *, fill: bool) -> np.ndarray:
    """The rows of a part whose categories some row beyond it has; with ``fill`` the next groups of :func:`_parts` in place of the rest."""
    wanted, sizes = len(held), np.bincount(groups)
    rest = rng.numpy_generator(seed, "calibration").permutation(len(sizes))
    rest = rest[~np.isin(rest, groups[held])]
    while True:
        known = held[Schema.fit(take(X, np.setdiff1d(np.arange(len(X)), held)), kinds=kinds).accepts(take(X, held))]
        more, room = [], wanted - len(known)
        for group in rest if fill else ():
            if sizes[group] <= room or not (len(known) or more):        # one that is too large is better than none
                more.append(group)
                room -= sizes[group]
        if not more:
            return known
        held = np.sort(np.r_[known, np.flatnonzero(np.isin(groups, more))])
        rest = rest[~np.isin(rest, more)]


def _shares(shares: Mapping[str, float], n: int = 5) -> str:
    """``city 12 %, …``: columns and shares of rows, the highest first."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * share:.3g} %" for name, share in ranked[:n]) + (", …" if len(ranked) > n else "")


def _filled_in(X: Any, schema: Schema) -> tuple[Any, np.ndarray, np.ndarray]:
    """Rows with ordinary values in the cells that the schema cannot encode, and which cells those are ``(N, columns)``: first those that
    are blank, then those with a category of their own."""
    absent = [c for c in schema.columns if isinstance(X, pd.DataFrame) and c not in X.columns]
    if absent:
        schema.encode(X)                        # says which columns are missing
    frame = as_frame(X)
    lost, new = np.zeros((2, len(frame), len(schema.blocks)), bool)
    filled = {}
    for i, b in enumerate(schema.blocks):
        column = frame[b.name] if schema.container == "dataframe" else frame.iloc[:, i]
        if b.type == "category":
            blank = column.isna().to_numpy()
            lost[:, i], new[:, i] = blank & (not b.missing), ~blank & ~column.astype(object).isin(b.values).to_numpy()
            ordinary = b.values[int(np.argmax(b.counts[: len(b.values)]))] if b.values else None
        else:
            lost[:, i] = np.isnan(to_float(column, b.kind, b.day_first)) & (not b.missing)
            ordinary = b.decode(np.zeros(1, np.float32)).iloc[0]
        known = ~(lost[:, i] | new[:, i])
        filled[column.name] = column if known.all() else column.astype(object).where(known, ordinary)
    if not (lost | new).any():
        return X, lost, new
    filled = pd.DataFrame(filled, index=frame.index)
    return (filled if isinstance(X, pd.DataFrame) else filled.to_numpy()), lost, new


def _unlike(values: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The rows of ``values (N, …)`` that differ from ``value (…)``; blanks do not differ from blanks."""
    same = (values == value) | ((values != values) & (value != value))
    return np.flatnonzero(~same.reshape(len(same), -1).all(1))


def _replaced(X: Any, normal: Any, i: int, region: tuple[Any, ...]) -> Any:
    """``X`` with a column (its number) or a patch (slices) of every row as in the i-th normal row."""
    if isinstance(X, pd.DataFrame):
        name = X.columns[region[0]]
        value = normal[name].iloc[[i] * len(X)].set_axis(X.index)
        return X.assign(**{name: value.astype(object) if isinstance(value.dtype, pd.CategoricalDtype) else value})
    X = X.copy()
    X[(slice(None), *region)] = normal[i][region]
    return X


def _patches(shape: tuple[int, ...], image: bool) -> list[tuple[slice, ...]]:
    """Squares that cover a picture ``(H, W, …)``, or stretches that cover a signal ``(L, …)``."""
    if not image:
        step = max(1, math.ceil(shape[0] / PATCHES**2))
        return [(slice(i, i + step),) for i in range(0, shape[0], step)]
    step = max(1, math.ceil(max(shape[:2]) / PATCHES))
    return [(slice(i, i + step), slice(j, j + step)) for i in range(0, shape[0], step) for j in range(0, shape[1], step)]


def _channels_as_given(parts: np.ndarray, schema: Schema) -> np.ndarray:
    """``(N, C, …)`` in the order of axes in which the images or signals came."""
    return np.moveaxis(parts, 1, -1) if schema.blocks[0].channels_last else parts[:, 0]


def _labelled(parts: np.ndarray, X: Any, schema: Schema) -> Any:
    if not schema.is_table:
        return parts
    return pd.DataFrame(parts, columns=schema.columns, index=X.index if isinstance(X, pd.DataFrame) else None)


def _finite(stored: np.ndarray) -> list:
    """Nested lists for JSON, which has no NaN: blanks become null."""
    return np.where(np.isnan(stored), None, stored.astype(object)).tolist() if stored.dtype.kind == "f" else stored.tolist()
