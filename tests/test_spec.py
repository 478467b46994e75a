"""Settings: frozen, checked by their annotations, described in words."""

import dataclasses
import json
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from sklearn.base import clone

from ectype.errors import InvalidParameterError, UnknownNameError
from ectype.spec import (
    PRESET,
    Budget,
    Corruption,
    Interval,
    Net,
    PositiveInt,
    Share,
    Train,
    annotations,
    conforms,
    describe,
    invalid_examples,
    validate,
)


@pytest.mark.parametrize(("text", "budget"), [
    ("90s", Budget(seconds=90.0)), ("1.5m", Budget(seconds=90.0)), ("2h", Budget(seconds=7200.0)), ("20 sec", Budget(seconds=20.0)),
    ("3 minutes", Budget(seconds=180.0)), ("1min", Budget(seconds=60.0)), ("1 hour", Budget(seconds=3600.0)), ("0.5s", Budget(seconds=0.5)),
    ("200steps", Budget(steps=200)), ("1 step", Budget(steps=1)), (" 7steps ", Budget(steps=7)), ("20.0steps", Budget(steps=20)),
    ("300+300+900steps", Budget(steps=1500, stages=(300, 300, 900))), (" 5+7 steps ", Budget(steps=12, stages=(5, 7)))])
def test_budgets(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "5", "s", "5 parsecs", "1e3s", "5s5s", "None", "１0s㎳", "5+5s", "5+steps",
                                  "+5steps", "5+0steps", "5+1.5steps", "5++5steps"])
def test_what_is_no_budget(text):
    with pytest.raises(InvalidParameterError, match="the budget cannot be read"):
        Budget.parse(text)
    with pytest.raises(InvalidParameterError, match="the budget cannot be read"):
        Train(budget=text)


@pytest.mark.parametrize(("text", "expected"), [("0s", "a time > 0"), ("-5 min", "a time > 0"), ("0steps", "a whole number of steps >= 1"),
                                                ("1.5steps", "a whole number of steps >= 1"), ("-3steps", "a whole number of steps >= 1")])
def test_a_budget_out_of_its_domain(text, expected):
    with pytest.raises(InvalidParameterError, match=f"the budget is out of its domain: expected {expected}, got '{text}'"):
        Budget.parse(text)


SHARES = (0.2, 0.3, 0.5)


@pytest.mark.parametrize(("text", "parts"), [
    ("100s", [Budget(seconds=20.0), Budget(seconds=30.0), Budget(seconds=50.0)]), ("100steps", [Budget(steps=n) for n in (20, 30, 50)]),
    ("7+8+9steps", [Budget(steps=n) for n in (7, 8, 9)]), ("1step", [Budget(steps=1)] * 3)])
def test_the_parts_of_a_budget(text, parts):
    assert [Budget.parse(text).part(i, SHARES) for i in range(3)] == parts


@pytest.mark.parametrize("total", [20, 33, 99, 100, 12345])
def test_the_parts_add_up_to_the_whole(total):
    for k in range(1, 9):
        shares = [*[0.4 / k] * k, 0.6]
        assert sum(Budget(steps=total).part(i, shares).steps for i in range(k + 1)) == total


def test_a_single_stage_takes_the_whole_budget():
    for text in ("100s", "77steps"):
        assert Budget.parse(text).part(0, (1.0,)) == Budget.parse(text)
    with pytest.raises(InvalidParameterError, match=r"another number of stages: expected 1, or one number, got 3\+4"):
        Budget.parse("3+4steps").part(0, (1.0,))


@pytest.mark.parametrize(("settings", "range_", "active"), [
    ({}, (0.25, 0.25), False), ({"kind": "gaussian"}, (0.25, 0.25), True), ({"kind": "gaussian", "level": 3.0}, (3.0, 3.0), True),
    ({"kind": "masking", "level": (0.1, 0.9)}, (0.1, 0.9), True), ({"kind": "swap", "level": [0.0, 1.0]}, (0.0, 1.0), True),
    ({"kind": "masking", "level": 0.0}, (0.0, 0.0), False), ({"kind": "none", "level": 5.0}, (5.0, 5.0), False),
    ({"kind": "salt_and_pepper", "level": 1}, (1, 1), True)])
def test_corruptions(settings, range_, active):
    corruption = Corruption(**settings)
    assert corruption.range == range_ and corruption.active == active and Corruption(**corruption.get_params()) == corruption
    assert hash(corruption) == hash(Corruption(**settings)) and corruption(kind="none").active is False


@pytest.mark.parametrize(("settings", "message"), [
    ({"kind": "blur"}, "The 'kind' parameter of Corruption is out of its domain"), ({"kind": "gaussian", "level": -0.1}, "'level' parameter of Corruption"),
    ({"kind": "masking", "level": 1.5}, r"the level of masking is a share of the values: expected 0 to 1, got 1\.5"),
    ({"kind": "swap", "level": (0.5, 1.1)}, "level of swap is a share"), ({"kind": "gaussian", "level": (0.5, 0.2)}, "low <= high, got 0.5 to 0.2"),
    ({"kind": "gaussian", "level": (0.1, 0.2, 0.3)}, "'level' parameter"), ({"level": (0.1,)}, "'level' parameter"), ({"level": "much"}, "'level' parameter")])
