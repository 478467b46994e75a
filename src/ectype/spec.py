"""Settings: frozen specs and the constraints on them, one source for constructor, ``get_params``, configuration and flags.

A constraint is part of the annotation, so that a class says once what it takes::

    lr: Annotated[float, Interval(0, 1, open_low=True)] = 1e-3

From that one line come the check (:func:`validate`), its message, the flag of the command line, and the invalid values that the
tests try (:func:`invalid_examples`). A :class:`Spec` is a frozen group of settings that an estimator takes as one parameter; it
speaks scikit-learn's ``get_params``, so that ``train__lr`` works in a grid search, and it is immutable, so that it can be a default.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from .errors import InvalidParameterError, UnknownNameError, near_miss


@dataclass(frozen=True)
class Interval:
    """The numbers between ``low`` and ``high``; ``None`` is unbounded."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, v: float) -> bool:
        above = self.low is None or (v > self.low if self.open_low else v >= self.low)
        below = self.high is None or (v < self.high if self.open_high else v <= self.high)
        return above and below

    def __str__(self) -> str:
        if self.high is None:
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        low = "-inf" if self.low is None else f"{self.low:g}"
        return f"in {'(' if self.open_low else '['}{low}, {self.high:g}{')' if self.open_high else ']'}"

    def outside(self) -> list[float]:
        """Values just outside, for the tests."""
        low = [] if self.low is None else [self.low if self.open_low else self.low - 1]
        return low + ([] if self.high is None else [self.high if self.open_high else self.high + 1])


Positive = Interval(0, open_low=True)
PositiveInt = Annotated[int, Interval(1)]
PositiveFloat = Annotated[float, Positive]
Share = Annotated[float, Interval(0, 1, open_high=True)]


