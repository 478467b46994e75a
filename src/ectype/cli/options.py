"""What a family can be told: name, type, default and a sentence for each setting, read off its signatures and docstrings.

One source for three readers: the flags of ``ectype fit`` and ``ectype sample``, and the tables of ``ectype models NAME``.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..spec import Spec, Train, annotations

SEEDS = ("random_state",)                               # every command calls it --seed
PER_CALL = ("n", "condition", *SEEDS)                   # parameters of `sample` with a flag of the command's own


@dataclass(frozen=True)
class Option:
    """One setting. ``name`` is ``latent_dim``, or ``train.lr`` for a setting of a spec; ``default`` is what takes effect."""

    name: str
    hint: Any
    default: Any
    meaning: str

    @property
    def group(self) -> str:
        """The parameter that holds it, "" for a parameter itself."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def fitting(cls: type) -> list[Option]:
    """The settings of a family's constructor, the preset's values in place of ``None``."""
    options = []
    for p in _settings(cls.__init__, SEEDS):
        if not isinstance(p.default, Spec):
            options.append(Option(p.name, annotations(cls.__init__)[p.name], p.default, entries(inspect.getdoc(cls)).get(p.name, "")))
            continue
        hints, meanings = annotations(type(p.default)), field_docs(type(p.default))
        for name, value in p.default.get_params().items():
            shown = getattr(cls.preset, name) if value is None and isinstance(p.default, Train) else value
            options.append(Option(f"{p.name}.{name}", hints[name] if shown is None else without_none(hints[name]), shown, meanings.get(name, "")))
    return options


def constructor_arguments(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of :func:`fitting`, by name, as arguments of the constructor; a spec keeps ``None`` where its preset's value was left alone."""
    arguments = {o.name: values[o.name] for o in fitting(cls) if not o.group}
    for p in _settings(cls.__init__, SEEDS):
        if isinstance(p.default, Spec):
            arguments[p.name] = p.default(**{o.key: values[o.name] for o in fitting(cls) if o.group == p.name and values[o.name] != o.default})
    return arguments


def sampling(cls: type) -> list[Option]:
    """The settings of a family's ``sample``."""
    meanings = {**{name: text for base in reversed(cls.__mro__) if "sample" in vars(base) for name, text in entries(inspect.getdoc(base.sample)).items()}}
    return [Option(p.name, annotations(cls.sample)[p.name], p.default, meanings.get(p.name, "")) for p in _settings(cls.sample, PER_CALL)]


def _settings(function: Callable, but: tuple[str, ...]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", *but)]


def without_none(hint: Any) -> Any:
    """``int`` of ``int | None``."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return functools.reduce(lambda a, b: a | b, [a for a in typing.get_args(hint) if a is not type(None)])


def entries(doc: str | None) -> dict[str, str]:
    """The lines ``name : what it is`` of a docstring; a line further to the right goes on with the one before."""
    found: dict[str, str] = {}
    name, indent = None, 0
    for line in (doc or "").splitlines():
        deep = len(line) - len(line.lstrip())
        if match := re.match(r" *([a-z_]\w*) : (.+)", line):
            name, indent = match[1], deep
            found[name] = plain(match[2])
        elif name and line.strip() and deep > indent:
            found[name] += " " + plain(line.strip())
        else:
            name = None
    return found


def prose(doc: str | None) -> list[str]:
    """The paragraphs of a docstring, without its list of parameters."""
    paragraphs = [p for p in re.split(r"\n\s*\n", doc or "") if not entries(p)]
    return [plain(re.sub(r"\s+", " ", p)) for p in paragraphs]


def plain(text: str) -> str:
    """A sentence of a docstring without its markup."""
    return re.sub(r":\w+:`~?([^`<]+?)(?: <[^`]*>)?`", r"\1", text).replace("``", "").replace("`", "").strip()


def field_docs(spec: type) -> dict[str, str]:
    """The sentence under each field of a spec. Raises OSError where the source is not at hand."""
    body = ast.parse(textwrap.dedent(inspect.getsource(spec))).body[0].body
    fields = {f.name for f in dataclasses.fields(spec)}
    return {a.target.id: plain(b.value.value) for a, b in zip(body, body[1:], strict=False)
            if isinstance(a, ast.AnnAssign) and a.target.id in fields and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)}
