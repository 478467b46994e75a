"""Flags from frozen dataclasses: those that several commands share, those that a family brings, and the way from argv to values."""

from __future__ import annotations

import dataclasses
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Annotated, Any, TypeVar, get_args

import tyro
from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from .. import registry
from ..data.dense import signal_rate
from ..data.schema import KINDS
from ..errors import InvalidParameterError
from ..spec import annotations, conforms, describe
from . import COMMANDS
from .options import Option, fitting, without_none
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
    """A file, a folder of pictures or WAV files, or the name of a data set."""
    label: Annotated[str | None, optional(metavar="COL")] = None
    """The label column."""
    drop: Annotated[tuple[str, ...], optional(metavar="COL…")] = ()
    """Columns to leave out."""
    kind: Annotated[tuple[str, ...], optional(metavar="COL=KIND…")] = ()
    """Kinds of columns, where the inferred one is wrong: numeric, integer, boolean, categorical, datetime. Or, for all of the data, signal:
    every row is a one-dimensional signal (signal@8000, with the samples per second)."""
    size: Annotated[str | None, optional(metavar="HxW|L")] = None
    """Cut and resize pictures to this height and width; cut WAV files into windows of so many samples."""

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments ``label``, ``kinds``, ``drop`` and ``size`` of :func:`ectype.data.sources.load`."""
        return {"label": self.label, "kinds": _kinds(self.kind), "drop": _split(self.drop), "size": size_of(self.size)}


def _split(texts: Sequence[str]) -> tuple[str, ...]:
    """Columns separated by blanks or commas."""
    return tuple(name for text in texts for name in text.split(",") if name)


def _kinds(texts: Sequence[str]) -> dict[str, str] | str:
    """Kinds by column, or the kind of the whole."""
    words = _split(texts)
    if len(words) == 1 and signal_rate(words[0]) is not None:
        return words[0]
    kinds = {}
    for text in words:
        column, equals, kind = text.rpartition("=")
        if not equals or not column or kind not in KINDS:
            raise InvalidParameterError("a kind cannot be read", expected=f"COL=KIND with a kind of {', '.join(KINDS)}, or signal alone",
                                        got=text, hint="for example --kind zip=categorical, or --kind signal")
        kinds[column] = kind
    return kinds


def size_of(text: str | None) -> tuple[int, ...] | None:
    """``(28, 20)`` of ``"28x20"``, ``(4000,)`` of ``"4000"``."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)(?:[x×,]([1-9]\d*))?", text.lower())
    if not match:
        raise InvalidParameterError("the size cannot be read", expected="HEIGHTxWIDTH of pictures, or a number of samples", got=text,
                                    hint="for example --size 32x32, or --size 4000")
    return tuple(int(n) for n in match.groups() if n)


def leading(argv: Sequence[str], fits: Callable[[str], bool]) -> tuple[str | None, list[str]]:
    """The word that decides which flags there are (the first, or where flags come first, the first that fits), and the others."""
    argv = list(argv)
    at = 0 if argv and not argv[0].startswith("-") else next((i for i, word in enumerate(argv) if fits(word)), None)
    return (None, argv) if at is None else (argv[at], argv[:at] + argv[at + 1:])


def parse(flags: type[F], argv: Sequence[str], command: str, *, subject: str = "", about: str = "", family: str = "",
          options_of: Callable[[type], list[Option]] = fitting) -> F:
    """The values of a dataclass of flags. Leaves by SystemExit after ``--help`` (0) and after saying what is wrong (2).

    family : whose flags there are, read off its class by ``options_of``: of a flag that it has not, it is said which families have it.
    """
    help_page, complaint = _Page(), _Page()
    about = about or COMMANDS[command].summary
    try:
        with redirect_stdout(help_page), redirect_stderr(complaint):
            values = tyro.cli(flags, args=_gathered(argv), prog=f"ectype {command} {subject}".strip(), description=about,
                              config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone), registry=TYPES)
        _require_domains(values)
        return values
    except SystemExit:
        _complain_of_value(flags, complaint)
        if family:
            _complain_of_flag(family, options_of, complaint)
        raise
    finally:
        sys.stdout.write(help_page.getvalue())
        sys.stderr.write(complaint.getvalue())


TYPES = ConstructorRegistry()


@TYPES.primitive_rule
def _left_away_or(hint: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """How the words of an ``X | None`` are read: as those of X, and None is a flag that is not given. The parser's own rule for unions
    would take ``None`` for one more choice."""
    if type(None) not in get_args(hint.type):
        return None
    of = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(without_none(hint.type), hint.markers))
    return dataclasses.replace(of, is_instance=lambda v: v is None or of.is_instance(v),
                               str_from_instance=lambda v: ["None"] if v is None else of.str_from_instance(v))


def _require_domains(values: Any) -> None:
    """Raise :class:`InvalidParameterError` for a flag whose value its annotation does not admit; specs check those of groups."""
    for name, hint in annotations(type(values)).items():
        value = getattr(values, name)
        if value is not None and not dataclasses.is_dataclass(value) and not conforms(value, hint):
            flag, expected = f"--{name.replace('_', '-')}", describe(without_none(hint))
            raise InvalidParameterError(f"{flag} is out of its domain", expected=expected, got=value)


def _complain_of_value(flags: type, complaint: _Page) -> None:
    """Where the parser could not read a flag's value, say so in the words of the setting's own constraint."""
    match = re.search(r"Error parsing (--[\w.-]+): .*?(\[.*?\]|'[^']*') ", complaint.text)
    if match is None:
        return
    path, hint = match[1].removeprefix("--").replace("-", "_").split("."), flags
    for name in path:
        hint = annotations(hint).get(name) if dataclasses.is_dataclass(hint) else None
    if hint is not None:
        complaint.clear()
        raise InvalidParameterError(f"{match[1]} cannot be read", expected=describe(without_none(hint)),
                                    got=match[2].replace("', '", " ").strip("[']"))


def _complain_of_flag(family: str, options_of: Callable[[type], list[Option]], complaint: _Page) -> None:
    """Where the parser does not know a flag that other families have, say which."""
    match = re.search(r"Unrecognized options: (--[\w.-]+)", complaint.text)
    flag = match[1].replace("_", "-") if match else ""
    able = [n for n in registry.names() if flag in {o.flag for o in options_of(registry.load(n))}]
    if able and family not in able:         # else it is left out of this command, whose own complaint says more
        complaint.clear()
        raise InvalidParameterError(f"{family} has no {flag}",
                                    hint=f"these have it: {', '.join(able)}; `ectype models {family}` shows what {family} has")


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

    @property
    def text(self) -> str:
        """The words, without the box around them."""
        return " ".join(line.strip(" │╭╮╰╯─") for line in self.getvalue().splitlines())

    def clear(self) -> None:
        self.seek(0)
        self.truncate()


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
    meaning = option.meaning.replace(". None = ", ". Without it, ").replace("None = ", "without it, ")     # None is for Python
    return Annotated[option.hint, arg(help=meaning or None, **shorter, **no_default)]
