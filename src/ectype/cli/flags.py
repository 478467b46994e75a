"""Flags from frozen dataclasses: those that several commands share, those that a family brings, and the way from argv to values."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import Positional, arg

from ..data.schema import KINDS
from ..errors import InvalidParameterError
from . import COMMANDS
from .options import Option
from .terminal import colourful

F = TypeVar("F")
optional = partial(arg, help_behavior_hint="")          # a flag whose absence needs no "(default: None)"


@dataclass(frozen=True, kw_only=True)
class Common:
    """Flags of every command."""

    quiet: Annotated[bool, optional(aliases=("-q",))] = False
    """No words and no progress; errors are told all the same."""


@dataclass(frozen=True, kw_only=True)
class Source(Common):
    """Data to learn from, and how to read them."""

    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A file, a folder of pictures, or the name of a data set."""
    label: Annotated[str | None, optional(metavar="COL")] = None
    """The label column."""
    drop: Annotated[tuple[str, ...], optional(metavar="COL…")] = ()
    """Columns to leave out."""
    kind: Annotated[tuple[str, ...], optional(metavar="COL=KIND…")] = ()
    """Kinds of columns, where the inferred one is wrong: numeric, integer, boolean, categorical, datetime."""
    size: Annotated[str | None, optional(metavar="HxW")] = None
    """Cut and resize pictures to this height and width."""

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments ``label``, ``kinds``, ``drop`` and ``size`` of :func:`ectype.data.sources.load`."""
        return {"label": self.label, "kinds": _kinds(self.kind), "drop": _split(self.drop), "size": height_and_width(self.size)}


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    """Columns separated by blanks or commas."""
    return tuple(name for text in texts for name in text.split(",") if name)


def _kinds(texts: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for text in _split(texts):
        column, equals, kind = text.rpartition("=")
        if not equals or not column or kind not in KINDS:
            raise InvalidParameterError("a kind cannot be read", expected=f"COL=KIND with a kind of {', '.join(KINDS)}", got=text,
                                        hint="for example --kind zip=categorical")
        kinds[column] = kind
    return kinds


def height_and_width(text: str | None) -> tuple[int, int] | None:
    """``(28, 20)`` of ``"28x20"``."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)[x×,]([1-9]\d*)", text.lower())
    if not match:
        raise InvalidParameterError("the size cannot be read", expected="HEIGHTxWIDTH", got=text, hint="for example --size 32x32")
    return int(match[1]), int(match[2])


def leading(argv: Sequence[str], fits: Callable[[str], bool]) -> tuple[str | None, list[str]]:
    """The word that decides which flags there are (the first, or where flags come first, the first that fits), and the others."""
    argv = list(argv)
    at = 0 if argv and not argv[0].startswith("-") else next((i for i, word in enumerate(argv) if fits(word)), None)
    return (None, argv) if at is None else (argv[at], argv[:at] + argv[at + 1:])


def parse(flags: type[F], argv: Sequence[str], command: str, *, subject: str = "", about: str = "") -> F:
    """The values of a dataclass of flags. Leaves by SystemExit after ``--help`` (0) and after saying what is wrong (2)."""
    help_page, complaint = _Page(), _Page()
    about = about or COMMANDS[command].summary
    try:
        with redirect_stdout(help_page), redirect_stderr(complaint):
            return tyro.cli(flags, args=_gathered(argv), prog=f"ectype {command} {subject}".strip(), description=about,
                            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone))
    finally:
        sys.stdout.write(help_page.getvalue())
        sys.stderr.write(complaint.getvalue())


def _gathered(argv: Sequence[str], lists: Sequence[str] = ("--drop", "--kind", "--models")) -> list[str]:
    """The words with ``--drop A --drop B`` as ``--drop A B``: of a flag given twice, the parser would take the second alone."""
    words, found = [], {flag: [] for flag in lists}
    current: list[str] = words
    for word in argv:
        if word in found:
            current = found[word]
        elif current is not words and word.startswith("--"):
            current = words
            words.append(word)
        else:
            current.append(word)
    return words + [w for flag, values in found.items() if values for w in (flag, *values)]


class _Page(io.StringIO):
    """Takes what the parser writes; the parser itself would colour a redirected standard error, and does not know NO_COLOR."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return colourful(sys.__stdout__) and colourful(sys.__stderr__)


def with_options(flags: type[F], options: Sequence[Option]) -> type[F]:
    """A dataclass of flags with a family's options added; those of a spec in a group of their own, ``train`` → ``--train.lr``."""
    fields: list[tuple[str, Any, Any]] = [(o.key, _annotated(o), o.default) for o in options if not o.group]
    for group in dict.fromkeys(o.group for o in options if o.group):
        members = [(o.key, _annotated(o), o.default) for o in options if o.group == group]
        cls = make_dataclass(group.capitalize(), members, frozen=True, kw_only=True)
        fields.append((group, cls, field(default_factory=cls)))
    return make_dataclass(flags.__name__, fields, bases=(flags,), frozen=True, kw_only=True)


def option_values(flags: Any, options: Sequence[Option]) -> dict[str, Any]:
    """What was given for each option, by name."""
    return {o.name: getattr(getattr(flags, o.group) if o.group else flags, o.key) for o in options}


def _annotated(option: Option) -> Any:
    shorter = {"aliases": ("--budget",), "metavar": "TIME"} if option.name == "train.budget" else {}
    no_default = {"help_behavior_hint": ""} if option.default in (None, (), False) else {}
    return Annotated[option.hint, arg(help=option.meaning or None, **shorter, **no_default)]
