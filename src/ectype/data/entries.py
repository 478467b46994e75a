"""Files of one kind below a folder or in a zip, in natural order, and the labels that their sub-folders are."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

Entry = tuple[PurePosixPath, Callable[[], bytes]]


def folder_entries(folder: Path, suffixes: Collection[str]) -> list[Entry]:
    """The files below a folder whose names end so, by relative path, ``2.png`` before ``10.png``."""
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file()]
    return _in_order([(PurePosixPath(p.relative_to(folder).as_posix()), p.read_bytes) for p in paths])


def zip_entries(archive: zipfile.ZipFile, suffixes: Collection[str]) -> list[Entry]:
    """Those in an open zip, ordered as those of a folder."""
    paths = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    return _in_order([(p, lambda p=p: archive.read(str(p))) for p in paths if p.suffix.lower() in suffixes])


def _in_order(entries: list[Entry]) -> list[Entry]:
    visible = [e for e in entries if not any(part.startswith((".", "__MACOSX")) for part in e[0].parts)]
    return sorted(visible, key=lambda e: [(int(t), "") if i % 2 else (-1, t) for i, t in enumerate(re.split(r"(\d+)", str(e[0])))])


def folder_labels(paths: Sequence[PurePosixPath], what: str) -> tuple[pd.Series | None, list[str]]:
    """The folder of each file below the folder that holds them all; None where that is the same for all."""
    parents = [p.parts[:-1] for p in paths]
    shared = 0
    while all(len(p) > shared and p[shared] == parents[0][shared] for p in parents):
        shared += 1
    classes = ["/".join(p[shared:]) for p in parents]
    if len(set(classes)) == 1:
        return None, []
    if "" in classes:
        outside = f"{classes.count('')} of {len(classes)} lie outside"
        return None, [f"no labels, because not every {what} lies in a sub-folder: {outside}"]
    return pd.Series(classes, name="label", dtype="str"), []
