"""The scikit-learn face that all families share: fit, sample, transform, score, save, load.

A family's file ends in a short subclass of :class:`GenerativeModel` that names its parameters, its capabilities and its objective;
everything that a user calls is here, once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import update_wrapper
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from . import registry, rng, saved
from .data.schema import Schema, as_container
from .errors import (
    CapabilityError,
    ConditionWarning,
    DataError,
    InvalidParameterError,
    SavedModelError,
    SchemaMismatchError,
    UnknownNameError,
    warn,
)
from .spec import PRESET, Spec, Train, annotations, known_options, validate
from .train.checkpoint import remove_checkpoint, unfinished_seed
from .train.device import arithmetic, device_of, threads_for
from .train.loop import Reporter, held_out_rows, train
from .train.objective import Objective, n_parameters

MAX_CLASSES = 100           # whole numbers in y up to this many different ones are classes, not quantities
WITH_OPTIONS = {"sample", "transform", "score_samples", "log_likelihood"}       # methods to which families add options
BATCH = 1024
EXACT = 2.0**53             # up to which a float is exact about whole numbers
ROUND = 32                  # batches are filled up to a multiple of it, see _batches


class _can:
    """A method of the families that have all the ``needed`` capabilities, or one of those joined by ``|``.

    For the others the attribute does not exist: :class:`CapabilityError` is an ``AttributeError`` that says who has it.
    """

    def __init__(self, *needed: str):
        self.needed = needed

    def __call__(self, method: Callable) -> _can:
        self.method = method
        return update_wrapper(self, method)

    def __get__(self, model: GenerativeModel | None, owner: type) -> Callable:
        absent = [n for n in self.needed if not owner.capabilities & set(n.split("|"))]
        if model is None or not absent:
            return self.method if model is None else MethodType(self.method, model)
        able = [n for n in registry.names() if all(registry.load(n).capabilities & set(k.split("|")) for k in self.needed)]
        what = "has no likelihood" if absent == ["exact|bound"] else f"cannot {' and '.join(absent)}".replace("|", " or ")
        raise CapabilityError(f"{owner.__name__} {what}", hint=f"these can: {', '.join(able)}")


class GenerativeModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of the families; abstract in :meth:`build`.

    Attributes after ``fit``: ``schema_`` (what the data are), ``condition_`` (the same for ``y``, or None), ``objective_`` (the
    trained networks), ``history_`` (the training curve), ``events_`` (what happened on the way), ``stages_`` (what was found after each
    stage of the training), ``n_steps_``, ``budget_steps_`` (as a budget they repeat the run exactly), ``fit_s_``, ``train_`` (the settings
    in force), ``held_out_scores_`` (sorted scores of the rows that were held out in training), ``n_parameters_``, ``seed_``,
    ``interrupted_``, ``n_features_in_``, ``feature_names_in_``.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """Of: sample, condition, encode, decode, denoise, impute, score, exact, bound (the last two: what ``log_likelihood`` is)."""
    containers: ClassVar[frozenset[str]] = frozenset({"table", "images", "signals"})
    """What kinds of data the family takes."""
    preset: ClassVar[Train] = PRESET
    """What ``None`` means in ``train``."""
    presets: ClassVar[Mapping[str, Train]] = {}
    """The same for single containers, where another setting does better."""
    sampling_presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Other samplers from the same weights, by name, as options of :meth:`sample`."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in WITH_OPTIONS & vars(cls).keys():
            if inspect.isfunction(vars(cls)[name]):
                setattr(cls, name, known_options(vars(cls)[name]))

    def build(self, schema: Schema, condition: Schema | None) -> Objective:
        """The family's objective with fresh networks for such data."""
        raise NotImplementedError

    def training_of(self, schema: Schema) -> Train:
        """The settings of training in force for such data."""
        return self.train.over(self.presets.get("table" if schema.is_table else schema.container, self.preset))

    # -- fitting ---------------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, kinds: Mapping[str, str] | str | None = None, run: str | os.PathLike | None = None,
            progress: Reporter | None = None) -> GenerativeModel:
        """Learn the distribution of the rows of ``X``; of ``X`` given ``y`` where ``conditional=True``, else ``y`` is ignored.

        X : DataFrame or array ``(N, columns)``, images ``(N, H, W)`` or ``(N, H, W, channels)``, signals ``(N, L)`` or ``(N, L, channels)``
        y : labels or quantities ``(N,)``; used only by a conditional model, to which a blank is a value of its own.
        kinds : overrides the inferred kind of single columns, such as ``{"zip": "categorical"}``; ``"signal"`` says that X are signals.
        run : folder for checkpoints; an unfinished run of the same model on the same data found there is continued.
        progress : called now and then with ``{"step", "fraction", "elapsed_s", "held_out"}``.

        Ctrl-C ends training early and leaves a usable model; the interrupt is then raised again.
        """
        validate(type(self).__name__, self.get_params(deep=False), annotations(type(self).__init__))
        self.schema_ = Schema.fit(X, kinds=kinds)
        if not any(b.varies for b in self.schema_.blocks):
            raise DataError("there is nothing to learn: every column has one value only", got=f"{len(self.schema_.blocks)} such columns")
        container = "table" if self.schema_.is_table else self.schema_.container
        if container not in self.containers:
            able = ", ".join(n for n in registry.names() if container in registry.load(n).containers)
            raise InvalidParameterError(f"{type(self).__name__} cannot learn from {'a table' if container == 'table' else container}",
                                        expected=" or ".join(sorted(self.containers)), got=container, hint=f"these can: {able}")
        x = self._encode(X, reset=True)
        self.condition_, c = self._fit_condition(y, len(x))
        folder = Path(run) if run is not None else None
        unfinished = unfinished_seed(folder) if folder is not None and self.random_state is None else None
        self.seed_ = rng.as_seed(self.random_state) if unfinished is None else unfinished
        self.train_ = self.training_of(self.schema_)
        with rng.preserved():
            rng.reseed(self.seed_, "weights")
            self.objective_ = self.build(self.schema_, self.condition_)
        self.n_parameters_ = n_parameters(self.objective_)
        outcome = train(self.objective_, x, c, self.train_, self.seed_, folder=folder, report=progress,
                        fingerprint=self._fingerprint(x, c) if folder else "")
        self.history_, self.events_, self.n_steps_, self.fit_s_ = outcome.history, outcome.events, outcome.steps, outcome.seconds
        self.budget_steps_, self.interrupted_ = outcome.budget_steps, outcome.interrupted
        self.stages_ = outcome.stages
        held = held_out_rows(len(x), self.train_, self.seed_)
        scores = self._scores(x[held], None if c is None else c[held]) if "score" in self.capabilities and len(held) else np.zeros(0)
        self.held_out_scores_ = np.sort(np.where(np.isnan(scores), -np.inf, scores))
        if outcome.interrupted:
            raise KeyboardInterrupt
        return self

    def _encode(self, X: Any, *, reset: bool = False) -> torch.Tensor:
        """Stored rows; the number of features and their names are learnt (``reset``) or checked in scikit-learn's way."""
        X = as_container(X)
        if reset or (X.ndim == 2 and self.schema_.is_table):
            try:
                validate_data(self, X=X, skip_check_array=True, reset=reset)
            except ValueError as error:
                raise SchemaMismatchError(str(error)) from None
        return torch.from_numpy(self.schema_.encode(X))

    def _fit_condition(self, y: Any, n: int) -> tuple[Schema | None, torch.Tensor | None]:
        if not self.conditional:
            return None, None
        if y is None:
            raise InvalidParameterError(f"a conditional {type(self).__name__} needs labels", expected="y with one value for each row",
                                        got="None", hint="fit(X, y), or conditional=False")
        values = _labels(y)
        if len(values) != n:
            raise DataError("X and y differ in length", expected=f"{n} labels", got=len(values))
        condition = condition_schema(values)
        return condition, torch.from_numpy(condition.encode(values.to_frame()))

    def _fingerprint(self, x: torch.Tensor, c: torch.Tensor | None) -> str:
        settings = saved.to_json(self.get_params(deep=False))
        digest = hashlib.sha256(json.dumps([saved.FORMAT, type(self).__name__, settings, self.seed_]).encode())
        for v in (x, c):
            digest.update(b"" if v is None else v.numpy().tobytes())
        return digest.hexdigest()

    # -- generating ------------------------------------------------------------------------------------------------------------

    @known_options
    def sample(self, n: int = 1, *, condition: Any = None, random_state: Any = None, batch_size: int = BATCH) -> Any:
        """``n`` new rows, in the container, columns and dtypes of the training data.

        condition : for a conditional model, one value for all rows or one for each. A number far outside of those of the training rows
            (of a skewed column, any outside) is warned of: :class:`~ectype.errors.ConditionWarning`.
        random_state : an int gives the same rows every time, whatever the ``batch_size``; the first k of n rows are the k rows of ``n=k``.
        batch_size : rows computed at once; changes memory and speed, never a row.
        """
        return self._sample(n, condition, random_state, batch_size)

    def evaluations(self, **options: Any) -> int:
        """Network evaluations that one sample costs with these options of :meth:`sample` (NFE)."""
        return 1

    @torch.no_grad()
    def _sample(self, n: int, condition: Any, random_state: Any, batch_size: int, **options: Any) -> Any:
        check_is_fitted(self)
        for name, value in (("n", n), ("batch_size", batch_size)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise InvalidParameterError(f"{name} is out of its domain", expected="an int >= 1", got=repr(value))
        c = self._encode_condition(condition, n)
        self._warn_if_far(condition)
        seed = rng.as_seed(random_state)
        batch_size = -(-batch_size // rng.Rows.BLOCK) * rng.Rows.BLOCK
        parts = []
        with threads_for(self.objective_, self.train_.threads), arithmetic(self.objective_, self._device, self.train_.precision)():
            for start in range(0, n, batch_size):
                size = -(-min(batch_size, n - start) // ROUND) * ROUND
                rows = rng.Rows(seed, start, size, self._device)
                rows_c = None if c is None else c[torch.arange(start, start + size).clamp(max=n - 1)]
                parts.append(self.objective_.sample(rows, rows_c, **options).cpu())
        return self.schema_.decode(torch.cat(parts)[:n].numpy())

    def _warn_if_far(self, condition: Any) -> None:
        """Of a quantity under which rows are made, not of one that comes with a row: of such a row the score tells."""
        block = self.condition_.blocks[0] if self.condition_ is not None else None
        if block is not None and block.type == "number":
            far = block.far(_labels(condition if pd.api.types.is_list_like(condition) else [condition]))
            if far is not None:
                warn(f"{far}: what is drawn there is a guess", ConditionWarning)

    def _encode_condition(self, condition: Any, n: int) -> torch.Tensor | None:
        if self.condition_ is None:
            if condition is not None:
                raise InvalidParameterError(f"this {type(self).__name__} is not conditional", expected="no condition", got=repr(condition),
                                            hint="fit with conditional=True and y")
            return None
        block = self.condition_.blocks[0]
        if condition is None:
            known = f", one of {', '.join(map(str, block.values))}" if block.type == "category" else ""
            raise InvalidParameterError(f"this {type(self).__name__} is conditional", expected=f"a condition ({block.name}{known})",
                                        got="None")
        values = condition if pd.api.types.is_list_like(condition) else [condition] * n
        if len(values) != n:
            raise InvalidParameterError("the condition has another length", expected=f"one value, or {n}", got=len(values))
        values = _labels(values)
        if block.type == "category":            # "3" on a command line is the class 3
            by_text = {str(v): v for v in block.values}
            values = values.astype(object).where(values.notna(), None)
            values = pd.Series([v if v is None or v in block.values else by_text.get(str(v), v) for v in values], dtype=object)
        return torch.from_numpy(self.condition_.encode(values.to_frame(block.name))).to(self._device)

    # -- codes -----------------------------------------------------------------------------------------------------------------

    def transform(self, X: Any, condition: Any = None) -> np.ndarray:
        """The code of each row, ``(N, latent_dim)`` float32."""
        return self._by_batch(*self._given(X, condition), self.objective_.encode)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """``fit``, then ``transform``."""
        return self.fit(X, y, **fit_params).transform(X, y if self.conditional else None)

    @_can("encode")
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the codes: the class's name in small letters and a number."""
        return super().get_feature_names_out(input_features)

    @_can("encode", "decode")
    def inverse_transform(self, X: Any, condition: Any = None) -> Any:
        """Rows from codes ``(N, latent_dim)``."""
        check_is_fitted(self)
        codes = torch.from_numpy(np.array(X, np.float32)).to(self._device)
        if codes.ndim != 2 or codes.shape[1] != self._n_features_out:
            raise SchemaMismatchError("codes of another width", expected=f"(N, {self._n_features_out})", got=tuple(codes.shape))
        if not len(codes):
            raise DataError("there are no codes", expected="at least one row", got=tuple(codes.shape))
        c = self._encode_condition(condition, len(codes))
        self._warn_if_far(condition)
        with torch.no_grad(), threads_for(self.objective_, self.train_.threads):
            parts = [self.objective_.decode(codes[rows], None if c is None else c[rows]).cpu() for rows in batches(len(codes))]
        return self.schema_.decode(torch.cat(parts)[: len(codes)].numpy())

    @_can("encode", "decode")
    def reconstruct(self, X: Any, condition: Any = None) -> Any:
        """Each row encoded and decoded."""
        return self._rebuilt(X, condition)

    @_can("denoise")
    def denoise(self, X: Any, condition: Any = None) -> Any:
        """Noisy rows restored, in the container, columns and dtypes of the training data. Pixels beyond their range are cut to it."""
        check_is_fitted(self)
        if self.schema_.is_image:
            X = np.clip(as_container(X), 0, self.schema_.blocks[0].top)
        return self._rebuilt(X, condition)

    def _rebuilt(self, X: Any, condition: Any) -> Any:
        rows = self.schema_.decode(self._by_batch(*self._given(X, condition), self.objective_.reconstruct))
        return rows.set_axis(X.index, axis=0) if isinstance(rows, pd.DataFrame) and isinstance(X, pd.DataFrame) else rows

    # -- scores ----------------------------------------------------------------------------------------------------------------

    @_can("score")
    @known_options
    def score_samples(self, X: Any, condition: Any = None) -> np.ndarray:
        """A score for each row, ``(N,)``: higher = more like the training data. :meth:`log_likelihood` where the family has one; what it
        measures in the others is said by them."""
        return self._scores(*self._given(X, condition))

    def _scores(self, x: torch.Tensor, c: torch.Tensor | None) -> np.ndarray:
        if self.capabilities & {"exact", "bound"}:
            return self._log_likelihoods(x, c)
        return self._own_scores(x, c)

    def _own_scores(self, x: torch.Tensor, c: torch.Tensor | None) -> np.ndarray:
        """The objective's score, which is no likelihood."""
        values = self._by_batch(x, c, lambda x, c: self.objective_.score(x, c, self._shared(len(x)))).astype(np.float64)
        return values - self.schema_.beyond(x.numpy()) if self.schema_.is_table else values

    @_can("score")
    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples`; ``y`` is the condition of a conditional model, else ignored."""
        return float(self.score_samples(X, condition=y if self.conditional else None).mean())

    @_can("exact|bound")
    @known_options
    def log_likelihood(self, X: Any, condition: Any = None) -> np.ndarray:
        """log p(x) of each row, ``(N,)``, in nats, or a lower bound of it (``"bound" in capabilities``).

        A density in the user's units for continuous values, a probability for the others (categories, counts, spikes, pixels). A count
        beyond the training range has the probability of the nearest one in it, times e^{−d²/2} at d standard units from it.
        """
        return self._log_likelihoods(*self._given(X, condition))

    def _log_likelihoods(self, x: torch.Tensor, c: torch.Tensor | None, **options: Any) -> np.ndarray:
        values = self._by_batch(x, c, lambda x, c: self.objective_.log_prob(x, c, self._shared(len(x)), **options))
        return values.astype(np.float64) + self._in_users_units(x)

    def _in_users_units(self, x: torch.Tensor) -> np.ndarray:
        """What turns log p of stored rows into that of the user's values, ``(N,)``."""
        shift = self.schema_.log_derivative(x.numpy())
        return shift - self.schema_.beyond(x.numpy()) if self.schema_.is_table else shift

    @property
    def likelihood_(self) -> str | None:
        """What :meth:`log_likelihood` is for this model of these data: ``"exact"``, ``"bound"`` or None."""
        return next((kind for kind in ("exact", "bound") if kind in self.capabilities), None)

    def _shared(self, n: int) -> rng.Shared:
        return rng.Shared(0, n, self._device)

    def _given(self, X: Any, condition: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Rows and conditions that a user gave, stored."""
        check_is_fitted(self)
        x = self._encode(X)
        if not len(x):
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")
        return x, self._encode_condition(condition, len(x))

    @torch.no_grad()
    def _by_batch(self, x: torch.Tensor, c: torch.Tensor | None, function: Callable) -> np.ndarray:
        with threads_for(self.objective_, self.train_.threads):
            parts = [function(x[rows].to(self._device), None if c is None else c[rows].to(self._device)).cpu() for rows in batches(len(x))]
        return torch.cat(parts)[: len(x)].numpy()

    @property
    def _device(self) -> torch.device:
        return next(self.objective_.parameters()).device

    @property
    def _n_features_out(self) -> int:
        return self.objective_.latent_dim

    # -- parameters --------------------------------------------------------------------------------------------------------------

    def set_params(self, **params: Any) -> GenerativeModel:
        """As in scikit-learn; ``train__lr=…`` replaces the frozen spec ``train`` by a changed copy."""
        plain = {k: v for k, v in params.items() if "__" not in k}
        super().set_params(**plain)
        known = self.get_params(deep=False)
        for key, value in params.items():
            name, separator, setting = key.partition("__")
            if not separator:
                continue
            if not isinstance(known.get(name), Spec):
                raise InvalidParameterError(f"Invalid parameter {name!r} for estimator {type(self).__name__}",
                                            expected=f"one of {', '.join(known)}")
            setattr(self, name, getattr(self, name)(**{setting: value}))
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = tags.input_tags.string = True
        tags.input_tags.two_d_array = "table" in self.containers
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = []              # codes are float32 whatever the rows are
        tags.non_deterministic = False
        return tags

    # -- files -------------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write ``path/model.safetensors`` and ``path/model.json``; nothing in them executes. Whatever model is there, of this family or
        another, is replaced as one, as files are by joblib or torch; a novelty detector that belonged to it goes."""
        check_is_fitted(self)
        folder = saved.write(path, "model", self.objective_, {
            "model": family_name(self), "params": saved.to_json(self.get_params(deep=False)),
            "schema": self.schema_.to_dict(), "condition": self.condition_.to_dict() if self.condition_ else None,
            "train": asdict(self.train_), "seed": self.seed_, "steps": self.n_steps_, "budget_steps": self.budget_steps_,
            "fit_s": round(self.fit_s_, 3), "stages": self.stages_, "held_out_scores": self.held_out_scores_.tolist(),
            "parameters": self.n_parameters_, "interrupted": self.interrupted_, "history": self.history_, "events": self.events_,
            "n_features_in": self.n_features_in_, "feature_names_in": list(getattr(self, "feature_names_in_", [])) or None,
        })
        if not self.interrupted_:
            remove_checkpoint(folder)
        return folder


def family_name(model: GenerativeModel) -> str:
    """The name under which a model's class is registered. Raises :class:`CapabilityError` where it is not."""
    target = f"{type(model).__module__}:{type(model).__name__}"
    name = next((e.name for e in registry.FAMILIES.values() if e.target == target), None)
    if name is None:
        raise CapabilityError(f"{type(model).__name__} is not in the registry, so that it could not be loaded again",
                              hint="add it to ectype.registry.FAMILIES")
    return name


# Not as decorators: scikit-learn's set_output wraps these two when the class is made, and would leave a plain function.
GenerativeModel.transform = _can("encode")(known_options(GenerativeModel.transform))
GenerativeModel.fit_transform = _can("encode")(GenerativeModel.fit_transform)


def load(path: str | os.PathLike, *, device: str = "auto") -> GenerativeModel:
    """The model that :meth:`GenerativeModel.save` wrote, on the ``device`` where it shall run.

    Raises :class:`SavedModelError` where the folder is incomplete, damaged, of a newer format, or holds something else, such as a novelty
    detector; the message names what reads it.
    """
    if (Path(path) / saved.DETECTOR).is_file():
        raise SavedModelError(f"{path} holds a novelty detector", expected="a model",
                              hint="ectype.NoveltyDetector.load reads it; its attribute model_ is the model")
    return load_model(path, device=device)


def load_model(path: str | os.PathLike, *, device: str = "auto") -> GenerativeModel:
    """:func:`load` of the model in a folder, whether a novelty detector uses it or not."""
    d, weights = saved.read(path, "model")
    try:
        cls = registry.load(d["model"])
        model = cls(**saved.from_json(d["params"]))
        model.schema_ = Schema.from_dict(d["schema"])
        model.condition_ = Schema.from_dict(d["condition"]) if d["condition"] else None
        model.train_, model.seed_, model.n_steps_, model.fit_s_ = Train(**saved.tuples(d["train"])), d["seed"], d["steps"], d["fit_s"]
        model.n_parameters_, model.budget_steps_, model.interrupted_ = d["parameters"], d["budget_steps"], d["interrupted"]
        model.history_, model.events_, model.stages_ = d["history"], d["events"], d["stages"]
        model.held_out_scores_ = np.array([-np.inf if v is None else v for v in d["held_out_scores"]], np.float64)  # JSON has no −inf
        model.n_features_in_ = d["n_features_in"]
        if d["feature_names_in"]:
            model.feature_names_in_ = np.asarray(d["feature_names_in"], dtype=object)
        with rng.preserved():
            model.objective_ = model.build(model.schema_, model.condition_)
        model.objective_.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, InvalidParameterError, UnknownNameError) as error:
        what = f"{path} is damaged ({type(error).__name__}: {error})"
        raise SavedModelError(what, hint="restore it from a copy, or fit again") from error
    model.objective_.to(device_of(device), memory_format=torch.channels_last).eval()
    return model


def condition_schema(y: Any) -> Schema:
    """What labels or quantities are that a model is conditioned on, by the name that they bring. A blank is a value of its own."""
    values = _labels(y)
    blank = int(values.isna().sum())
    known = values.dropna()
    if values.dtype.kind == "f" and blank and ((known % 1 == 0) & (known.abs() < EXACT)).all():        # whole numbers, kept as 2.0
        values = values.astype("Int64")
    whole = values.dtype.kind in "iu" and values.nunique() <= MAX_CLASSES
    schema = Schema.fit(values.to_frame(), kinds={values.name: "categorical"} if whole else None)
    if not blank:
        return schema
    note = f"{values.name}: blank in {blank:,} of {len(values):,} rows; a blank is learnt as one more condition"
    return replace(schema, notes=(*schema.notes, note))


def _labels(y: Any) -> pd.Series:
    """Labels as a column; one that has no name is called so."""
    values = y.reset_index(drop=True) if isinstance(y, pd.Series) else pd.Series(np.asarray(y).reshape(len(y)))
    return values.rename("label" if values.name is None else str(values.name))


def batches(n: int) -> list[torch.Tensor]:
    """Indices of n rows in batches; the last row is repeated up to a round number.

    The kernels for a handful of rows add in another order than those for many: filled up, a row has one result, alone or among others.
    """
    return [torch.arange(s, min(s + BATCH, -(-n // ROUND) * ROUND)).clamp(max=n - 1) for s in range(0, n, BATCH)]
