"""Everything that Ectype raises on purpose.

    EctypeError
    ├── InvalidParameterError   (ValueError)       a setting outside its domain
    ├── DataError               (ValueError)       data that cannot be used as it is
    │   ├── DataFileError                          a file that cannot be read or written
    │   ├── ColumnError                            a column that no model can learn
    │   └── SchemaMismatchError                    data unlike those that the model was fitted on
    ├── UnknownNameError        (ValueError)       no model, data set or column of that name
    ├── CapabilityError         (AttributeError)   the family cannot do that
    ├── SavedModelError         (ValueError)       a model folder that is damaged or too new
    ├── MissingExtraError       (ImportError)      an optional dependency is not installed
    └── DivergedError           (RuntimeError)     training kept leaving the finite numbers

Each also inherits the built-in that scikit-learn's conventions expect. A message says what is wrong, what was expected, what was
given, and what to do::

    >>> raise InvalidParameterError("lr is out of range", expected="a number > 0", got=-1, hint="try lr=1e-3")
    Traceback (most recent call last):
        ...
    ectype.errors.InvalidParameterError: lr is out of range: expected a number > 0, got -1
    hint: try lr=1e-3
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable

_UNSET = object()
PASSED_OVER = (__package__, "torch", "sklearn", "joblib", "contextlib", "threading", "concurrent")
"""On the way from a warning to the line of the user's that led to it."""


class EctypeError(Exception):
    """Base of every error raised on purpose; ``hint`` says what to do about it."""

    def __init__(self, what: str, *, expected: str | None = None, got: object = _UNSET, hint: str | None = None):
        self.what, self.expected, self.got, self.hint = what, expected, got, hint
        details = [] if expected is None else [f"expected {expected}"]
        if got is not _UNSET:
            details.append(f"got {got!r}" if not isinstance(got, str) else f"got {got}")
        message = what + (": " + ", ".join(details) if details else "")
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")


class InvalidParameterError(EctypeError, ValueError):
    """A setting outside its domain."""


class DataError(EctypeError, ValueError):
    """Data that cannot be used as they are."""


class DataFileError(DataError):
    """A file that cannot be read or written."""


class ColumnError(DataError):
    """A column that no model can learn; ``column`` is its name."""

    def __init__(self, column: str, what: str, **details: object):
        self.column = column
        super().__init__(what, **details)


class SchemaMismatchError(DataError):
    """Data unlike those that the model was fitted on: columns, shapes or categories differ."""


class UnknownNameError(EctypeError, ValueError):
    """No model, data set or column of that name; the hint lists near misses."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None):
        known = list(known)
        listed = ", ".join(known[:40]) + (", …" if len(known) > 40 else "")
        super().__init__(f"unknown {kind} {name!r}", expected=f"one of {listed}", hint=hint or near_miss(name, known))


class CapabilityError(EctypeError, AttributeError):
    """The family of this model cannot do that."""


class SavedModelError(EctypeError, ValueError):
    """A model folder that is incomplete, damaged, or written by a newer version."""


class MissingExtraError(EctypeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs {package}, which is not installed", hint=f"pip install 'ectype[{extra}]'")


class DivergedError(EctypeError, RuntimeError):
    """Training kept leaving the finite numbers, also at a lower rate."""


class ConditionWarning(UserWarning):
    """Rows are asked for under a condition of which the training rows tell nothing, or that is followed too strongly."""


class CalibrationWarning(UserWarning):
    """A novelty detector cannot hold the false-alarm rate that was asked for, or holds it for less than it seems."""


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """A hint at what was meant, where something known is spelt nearly so."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else None


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the user's line: that of the nearest caller outside of this package and of those that wrap its methods."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