@dataclass(frozen=True)
class Budget:
    """How long to train: ``seconds`` or ``steps``, one of the two; ``stages`` are the steps of each stage of a staged training."""

    seconds: float | None = None
    steps: int | None = None
    stages: tuple[int, ...] = dataclasses.field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``"90s"``, ``"1.5m"``, ``"2h"``, ``"2000steps"``, or ``"300+300+900steps"`` for a training of three stages.

        >>> Budget.parse("1.5m")
        Budget(seconds=90.0, steps=None)
        """
        match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|steps?)\s*", str(text))
        if match:
            value, unit = float(match[1]), match[2]
            if unit.startswith("st") and value >= 1 and value == int(value):
                return cls(steps=int(value))
            if not unit.startswith("st") and value > 0:
                return cls(seconds=value * {"s": 1, "m": 60, "h": 3600}[unit[0]])
            raise InvalidParameterError("the budget is out of its domain", got=repr(text),
                                        expected="a whole number of steps >= 1" if unit.startswith("st") else "a time > 0")
        if match := re.fullmatch(r"\s*([1-9]\d*(?:\+[1-9]\d*)+)\s*steps\s*", str(text)):
            stages = tuple(map(int, match[1].split("+")))
            return cls(steps=sum(stages), stages=stages)
        raise InvalidParameterError("the budget cannot be read", expected="seconds, minutes, hours or steps", got=repr(text),
                                    hint='for example "60s", "5m" or "2000steps"')

    def part(self, i: int, shares: Sequence[float]) -> Budget:
        """The budget of stage ``i`` of a training whose stages take ``shares`` of the whole, which sum to one."""
        if self.stages and len(self.stages) != len(shares):
            raise InvalidParameterError("the budget has another number of stages", expected=f"{len(shares)}, or one number",
                                        got="+".join(map(str, self.stages)))
        if len(shares) == 1:
            return self
        if self.stages:
            return Budget(steps=self.stages[i])
        if self.seconds is not None:
            return Budget(seconds=self.seconds * shares[i])
        return Budget(steps=max(1, round(self.steps * sum(shares[: i + 1])) - round(self.steps * sum(shares[:i]))))


def annotations(target: Any) -> dict[str, Any]:
    """Resolved annotations of a class's fields or a function's parameters, constraints included."""
    hints = typing.get_type_hints(target, include_extras=True)
    return {k: v for k, v in hints.items() if k != "return"}


def validate(owner: str, values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise :class:`InvalidParameterError` for the first value that its annotation does not admit."""
    for name, value in values.items():
        if name in hints and not conforms(value, hints[name]):
            raise InvalidParameterError(f"The {name!r} parameter of {owner} is out of its domain", expected=describe(hints[name]),
                                        got=repr(value))


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value is admitted by an annotation."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return conforms(value, args[0]) and all(value in c for c in args[1:] if isinstance(c, Interval))
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, a) for a in args)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(conforms(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(conforms, value, args))
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return type(value).__name__ in ("bool", "bool_", "numpy.bool")
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value
    return isinstance(value, origin or hint)


def describe(hint: Any) -> str:
    """An annotation in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return " ".join([describe(args[0]), *(str(c) for c in args[1:] if isinstance(c, Interval))])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin is tuple:
        if Ellipsis in args:
            return f"a tuple of values, each {describe(args[0])}"
        return f"a tuple of {len(args)} values, each {' or '.join(dict.fromkeys(map(describe, args)))}"
    names = {Any: "anything", int: "an int", float: "a number", bool: "True or False", str: "text", os.PathLike: "a path",
             type(None): "None"}
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")


def known_options(function: Callable) -> Callable:
    """The function, or method, with :class:`InvalidParameterError` for an option that it has not, in place of a bare ``TypeError``."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):        # what it passes on, others know
        return function
    known = [p.name for p in parameters if p.name != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in known:
                whose = f"{type(args[0]).__name__}.{function.__name__}" if len(args) and "." in function.__qualname__ else function.__name__
                raise InvalidParameterError(f"{whose} has no option {name!r}", expected=f"one of {', '.join(known)}",
                                            got=f"{name}={options[name]!r}", hint=near_miss(name, known))
        return function(*args, **options)

    return checked


def invalid_examples(hint: Any) -> list[Any]:
    """Values that an annotation must not admit."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        outside = [v for c in args[1:] if isinstance(c, Interval) for v in c.outside()]
        return [int(v) if args[0] is int else float(v) for v in outside] + invalid_examples(args[0])
    if origin in (typing.Union, types.UnionType):
        return [v for a in args for v in invalid_examples(a) if not conforms(v, hint)]
    if origin is Literal:
        return ["no such choice"]
    if origin is tuple:
        return ["text", *([(v,) for v in invalid_examples(args[0])] if Ellipsis in args else [()])]
    return {int: [1.5, "text"], float: ["text"], bool: ["text"], str: [1], type(None): [], Any: []}.get(hint, ["text"])


def _plain(v: Any) -> Any:
    """NumPy's numbers, which a grid search hands over, as Python's, and lists as tuples."""
    if isinstance(v, (tuple, list)):
        return tuple(_plain(i) for i in v)
    return v.item() if type(v).__module__ == "numpy" and hasattr(v, "item") else v


class Spec:
    """Base of the frozen groups of settings; subclasses are frozen dataclasses whose fields carry their constraints."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _plain(getattr(self, f.name)))
        validate(type(self).__name__, {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, annotations(type(self)))

    def __call__(self, **changes: Any) -> Spec:
        """A copy with some settings changed: ``train(lr=1e-4)``."""
        names = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise UnknownNameError(f"setting of {type(self).__name__}", name, names)
        return dataclasses.replace(self, **changes)

    def over(self, preset: Spec) -> Spec:
        """This spec, with each ``None`` replaced by the preset's value."""
        return preset(**{f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) is not None})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def set_params(self, **params: Any) -> Spec:
        """Specs are frozen: an estimator's ``set_params`` replaces them by a changed copy."""
        raise AttributeError(f"{type(self).__name__} is frozen; use the estimator's set_params, or {type(self).__name__}(…)(**changes)")

    def __sklearn_clone__(self) -> Spec:
        return self


@dataclass(frozen=True)
class Train(Spec):
    """How a model is trained. ``None`` means the family's preset (`ectype models NAME` shows it)."""

    budget: str | None = None
    """Training time or steps: "60s", "5m", "2000steps"; "300+900steps" where there are two stages."""
    batch_size: PositiveInt | None = None
    """Rows a step; the whole training part where that is smaller."""
    optimizer: Literal["adam", "muon"] | None = None
    """"adam" (AdamW), or "muon": weights of two axes and more move as the linear maps that they are; all others by Adam."""
    lr: Annotated[float, Interval(0, 1, open_low=True)] | None = None
    """Learning rate of the constant phase."""
    betas: tuple[Share, Share] | None = None
    """Adam's two decay rates."""
    weight_decay: Annotated[float, Interval(0)] | None = None
    """Decoupled weight decay (AdamW)."""
    clip: PositiveFloat | None = None
    """Largest norm of a player's gradient."""
    warmup: Annotated[int, Interval(0)] | None = None
    """Steps over which the learning rate rises from zero."""
    ema: Annotated[float, Interval(0, 0.25)] | None = None
    """Relative length of the average over weights: about this share of the run so far; 0 = no average."""
    validation: Annotated[float, Interval(0, 0.5)] | None = None
    """Share of the rows held out for the quality curve, early stopping and `ectype detect`; none where it is 0 or fewer than 10 rows."""
    patience: Annotated[float, Interval(0, 1)] | None = None
    """Stop when the held-out curve has not improved for this share of the run; 0 = never."""
    device: str | None = None
    """"auto" (a CUDA device where there is one), "cpu", "cuda"."""
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    """Arithmetic of the networks; "auto" is bfloat16 where the hardware is faster with it, and float32 otherwise."""
    threads: Annotated[int, Interval(0)] | None = None
    """Processor threads; 0 = half of the cores for convolutions, one for perceptrons."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None:
            Budget.parse(self.budget)


PRESET = Train(budget="60s", batch_size=128, optimizer="adam", lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, clip=5.0, warmup=50,
               ema=0.05, validation=0.1, patience=0.5, device="auto", precision="auto", threads=0)
"""What a family starts from; each changes what it must."""


@dataclass(frozen=True)
class Net(Spec):
    """A network. The role (encoder, decoder, critic, denoiser) decides its shape; empty settings are chosen by the data."""

    kind: Literal["auto", "mlp", "conv"] = "auto"
    """"auto": convolutions for images and signals, a multilayer perceptron for tables."""
    width: tuple[PositiveInt, ...] = ()
    """Hidden widths of an MLP, or channels at each resolution of a convolutional network."""
    dropout: Share = 0.0
    """Probability that a hidden unit is silenced in training."""
    activation: Literal["silu", "relu", "gelu", "tanh", "sigmoid", "leaky_relu"] = "silu"
    """Nonlinearity of the hidden layers."""


@dataclass(frozen=True)
class Corruption(Spec):
    """Noise on the input of an autoencoder that is trained to undo it; drawn anew at every step."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper", "swap"] = "none"
    """"gaussian" is added; "masking" blanks values, "salt_and_pepper" sets them to an extreme, "swap" takes another row's."""
    level: Annotated[float, Interval(0)] | tuple[Annotated[float, Interval(0)], Annotated[float, Interval(0)]] = 0.25
    """Standard deviation of the Gaussian (in those of a column; of pixels, in their range), or share of the values; two numbers are a
    range from which each row draws its level."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.range
        if low > high:
            raise InvalidParameterError("the range of the corruption's level is empty", expected="low <= high", got=f"{low:g} to {high:g}")
        if self.kind not in ("none", "gaussian") and high > 1:
            raise InvalidParameterError(f"the level of {self.kind} is a share of the values", expected="0 to 1", got=f"{high:g}")

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest level."""
        return self.level if isinstance(self.level, tuple) else (self.level, self.level)

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self.kind != "none" and self.range[1] > 0