def test_corruptions_out_of_their_range(settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        Corruption(**settings)


HINTS = [   # annotation, values it admits, values it refuses, in words
    (PositiveInt, [1, 7, np.int64(3)], [0, -1, 1.0, "1", True, None], "an int >= 1"),
    (PositiveInt | None, [None, 1], [0, "x"], "an int >= 1 or None"),
    (Share, [0, 0.5, 0.999, np.float32(0.25)], [1.0, 1, -0.1, "a", float("nan")], "a number in [0, 1)"),
    (Annotated[float, Interval(0, 1, open_low=True)], [1, 1e-9], [0, 1.1], "a number in (0, 1]"),
    (Annotated[float, Interval(0)], [0, 5, float("inf")], [-1e-9], "a number >= 0"),
    (Annotated[float, Interval(high=2)], [-99, 2], [2.1], "a number in [-inf, 2]"),
    (Annotated[float, Interval(0, open_low=True)], [1e-9], [0], "a number > 0"),
    (bool, [True, False, np.True_], [0, 1, "yes", None], "True or False"),
    (str, ["x"], [1, None], "text"),
    (Literal["a", "b"], ["a"], ["c", 1, None], "one of 'a', 'b'"),
    (tuple[PositiveInt, ...], [(), (1, 2), [3]], [(0,), 3, "12", (1, "x")], "a tuple of values, each an int >= 1"),
    (tuple[Share, Share], [(0.9, 0.99), [0.0, 0.5]], [(0.9,), (0.9, 1.0), 0.9], "a tuple of 2 values, each a number in [0, 1)"),
    (Net, [Net()], [Train(), {}], "a Net"),
    (Any, [0, "x", None], [], "anything"),
]


@pytest.mark.parametrize(("hint", "good", "bad", "words"), HINTS, ids=lambda v: str(v) if isinstance(v, str) else "")
def test_annotations_are_constraints(hint, good, bad, words):
    assert all(conforms(v, hint) for v in good)
    assert not any(conforms(v, hint) for v in bad)
    assert describe(hint) == words
    examples = invalid_examples(hint)
    assert not any(conforms(v, hint) for v in examples)
    assert examples or hint is Any


def test_the_message_names_the_owner_the_domain_and_the_value():
    message = r"The 'lr' parameter of Train is out of its domain: expected a number in \(0, 1\] or None, got 2"
    with pytest.raises(InvalidParameterError, match=message):
        Train(lr=2)
    with pytest.raises(InvalidParameterError, match=r"The 'latent_dim' parameter of VAE .* expected an int >= 1, got 0"):
        validate("VAE", {"latent_dim": 0, "unknown": object()}, {"latent_dim": PositiveInt})


@pytest.mark.parametrize("spec", [Train, Net, Corruption])
def test_every_field_refuses_its_invalid_examples(spec):
    hints = annotations(spec)
    assert set(hints) == {f.name for f in dataclasses.fields(spec)}
    for name, hint in hints.items():
        for value in invalid_examples(hint):
            with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of {spec.__name__}|the budget"):
                spec(**{name: value})


def test_specs_are_immutable():
    train = Train(lr=0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        train.lr = 0.2
    with pytest.raises(AttributeError, match="frozen"):
        train.set_params(lr=0.2)
    assert clone(train) is train and hash(train) == hash(Train(lr=0.1)) and train == Train(lr=0.1)


def test_a_call_is_a_changed_copy():
    train = Train(lr=0.1)
    assert train(batch_size=3) == Train(lr=0.1, batch_size=3) and train.batch_size is None
    with pytest.raises(UnknownNameError, match=r"unknown setting of Train 'learning_rate'.* expected one of budget, batch_size"):
        train(learning_rate=1)
    with pytest.raises(UnknownNameError, match="did you mean batch_size"):
        train(batchsize=1)
    with pytest.raises(InvalidParameterError):
        train(lr=-1.0)


def test_over_fills_what_is_none_from_the_preset():
    full = Train(lr=0.5, budget="3steps", ema=0.0).over(PRESET)
    assert (full.lr, full.budget, full.ema) == (0.5, "3steps", 0.0)        # zero is a setting, not an absence
    assert {k: v for k, v in full.get_params().items() if k not in ("lr", "budget", "ema")} == \
           {k: v for k, v in PRESET.get_params().items() if k not in ("lr", "budget", "ema")}


def test_specs_are_plain_data():
    assert json.loads(json.dumps(dataclasses.asdict(PRESET)))["lr"] == PRESET.lr
    assert Net(**Net(width=(3, 4)).get_params()) == Net(width=(3, 4))


def test_every_setting_is_described():
    import ast
    import inspect

    for spec in (Train, Net, Corruption):
        body = ast.parse(inspect.getsource(spec)).body[0].body
        for i, node in enumerate(body):
            if isinstance(node, ast.AnnAssign):
                assert isinstance(body[i + 1], ast.Expr), f"{spec.__name__}.{node.target.id} has no description"


def test_the_average_over_weights_has_the_length_that_ema_says():
    """A power-function average is at most 0.3 of the run long: longer ones must be refused, not silently something else."""
    from ectype.train.average import gamma

    longest = annotations(Train)["ema"].__args__[0].__metadata__[0].high
    for length in (0.01, 0.1, longest - 1e-9):
        g = gamma(length)
        assert ((g + 1) / ((g + 2) ** 2 * (g + 3))) ** 0.5 == pytest.approx(length, rel=1e-6)
