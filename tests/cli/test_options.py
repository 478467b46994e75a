"""Settings read off signatures and docstrings."""

import os
from typing import Annotated, Any

import pytest

from ectype import registry
from ectype.cli.options import constructor_arguments, entries, field_docs, fitting, plain, prose, sampling, without_none
from ectype.spec import Net, Train

FAMILIES = registry.names()


def test_entries_of_a_docstring():
    doc = """What it is.

    Parameters
        size : how large, with a
            second line.
        on : ``True`` or :class:`no <x>`.

    Not an entry: this.
    """
    assert entries(doc) == {"size": "how large, with a second line.", "on": "True or no."}
    assert prose(doc) == ["What it is.", "Not an entry: this."]
    assert entries(None) == {} and prose(None) == [""]


def test_plain_drops_markup():
    assert plain("``a`` and :meth:`~x.y`") == "a and x.y"


def test_without_none():
    assert without_none(int | None) is int
    assert without_none(Annotated[int, 1] | None) == Annotated[int, 1]
    assert without_none(str) is str and without_none(str | os.PathLike | None) is str


@pytest.mark.parametrize("spec", [Train, Net])
def test_every_setting_of_a_spec_has_a_sentence(spec):
    docs = field_docs(spec)
    assert list(docs) == list(spec().get_params()) and all(docs.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_setting_of_a_family_has_a_sentence(name):
    options = fitting(registry.load(name))
    assert [o.name for o in options if not o.meaning] == []
    assert len({o.flag for o in options}) == len(options)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_preset_is_what_takes_effect(name):
    cls = registry.load(name)
    shown = {o.key: o for o in fitting(cls) if o.group == "train"}
    for key, value in cls().train.over(cls.preset).get_params().items():
        others = {c: preset.get_params()[key] for c, preset in cls.presets.items()}
        if set(others.values()) <= {value}:
            assert shown[key].default == value
        else:                                                           # depends on the data: no default, but words
            assert shown[key].default is None and all(f"{c} {v}" in shown[key].meaning for c, v in others.items())


@pytest.mark.parametrize("name", FAMILIES)
def test_untouched_flags_are_the_constructor_s_defaults(name):
    cls = registry.load(name)
    arguments = constructor_arguments(cls, {o.name: o.default for o in fitting(cls)})
    assert cls(**arguments).get_params() == cls().get_params()


def test_values_reach_parameters_and_specs():
    cls = registry.load("vae")
    values = {o.name: o.default for o in fitting(cls)} | {"latent_dim": 3, "train.lr": 0.1, "net.width": (4,)}
    expected = {**cls().get_params(deep=False), "latent_dim": 3, "train": Train(lr=0.1), "net": Net(width=(4,))}
    assert {**constructor_arguments(cls, values), "random_state": None} == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_of_sample(name):
    cls = registry.load(name)
    options = sampling(cls)
    assert not {"n", "condition", "random_state", "self"} & {o.name for o in options}
    for preset in cls.sampling_presets.values():
        assert set(preset) <= {o.name for o in options}


def test_a_constructor_that_is_not_a_family_s():
    class Other:
        def __init__(self, *, a: int = 1, random_state: Any = None):
            """Nothing."""

    assert [(o.name, o.default) for o in fitting(Other)] == [("a", 1)]
