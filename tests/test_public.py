"""The names that people import, and the tree of exceptions."""

import inspect

import pytest

import ectype
from ectype import errors

FAMILIES = ["Autoencoder", "LinearAutoencoder", "StackedAutoencoder", "DenoisingAutoencoder", "ConvAutoencoder", "VAE", "GAN", "Flow", "DDPM",
            "FlowMatching", "Shortcut", "TruncatedDiffusion"]


def test_public_names():
    assert ectype.__all__ == sorted([*FAMILIES, "Train", "Net", "Corruption", "NoveltyDetector", "PretrainedClassifier", "load", "compare", "Schema",
                                     "impute", "interpolate", "traverse"])
    assert set(dir(ectype)) == {*ectype.__all__, "__version__"}
    for name in ectype.__all__:
        assert getattr(ectype, name).__name__ == name and inspect.getdoc(getattr(ectype, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'VEA'"):
        _ = ectype.VEA


def test_the_version_is_that_of_the_package():
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("ectype") == ectype.__version__
    except PackageNotFoundError:
        pytest.skip("the package is not installed")


def test_families_are_the_registered_classes():
    from ectype import registry

    assert [registry.load(n).__name__ for n in registry.names()] == FAMILIES
    assert all(getattr(ectype, registry.load(n).__name__) is registry.load(n) for n in registry.names())


@pytest.mark.parametrize(("error", "builtin"), [
    (errors.InvalidParameterError, ValueError), (errors.DataError, ValueError), (errors.DataFileError, errors.DataError),
    (errors.ColumnError, errors.DataError),
    (errors.SchemaMismatchError, errors.DataError), (errors.UnknownNameError, ValueError), (errors.CapabilityError, AttributeError),
    (errors.SavedModelError, ValueError), (errors.MissingExtraError, ImportError), (errors.DivergedError, RuntimeError)])
def test_every_error_is_ours_and_a_builtin(error, builtin):
    assert issubclass(error, errors.EctypeError) and issubclass(error, builtin)
    assert error.__name__ in errors.__doc__


def test_messages_say_what_expected_got_and_a_hint():
    error = errors.InvalidParameterError("lr is out of range", expected="a number > 0", got=-1, hint="try lr=1e-3")
    assert str(error) == "lr is out of range: expected a number > 0, got -1\nhint: try lr=1e-3"
    assert str(errors.DataError("no rows")) == "no rows"
    assert str(errors.DataError("bad", got=None)) == "bad: got None"
    assert "did you mean vae?" in str(errors.UnknownNameError("model", "vea", ["vae", "gan"]))
    assert str(errors.MissingExtraError("pyarrow", "parquet", "reading Parquet")).endswith("hint: pip install 'ectype[parquet]'")


def test_a_warning_is_at_the_line_of_the_user():
    """Past this package and those that wrap its methods, however deep."""
    code = compile("def call(f, *args): return f(*args)", "wrapper.py", "exec")
    inner, outer = {"__name__": "ectype.uses.paths"}, {"__name__": "torch.utils"}
    exec(code, inner)
    exec(code, outer)
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(UserWarning, match="so") as told:
        outer["call"](inner["call"], errors.warn, "so", UserWarning)
    assert (told[0].filename, told[0].lineno) == (__file__, line)


def test_a_subclass_may_pass_options_on_and_take_methods_away():
    class Passing(ectype.VAE):
        def sample(self, n=1, **options):
            return super().sample(n, **options)

        log_likelihood = None

    model = Passing(train=ectype.Train(budget="1steps"), random_state=0).fit([[float(i % 7), i / 9] for i in range(40)])
    assert len(model.sample(3, random_state=0)) == 3
    with pytest.raises(errors.InvalidParameterError, match="no option 'randomstate'"):
        model.sample(3, randomstate=0)
