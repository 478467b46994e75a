"""The table of families."""

import importlib

import pytest

from ectype import registry
from ectype.errors import UnknownNameError
from ectype.estimator import GenerativeModel
from ectype.spec import Train
from ectype.train.objective import Objective


def test_order_of_the_lecture():
    assert registry.names() == ["autoencoder", "linear", "stacked", "denoising", "conv", "vae", "gan", "flow", "ddpm", "flow_matching", "shortcut",
                                "truncated"]
    assert registry.entry("fewstep") is registry.entry("truncated")


def test_one_of_each_kind_is_compared():
    assert registry.compared() == ["autoencoder", "vae", "gan", "flow", "ddpm", "truncated"]


@pytest.mark.parametrize("name", registry.names())
def test_an_entry_leads_to_its_family(name):
    entry, cls = registry.entry(name), registry.load(name)
    assert entry.name == name and entry.title and entry.paper[-4:].isdigit()
    assert issubclass(cls, GenerativeModel) and f"{cls.__module__}:{cls.__name__}" == entry.target
    module = importlib.import_module(cls.__module__)
    assert "Notation" in module.__doc__ and "References" in module.__doc__
    assert any(issubclass(v, Objective) and v is not Objective for v in vars(module).values() if isinstance(v, type))


@pytest.mark.parametrize("name", registry.names())
def test_capabilities_are_known_and_the_preset_is_complete(name):
    cls = registry.load(name)
    known = {"sample", "condition", "encode", "decode", "denoise", "impute", "score", "exact", "bound"}
    assert cls.capabilities <= known and "sample" in cls.capabilities
    assert cls.containers and cls.containers <= {"table", "images", "signals"}
    assert not {"exact", "bound"} <= cls.capabilities
    assert isinstance(cls.preset, Train) and None not in cls.preset.get_params().values()


def test_an_unknown_family_names_its_neighbours():
    with pytest.raises(UnknownNameError, match=r"unknown model 'dppm'.*\n.*did you mean ddpm"):
        registry.load("dppm")
