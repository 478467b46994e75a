"""``models`` and ``data``: what there is to choose from, and how data are understood. Their tables are data: standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from rich.console import Console, RenderableType
from rich.table import Table
from tyro.conf import Positional

from .. import registry
from ..data.describe import describe
from ..data.schema import Schema
from ..data.sources import load
from ..errors import ColumnError
from ..spec import describe as in_words
from .flags import Common, Source, optional, parse
from .options import Option, fitting, prose, sampling
from .terminal import Terminal

ABILITIES = ("sample", "condition", "encode", "decode", "denoise", "impute", "score")
LIKELIHOODS = ("exact", "bound")
NONE = "·"
PIPE_WIDTH = 200        # enough for one line a row where no terminal limits it


@dataclass(frozen=True, kw_only=True)
class Json(Common):
    """For tables."""

    json: Annotated[bool, optional()] = False
    """Write JSON."""


@dataclass(frozen=True, kw_only=True)
class Models(Json):
    """The families."""

    name: Annotated[str | None, Positional, optional(metavar="[NAME]")] = None
    """Show one family with its settings."""


@dataclass(frozen=True, kw_only=True)
class Data(Json, Source):
    """Data, and how to read them."""


def models(argv: list[str]) -> int:
    """The families in a table, or one of them with its settings."""
    flags = parse(Models, argv, "models")
    if flags.name is None:
        content = [_family(name) for name in registry.names()]
        _show(json.dumps(content, indent=1)) if flags.json else _show(_families(content))
        return 0
    cls = registry.load(flags.name)
    family = _family(flags.name)
    tables = {"settings": fitting(cls), "sampling": sampling(cls)}
    if flags.json:
        described = {title: [_as_dict(o) for o in options] for title, options in tables.items()}
        _show(json.dumps({**family, **described, "samplers": cls.sampling_presets}, indent=1))
        return 0
    _show(f"{family['title']} ({family['paper']})", "")
    for paragraph in prose(cls.__doc__):
        _show(paragraph, "")
    _show(f"can: {', '.join(family['can'])}; likelihood: {family['likelihood'] or 'none'}", "")
    _show(f"settings of `ectype fit {' or '.join((family['name'], *family['aliases']))}`", _settings(tables["settings"]), "")
    _show("settings of `ectype sample`", _settings(tables["sampling"]))
    for name, options in cls.sampling_presets.items():
        _show(f"another sampler, {name}: {' '.join(f'--{k} {v}' for k, v in options.items())}".replace("_", "-"))
    return 0


def data(argv: list[str]) -> int:
    """What was understood of some data."""
    flags = parse(Data, argv, "data")
    terminal = Terminal(quiet=flags.quiet)
    dataset = load(flags.data, **flags.reading, quiet=flags.quiet)
    X, refused = dataset.X, []
    while True:                                 # a column that cannot be learnt is shown, not in the way of the others
        try:
            kinds = dataset.signal or {c: k for c, k in flags.reading["kinds"].items() if c not in refused}
            schema = Schema.fit(X, kinds=kinds)
            break
        except ColumnError as error:
            terminal.note(str(error))
            refused.append(error.column)
            X = X.drop(columns=error.column)
    notes = list(dict.fromkeys((*dataset.notes, *schema.notes)))
    columns = describe(replace(dataset, X=X), schema)
    if flags.json:
        content = {"name": dataset.name, "kind": "table" if schema.is_table else schema.container, "rows": dataset.n_rows,
                   "label": dataset.label, "fingerprint": dataset.fingerprint, "notes": notes, "columns": columns}
        _show(json.dumps(content, indent=1))
        return 0
    size = f"rows, {len(columns)} columns" if schema.is_table else schema.container
    _show(f"{dataset.name}: {dataset.n_rows:,} {size}", "", _columns(columns))
    for note in notes:
        terminal.note(note)
    return 0


def _family(name: str) -> dict[str, Any]:
    entry, cls = registry.entry(name), registry.load(name)
    return {"name": entry.name, "aliases": list(entry.aliases), "title": entry.title, "paper": entry.paper,
            "can": [a for a in ABILITIES if a in cls.capabilities],
            "likelihood": next((k for k in LIKELIHOODS if k in cls.capabilities), None)}


def _families(content: Sequence[dict[str, Any]]) -> Table:
    table = _table("model", "", "paper", "can", "likelihood")
    for f in content:
        table.add_row(" or ".join((f["name"], *f["aliases"])), f["title"], f["paper"], " ".join(f["can"]), f["likelihood"] or NONE)
    return table


def _settings(options: Sequence[Option]) -> Table:
    table = _table("flag", "default", "takes", "meaning")
    for o in options:
        table.add_row(o.flag, _value(o.default), in_words(o.hint), o.meaning)
    return table


def _columns(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("column", "kind", "missing", "distinct", "range or examples", "note")
    for r in rows:
        shown = " to ".join(_value(v) for v in r["range"]) if r["range"] else ", ".join(map(str, r["examples"] or ()))
        table.add_row(r["column"], r["kind"], f"{r['missing']:,}" if r["missing"] else NONE, f"{r['distinct']:,}", shown, r["note"])
    return table


def _value(v: Any) -> str:
    if v is None or v == ():
        return NONE
    if isinstance(v, (tuple, list)):
        return " ".join(map(_value, v))
    return f"{v:g}" if isinstance(v, float) else str(v)


def _as_dict(o: Option) -> dict[str, Any]:
    return {"name": o.name, "flag": o.flag, "type": in_words(o.hint), "default": o.default, "meaning": o.meaning}


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, head in enumerate(heads):
        table.add_column(head, overflow="fold", no_wrap=i == 0)
    return table


def _show(*parts: RenderableType) -> None:
    """Write to standard output; rendered first, because rich would end the program by itself when the reader has gone."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as rendered:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str))
    sys.stdout.write(rendered.get())
