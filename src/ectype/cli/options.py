"""What a family can be told: name, type, default and a sentence for each setting, read off its signatures and docstrings.

One source for three readers: the flags of ``ectype fit`` and ``ectype sample``, and the tables of ``ectype models NAME``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
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
    """The settings of a family's constructor, the preset's values in place of ``None``; one that depends on the data stays ``None``."""
    options, hints, meanings = [], annotations(cls.__init__), entries(inspect.getdoc(cls))
    for p in _settings(cls.__init__, SEEDS):
        if isinstance(p.default, Spec):
            options += _settings_of_spec(p.name, p.default, _presets(cls) if isinstance(p.default, Train) else {})
        else:
            options.append(Option(p.name, hints[p.name], p.default, meanings.get(p.name, "")))
    return options


def _presets(cls: type) -> dict[str, dict[str, Any]]:
    """What a family's preset says of each setting: for tables, or for all data, and then by container."""
    by_container = {"": cls.preset, **cls.presets}
    return {key: {c: getattr(preset, key) for c, preset in by_container.items()} for key in cls.preset.get_params()}


def _settings_of_spec(group: str, spec: Spec, presets: Mapping[str, Mapping[str, Any]]) -> list[Option]:
    options, hints, meanings = [], annotations(type(spec)), field_docs(type(spec))
    for key, value in spec.get_params().items():
        known = presets.get(key, {"": None})
        default, meaning = (known[""] if value is None else value), meanings.get(key, "")
        if value is None and len(set(known.values())) > 1:
            meaning += f" (default: {known['']}; {', '.join(f'{c} {v}' for c, v in known.items() if c)})"
            default = None
        hint = hints[key] if default is None else without_none(hints[key])
        options.append(Option(f"{group}.{key}", hint, default, meaning))
    return options


def constructor_arguments(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of :func:`fitting`, by name, as arguments of the constructor; what was left alone in a spec stays as it was."""
    options = fitting(cls)
    arguments = {o.name: values[o.name] for o in options if not o.group}
    for p in _settings(cls.__init__, SEEDS):
        if isinstance(p.default, Spec):
            changed = [o for o in options if o.group == p.name and values[o.name] != o.default]
            arguments[p.name] = p.default(**{o.key: values[o.name] for o in changed})
    return arguments


def sampling(cls: type) -> list[Option]:
    """The settings of a family's ``sample``; what its docstring leaves out is read in those of its bases."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        meanings |= entries(inspect.getdoc(vars(base).get("sample")))
    hints = annotations(cls.sample)
    return [Option(p.name, hints[p.name], p.default, meanings.get(p.name, "")) for p in _settings(cls.sample, PER_CALL)]


def _settings(function: Callable, but: tuple[str, ...]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", *but)]


def without_none(hint: Any) -> Any:
    """``int`` of ``int | None``, also where more is annotated; of text or a path the text, which a word is."""
    if typing.get_origin(hint) is typing.Annotated and type(None) in typing.get_args(typing.get_args(hint)[0]):
        return without_none(typing.get_args(hint)[0])
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return functools.reduce(lambda a, b: a | b, [a for a in typing.get_args(hint) if a not in (type(None), os.PathLike)])


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
    text = re.sub(r":\w+:`~?([^`<]+?)(?: <[^`]*>)?`", r"\1", text).replace("``", "").replace("`", "")
    return re.sub(r"\s+", " ", text).strip()


def field_docs(spec: type) -> dict[str, str]:
    """The sentence under each field of a spec; none where the source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(spec))
    except OSError:
        return {}
    docs = {}
    for field, below in pairwise(ast.parse(source).body[0].body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            docs[field.target.id] = plain(below.value.value)
    return docs
