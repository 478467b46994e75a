"""Imputation and inpainting: what is known of a row stays as it is, and the rest is drawn from the model given it.

Of a table, the blanks are what is unknown: every NaN, None or NaT is filled, also in columns where the training rows had blanks. Of images
and signals a mask says which pixels are known. The result is *one* draw, not a best guess: draws of different seeds differ as much as the
model is uncertain (multiple imputation; Rubin, *Multiple imputation for nonresponse in surveys*, 1987).

A family can do this when its objective has ``impute(x, known, banned, noise, c, **options)``; the diffusion model's is RePaint
(:func:`ectype.prob.solvers.inpaint`).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pandas.tseries.api import guess_datetime_format
from sklearn.utils.validation import check_is_fitted

from .. import registry, rng
from ..data.blocks import to_float
from ..data.schema import Schema, as_container, as_frame
from ..errors import CapabilityError, DataError, InvalidParameterError
from ..estimator import BATCH, ROUND, GenerativeModel
from ..prob.relax import Relaxation
from ..spec import Interval, PositiveInt, annotations, known_options, validate
from ..train.device import arithmetic, threads_for


@known_options
def impute(model: GenerativeModel, X: Any, *, known: Any = None, condition: Any = None,
           random_state: Any = None, steps: Annotated[int, Interval(1, 10_000)] = 250, resample: PositiveInt = 5) -> Any:
    """``X`` with its unknown part drawn from p(unknown | known), in the same container; what is known is untouched.

    X : rows with blanks, for a model of a table; images or signals.
    known : of images ``(N, H, W)``, ``(H, W)``, of signals ``(N, L)``, ``(L,)``: true where the pixel or sample is known.
    condition : of the rows, for a conditional model.
    steps : of the reverse chain.
    resample : times that each step is taken, until the unknown part agrees with the known one; each costs an evaluation of the network.

    Raises :class:`CapabilityError` for a family that cannot, :class:`DataError` where nothing is known of a row,
    :class:`InvalidParameterError` for a mask of another shape.
    """
    check_is_fitted(model)
    if "impute" not in model.capabilities:
        able = ", ".join(n for n in registry.names() if "impute" in registry.load(n).capabilities)
        raise CapabilityError(f"{type(model).__name__} cannot impute", hint=f"these can: {able}")
    given = {"steps": steps, "resample": resample}
    validate("impute", given, {k: v for k, v in annotations(impute).items() if k in given})
    names = X.columns if isinstance(X, pd.DataFrame) else None
    X, schema = as_container(X), model.schema_
    if schema.is_table:
        if known is not None:
            raise InvalidParameterError("the unknown part of a table is where it is blank", expected="no mask", got="known=…")
        filled, blank = filled_in(X, schema)
    else:
        blank = ~_mask(known, X.shape[: 3 if schema.is_image else 2])
        filled = np.where(_over(blank, X), 0, X).astype(X.dtype)        # what is unknown may be NaN
    if not len(X):
        raise DataError("there are no rows", expected="at least one", got="none")
    able = [i for i, b in enumerate(schema.blocks) if b.type != "category" or b.values] if schema.is_table else slice(None)
    lost = np.flatnonzero(blank[:, able].reshape(len(blank), -1).all(1))
    if len(lost):
        raise DataError(f"nothing is known of {'row' if len(lost) == 1 else 'rows'} {', '.join(map(str, lost[:5]))}",
                        expected="something that is known in every row", hint="sample() draws whole rows")
    x = model._encode(filled)
    mask, banned = _features(blank, model.objective_.features, schema)
    drawn = _drawn(model, x, mask, banned, model._encode_condition(condition, len(X)), rng.as_seed(random_state), given)
    rows = schema.decode(drawn)
    return _merged(X, rows, blank, schema, names)


@torch.no_grad()
def _drawn(model: GenerativeModel, x: torch.Tensor, known: torch.Tensor, banned: torch.Tensor, c: torch.Tensor | None, seed: int,
           options: dict[str, int]) -> np.ndarray:
    """Stored rows; a row does not depend on the others or on the batch."""
    objective, device, n, parts = model.objective_, model._device, len(x), []
    with threads_for(objective, model.train_.threads), arithmetic(objective, device, model.train_.precision)():
        for start in range(0, n, BATCH):
            size = -(-min(BATCH, n - start) // ROUND) * ROUND
            rows = torch.arange(start, start + size).clamp(max=n - 1)
            noise, given = rng.Rows(seed, start, size, device), None if c is None else c[rows]
            taken = (v[rows].to(device) for v in (x, known, banned))
            parts.append(objective.impute(*taken, noise, given, **options).cpu())
    return torch.cat(parts)[:n].numpy()


def filled_in(X: Any, schema: Schema) -> tuple[Any, np.ndarray]:
    """Rows of a table with an ordinary value in every blank, and where the blanks were, ``(N, columns)``."""
    frame = as_frame(X)
    blank, filled = np.zeros((len(frame), len(schema.blocks)), bool), {}
    for i, b in enumerate(schema.blocks):
        column = frame[b.name] if schema.container == "dataframe" and b.name in frame.columns else frame.iloc[:, i]
        if b.type == "category":
            if not b.values:                # nothing is known of such a column: it stays blank
                filled[column.name] = column
                continue
            blank[:, i] = column.isna().to_numpy()
            ordinary = b.values[int(np.argmax(b.counts[: len(b.values)]))]
        else:
            blank[:, i] = np.isnan(to_float(column, b.kind, b.day_first))
            ordinary = b.decode(np.zeros(1, np.float32)).iloc[0]
        filled[column.name] = column if not blank[:, i].any() else column.astype(object).where(~blank[:, i], ordinary)
    frame = pd.DataFrame(filled, index=frame.index)
    return (frame if isinstance(X, pd.DataFrame) else frame.to_numpy()), blank


def _mask(known: Any, wanted: tuple[int, ...]) -> np.ndarray:
    """The mask, one for all or one for each, as one for each: ``wanted`` is ``(N, H, W)`` or ``(N, L)``."""
    if known is None:
        raise InvalidParameterError("a mask is needed", expected=f"known, true where a value is known, of shape {wanted[1:]} or {wanted}",
                                    got="None")
    mask = np.asarray(known)
    if mask.shape not in (wanted, wanted[1:]):
        raise InvalidParameterError("the mask has another shape", expected=f"{wanted[1:]} or {wanted}", got=mask.shape)
    if not np.isin(mask, (0, 1)).all():
        raise InvalidParameterError("the mask is not of true and false", expected="true or 1 where a value is known, false or 0 elsewhere",
                                    got=next(v for v in mask.ravel().tolist() if v not in (0, 1)))
    return np.broadcast_to(mask.astype(bool), wanted)


def _over(blank: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The places of pixels or samples as those of ``X``, which may have channels."""
    return blank.reshape(*blank.shape, *[1] * (X.ndim - blank.ndim))


