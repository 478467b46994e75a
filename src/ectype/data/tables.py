"""Tables from text (CSV, TSV and their kin) and from Parquet.

A text table says nothing about itself, so encoding, delimiter, header line and decimal mark are found out here, and every guess
that could surprise becomes a note. Cells keep their meaning: numbers are parsed exactly, words stay words even among numbers (what
such a column *is* decides :class:`~ectype.data.schema.Schema`), and the usual marks of a missing value become missing.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd

from ..errors import DataFileError, MissingExtraError
from .blocks import MAX_CATEGORIES, some
from .schema import NUMBERS_SHARE

DELIMITERS = "\t;|,"            # in the order in which they win a tie: a comma is the likeliest to occur inside a cell
SAMPLE_ROWS = 100
MISSING = frozenset({"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
                     "NULL", "NaN", "None", "n/a", "nan", "null"})
OF_NUMBERS = ("numeric", "integer")
BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
WITH_SIGN = re.compile(r"(?P<sign>[+-]?)(?P<before>[$€£¥]?) ?(?P<number>\d[\d.,]*) ?(?P<after>[%$€£¥]?)")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
WHOLE = re.compile(r"[+-]?\d{1,18}")
DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+(,\d+)?|\d+,\d+)")
NO_LIST = r"[+-]?(?:0,\d+|\d+,(?:\d\d|\d{4,}))"     # a decimal comma for certain, where "1,2" may be two answers


def read_text_table(data: bytes, *, kinds: Mapping[str, str] | None = None, columns: Sequence[str] | None = None,
                    ) -> tuple[pd.DataFrame, list[str]]:
    """A table and what was noted about it, from the bytes of a text file.

    ``kinds`` keeps the text of categorical columns as it is (``01234`` stays ``01234``), and reads what can be read in columns of numbers
    or booleans, however few cells those are. ``columns`` names the columns of a file that is known to have no header line. Raises
    :class:`DataFileError` for a file that is empty or has only a header, or that is no table.
    """
    text, notes = _decode(data)
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if text.lstrip()[:15].lower().startswith(("<!doctype", "<html", "<?xml")):
        raise DataFileError("this is not a table", expected="delimited text", got="a web page", hint="download the file itself")
    if said := re.match(r"sep=(.)\n", text):                # the line that Excel writes to itself
        text = text[said.end():]
    if not text.strip():
        raise DataFileError("the file is empty", expected="a header line and at least 2 rows")
    delimiter = said[1] if said else _delimiter(text)
    head = _rows(text, delimiter)
    width = _width(head)
    frame = _cells(text, delimiter, width)

    names = None if columns is None else list(columns)
    if names is None and _has_header(head):
        names, frame = [name.strip() for name in frame.iloc[0]], frame.iloc[1:]
        if any(names) and all(_number(name) is not None for name in names if name):
            notes.append("the first line counts up, so it is taken as the names of the columns")
    elif names is None:
        names = [f"column_{i + 1}" for i in range(width)]
        notes.append(f"no header line: the columns are named column_1 to column_{width}")
    elif len(names) != width:
        raise DataFileError("another number of columns", expected=len(names), got=width)
    if frame.empty:
        raise DataFileError("there is only a header line", expected="at least 2 rows below it", got=some(names))

    parsed, marks, kinds = [], Counter(), kinds or {}
    told = [True if delimiter != "," else None if kinds.get(name) == "categorical" else _comma_is_decimal(frame[column], kinds.get(name))
            for name, column in zip(names, frame, strict=True)]
    usually = True in told and False not in told and any(       # in columns that may mean either
        decimal and frame[column].str.strip().str.fullmatch(NO_LIST).any() for column, decimal in zip(frame, told, strict=True))
    for name, column, decimal in zip(names, frame, told, strict=True):
        values, note, n_marks = _parse(frame[column], usually if decimal is None else decimal, kinds.get(name))
        parsed.append(values)
        marks[name or "(unnamed)"] += n_marks
        notes += [f"{name}: {note}"] if note else []
    if marks.total():
        where = [name for name, n in marks.items() if n]
        notes.append(f"'?' counts as missing ({marks.total():,} in {some(where)})")
    return _tidy(names, parsed, notes), notes


def read_parquet(data: bytes) -> tuple[pd.DataFrame, list[str]]:
    """A table from the bytes of a Parquet file; an index with a name becomes a column. Needs pyarrow, the extra ``parquet``."""
    try:
        import pyarrow as pa
    except ImportError as e:
        raise MissingExtraError("pyarrow", "parquet", "reading a Parquet file") from e
    notes = []
    try:
        frame = pd.read_parquet(io.BytesIO(data), engine="pyarrow")
    except (pa.ArrowException, OSError, ValueError) as e:
        raise DataFileError("the Parquet file cannot be read", got=str(e).splitlines()[0],
                            hint="write it again; it may be cut short") from e
    if any(name is not None for name in frame.index.names):
        notes.append(f"the index {some(frame.index.names)} is read as a column")
        frame = frame.reset_index()
    frame.columns = [str(c).strip() for c in frame.columns]
    _refuse_repeated(list(frame.columns))
    for name in frame:
        first = frame[name].dropna().head(1).tolist()
        if first and isinstance(first[0], (list, dict, np.ndarray)):
            raise DataFileError(f"column {name!r} holds nested values", expected="numbers, words, booleans or datetimes",
                                got=type(first[0]).__name__, hint="write the file without it, or with one column per value")
    return frame, notes


def _decode(data: bytes) -> tuple[str, list[str]]:
    """Text of a file: by its byte order mark, else UTF-8, else the Windows code page of western Europe."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16"), []
        except UnicodeDecodeError as e:
            raise DataFileError("the file is not text", got=f"bytes {data[:8].hex(' ')}") from e
    if b"\0" in data[:65536]:
        raise DataFileError("the format of this file is not known", got=f"bytes {data[:8].hex(' ')}",
                            expected="CSV, TSV, Parquet, NPY, NPZ, IDX, or a folder or zip of pictures")
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), ["the text is not UTF-8; read as Windows-1252"]


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first non-blank rows."""
    lines = (line.group() for line in re.finditer(r"[^\n]*\n|[^\n]+", text))
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return list(islice((row for row in reader if row), SAMPLE_ROWS))
    except csv.Error as e:
        raise DataFileError("the text cannot be split into cells", got=str(e), hint="look for an unclosed quotation mark") from e


def _delimiter(text: str) -> str:
    """The delimiter under which most rows are as wide as the first, and wider than one cell; a comma where there is none."""
    def agreement(delimiter: str) -> float:
        widths = [len(row) for row in _rows(text, delimiter)]
        return 0.0 if widths[0] == 1 else sum(w == widths[0] for w in widths) / len(widths)
    best = max(DELIMITERS, key=agreement)
    return best if agreement(best) > 0 else ","


def _width(head: list[list[str]]) -> int:
    """Number of columns: that of the first line, unless each row ends with a delimiter and so with blank cells beyond it."""
    width = len(head[0])
    for i, row in enumerate(head):
        if any(cell.strip() for cell in row[width:]):
            raise DataFileError(f"row {i + 1} is longer than the first line", expected=f"{width} cells", got=f"{len(row)} cells",
                                hint="quote cells that contain the delimiter, and name every column")
    return max(map(len, head))


def _cells(text: str, delimiter: str, width: int) -> pd.DataFrame:
    """Every cell as text, in columns 0 … width − 1; trailing rows without content are left out."""
    try:
        frame = pd.read_csv(io.StringIO(text), sep=delimiter, header=None, names=range(width), index_col=False, dtype=object,
                            na_filter=False, skipinitialspace=True, skip_blank_lines=width > 1)
    except pd.errors.ParserError as e:
        reason = str(e).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataFileError("the text cannot be split into cells", got=reason,
                            hint="quote cells that contain the delimiter, and close every quotation mark") from e
    n = len(frame)
    while n > 1 and not any(cell.strip() for cell in frame.iloc[n - 1]):
        n -= 1
    return frame.iloc[:n]


def _has_header(head: list[list[str]]) -> bool:
    """Whether the first row names the columns.

    It does where its numbers count up by one (0, 1, 2, … as pandas names columns, or years), and not where any other number stands
    above a column of numbers. Where no column is of numbers, it does unless it looks like the rows below: it repeats itself, or all
    its cells occur again.
    """
    first, body = [cell.strip() for cell in head[0]], head[1:]
    if not body:
        return not any(_number(cell) is not None for cell in first)
    numbers = [_number(cell) for cell in first if cell]
    counts_up = [n for n in numbers if n is not None]
    enough = 2 if counts_up[:1] == [0] and None not in numbers else 3
    if len(counts_up) >= enough and np.all(np.diff(counts_up) == 1):
        return True
    numeric = 0
    for i, cell in enumerate(first):
        below = [row[i].strip() for row in body if i < len(row) and row[i].strip() not in MISSING | {"?"}]
        if below and np.mean([_number(word) is not None for word in below]) >= NUMBERS_SHARE:
            numeric += 1
            if _number(cell) is not None:
                return False
    if numeric:
        return True
    seen = [{row[i].strip() for row in body if i < len(row)} for i in range(len(first))]
    repeats = len(set(first)) < len(first)
    return not (repeats or all(cell in words for cell, words in zip(first, seen, strict=True)))


def _number(word: str) -> float | None:
    """The number that a word says, exactly rounded; None for anything else."""
    if "_" in word:                     # Python reads 1_000, a table does not mean it
        return None
    try:
        return float(word)
    except ValueError:
        return None


def _parse(cells: pd.Series, decimal: bool, kind: str | None) -> tuple[pd.Series, str | None, int]:
    """A column of text as integers, floats, booleans or words; a note; and how many cells hold a question mark.

    decimal : a comma inside a number is a decimal mark; else it stands between thousands.
    """
    codes, words = pd.factorize(cells)                      # each distinct text is parsed once
    words = [word.strip() for word in words]
    blank = np.array([word in MISSING or word == "?" for word in words], bool)
    n_marks = int(np.isin(codes, [i for i, word in enumerate(words) if word == "?"]).sum())
    filled = [word for word, absent in zip(words, blank, strict=True) if not absent]

    def column(values: Sequence[object]) -> np.ndarray:
        table = np.full(len(words), np.nan, dtype=object)
        table[~blank] = values
        return table[codes]

    if not filled:
        return pd.Series(column([]).astype(np.float64)), None, n_marks
    zeros = kind is None and _are_codes(filled)
    if kind == "categorical" or zeros:
        note = "numbers of one length with leading zeros, so they are read as words" if zeros else None
        return pd.Series(pd.Categorical(column(filled))), note, n_marks
    are_booleans = [word in BOOLEANS for word in filled]
    if all(are_booleans) or (kind == "boolean" and any(are_booleans)):
        return pd.Series(column([BOOLEANS.get(word, word) for word in filled])).infer_objects(), None, n_marks
    numbers, note = [_number(word) for word in filled], None
    if None in numbers:
        bare, sign = without_sign(filled)
        bare, note = _usual_numbers(bare, decimal, kind)
        if sign and _share(bare) >= _least(kind):           # a column of numbers with a sign; else one of words
            filled, note = bare, "; ".join(filter(None, (sign, note)))
        else:
            filled, note = _usual_numbers(filled, decimal, kind)
        numbers = [_number(word) for word in filled]
    if None in numbers:
        if kind in OF_NUMBERS:
            filled = [word if number is None else int(word) if WHOLE.fullmatch(word) else number
                      for word, number in zip(filled, numbers, strict=True)]
        return pd.Series(column(filled)).infer_objects(), note, n_marks
    if any(word[0] == "0" and word.isdigit() and len(word) > 1 for word in filled):
        note = "; ".join(filter(None, (note, "zeros in front of numbers are left out; a key is better left out itself, or read as words")))
    if all(WHOLE.fullmatch(word) for word in filled) and not blank[codes].any():
        return pd.Series(column([int(word) for word in filled]).astype(np.int64)), note, n_marks
    return pd.Series(column(numbers).astype(np.float64)), note, n_marks


def _are_codes(words: list[str]) -> bool:
    """Whether distinct words look like postcodes and their kind: digits, all of one length, some with a zero in front."""
    return (1 < len(words) <= MAX_CATEGORIES and len({len(word) for word in words}) == 1 < len(words[0])
            and all(word.isascii() and word.isdigit() for word in words) and any(word[0] == "0" for word in words))


def without_sign(words: list[str]) -> tuple[list[str], str | None]:
    """Numbers without a sign of percent or of a currency, where they have one: that which most have."""
    found = [WITH_SIGN.fullmatch(word) for word in words]
    units = Counter((m["before"], m["after"]) for m in found if m and bool(m["before"]) != bool(m["after"]))
    if not units:
        return words, None
    ((before, after), _), *_ = units.most_common(1)
    bare = [m["sign"] + m["number"] if m and (m["before"], m["after"]) == (before, after) else word
            for m, word in zip(found, words, strict=True)]
    return bare, f"{before or after} is left out"


def _usual_numbers(words: list[str], decimal: bool, kind: str | None) -> tuple[list[str], str | None]:
    """Numbers with a decimal comma or with marks between the thousands, in the usual notation, where a column is made of them."""
    usual = _with_point(words) if decimal else _joined(words)
    after = _share(usual)
    if after < _least(kind) or after == _share(words):
        return words, None
    return usual, "read with a decimal comma" if decimal else "commas between thousands are left out"


def _comma_is_decimal(cells: pd.Series, kind: str | None) -> bool | None:
    """What a column tells of commas inside numbers, in a file with commas between its cells: decimal marks (``"1,5"``), or between
    thousands (``"1,500.5"``); None where it is not made of numbers with commas, or where they may be either (``"1,500"``)."""
    words = [word.strip() for word in cells.unique()]
    words, _ = without_sign([word for word in words if word not in MISSING and word != "?"])
    if not any("," in word for word in words):
        return None
    decimal, thousands = _share(_with_point(words)), _share(_joined(words))
    return None if max(decimal, thousands) < _least(kind) or decimal == thousands else decimal > thousands


def _with_point(words: list[str]) -> list[str]:
    return [word.replace(".", "").replace(",", ".") if DECIMAL_COMMA.fullmatch(word) else word for word in words]


def _joined(words: list[str]) -> list[str]:
    return [word.replace(",", "") if THOUSANDS.fullmatch(word) else word for word in words]


def _least(kind: str | None) -> float:
    """The share of numbers that makes a column one of numbers: any, where that is known."""
    return 0.0 if kind in OF_NUMBERS else NUMBERS_SHARE


def _share(words: list[str]) -> float:
    """The share of words that are numbers."""
    return float(np.mean([_number(word) is not None for word in words]))


def _tidy(names: list[str], columns: list[pd.Series], notes: list[str]) -> pd.DataFrame:
    """Name the columns; leave out nameless ones that are blank, or that only count the rows."""
    kept_names, kept = [], []
    for i, (name, values) in enumerate(zip(names, columns, strict=True)):
        if not name and values.isna().all():
            notes.append(f"column {i + 1} has no name and no values; left out")
            continue
        if not name and values.dtype == np.int64 and (np.diff(values) == 1).all() and values.iloc[0] in (0, 1):
            notes.append(f"column {i + 1} has no name and counts the rows; left out")
            continue
        kept_names.append(name or f"column_{i + 1}")
        kept.append(values)
    _refuse_repeated(kept_names)
    return pd.DataFrame(dict(zip(kept_names, kept, strict=True)))


def _refuse_repeated(names: list[str]) -> None:
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise DataFileError("column names are repeated", expected="unique names", got=some(repeated),
                            hint="rename them in the header line")