def _features(blank: np.ndarray, features: Relaxation, schema: Schema) -> tuple[torch.Tensor, torch.Tensor]:
    """Which features are known, and which an imputed value must not take (that it is missing), each as 1 and 0."""
    if not schema.is_table:
        mask = torch.from_numpy(~blank).float()[:, None].expand(-1, features.shape[0], *blank.shape[1:]).contiguous()
        return mask, torch.zeros_like(mask)
    column = features.column.cpu().numpy()
    unknown = blank[:, column]
    marks = slice(features.n_numbers, features.n_numbers + features.n_marks)
    unknown[:, marks] = False                                       # whatever it is, it is not blank
    one_valued = [i for i, b in enumerate(schema.blocks) if b.type == "category" and len(b.values) == 1]
    unknown[:, np.isin(column, one_valued)] = False                 # blank or its only value: not blank
    banned = np.zeros_like(unknown)
    start = features.n_numbers + features.n_signs
    for b in (b for b in schema.blocks if b.type == "category" and b.n_codes > 2):
        start += b.n_codes
        banned[:, start - 1] = b.n_codes > len(b.values)            # the last code is that of a blank
    return torch.from_numpy(~unknown).float(), torch.from_numpy(banned & unknown).float()


def _in_words(drawn: pd.Series, known: pd.Series, day_first: bool) -> pd.Series:
    """Drawn dates as text where known ones are text, in the form of the first that tells its form."""
    texts = [v for v in known if isinstance(v, str)]
    if not texts:
        return drawn
    form = next(filter(None, (guess_datetime_format(text.strip(), dayfirst=day_first) for text in texts)), None)
    return (drawn.dt.strftime(form) if form else drawn.astype(str)).astype(object)


def _merged(X: Any, rows: Any, blank: np.ndarray, schema: Schema, given: Any) -> Any:
    """The given values where there are some, and the drawn ones elsewhere, under the names ``given``."""
    if not schema.is_table:
        return np.where(_over(blank, X), rows, X).astype(X.dtype)
    if isinstance(X, pd.DataFrame):
        merged = X.copy()
        for i, b in enumerate(schema.blocks):
            if blank[:, i].any():
                drawn = rows.iloc[:, i].set_axis(X.index)
                if b.kind == "datetime":
                    drawn = _in_words(drawn, X[b.name][~blank[:, i]], b.day_first)
                merged[b.name] = X[b.name].astype(object).where(~blank[:, i], drawn.astype(object)).astype(drawn.dtype)
        return merged.set_axis(given, axis=1)
    return np.where(blank, rows, X).astype(rows.dtype if X.dtype == object and rows.dtype != object else X.dtype)
