"""The Schema: the way in and back for every kind, dtype and container, and one clear message for what cannot be used."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from ectype.data.schema import Schema, infer_kind
from ectype.data.sources import load
from ectype.data.tables import read_text_table
from ectype.errors import DataError, InvalidParameterError, SchemaMismatchError, UnknownNameError

N = 60
RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 100, N)
DAYS = pd.Series(pd.to_datetime("2024-01-01") + pd.to_timedelta(RNG.integers(0, 500, N), unit="D"))
WORDS = pd.Series(RNG.choice(["red", "green", "blue"], N).astype(object))


def with_blanks(values, where=slice(0, 60, 7)):
    values = values.copy()
    values.iloc[where] = None
    return values


COLUMNS = {
    **{d: pd.Series(WHOLE.astype(d)) for d in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
    **{d: pd.Series(WHOLE / 7, dtype=d) for d in ("float16", "float32", "float64")},
    "float whole": pd.Series(WHOLE, dtype="float64"),
    "float blanks": with_blanks(pd.Series(RNG.normal(size=N))),
    "float32 blanks": with_blanks(pd.Series(RNG.normal(size=N), dtype="float32")),
    "whole blanks": with_blanks(pd.Series(WHOLE, dtype="float64")),
    "Int64": pd.Series(WHOLE, dtype="Int64"),
    "Int64 blanks": with_blanks(pd.Series(WHOLE, dtype="Int64")),
    "Int8 two values": with_blanks(pd.Series(WHOLE % 2, dtype="Int8")),
    "UInt8 blanks": with_blanks(pd.Series(WHOLE, dtype="UInt8")),
    "Float64 blanks": with_blanks(pd.Series(RNG.normal(size=N), dtype="Float64")),
    "Float32": pd.Series(RNG.normal(size=N), dtype="Float32"),
    "two integers": pd.Series(RNG.integers(0, 2, N)),
    "constant integer": pd.Series(np.full(N, 3)),
    "constant float": pd.Series(np.full(N, -2.5)),
    "bool": pd.Series(RNG.random(N) < 0.3),
    "boolean": pd.Series(RNG.random(N) < 0.3, dtype="boolean"),
    "boolean blanks": with_blanks(pd.Series(RNG.random(N) < 0.3, dtype="boolean")),
    "object bool blanks": with_blanks(pd.Series(RNG.random(N) < 0.3, dtype=object)),
    "object words": WORDS,
    "object words None": with_blanks(WORDS),
    "object words NaN": WORDS.where(RNG.random(N) < 0.8, np.nan),
    "str": WORDS.astype("str"),
    "str blanks": with_blanks(WORDS.astype("str")),
    "string": WORDS.astype("string"),
    "string blanks": with_blanks(WORDS.astype("string")),
    "category": WORDS.astype("category"),
    "category blanks": with_blanks(WORDS.astype("category")),
    "category of numbers": pd.Series(WHOLE % 5).astype("category"),
    "category unused": WORDS.astype(pd.CategoricalDtype(["violet", "red", "green", "blue"])),
    "ordered": with_blanks(WORDS.astype(pd.CategoricalDtype(["green", "blue", "red", "violet"], ordered=True))),
    "days": DAYS,
    "days blanks": with_blanks(DAYS),
    "days s": DAYS.astype("datetime64[s]"),
    "days ns": DAYS.astype("datetime64[ns]"),
    "days utc": DAYS.dt.tz_localize("UTC"),
    "hours zone blanks": with_blanks((DAYS + pd.to_timedelta(WHOLE, unit="h")).dt.tz_localize("UTC").dt.tz_convert("Europe/Paris")),
    "all blank": pd.Series(np.full(N, np.nan)),
    "all None": pd.Series([None] * N, dtype=object),
    "all NaT": pd.Series([pd.NaT] * N, dtype="datetime64[ns]"),
    "all NA": pd.Series([pd.NA] * N, dtype="Int64"),
}


def same(back, X):
    pd.testing.assert_frame_equal(back, X, check_categorical=False, check_freq=False, rtol=2e-5, atol=1e-5)
    for name in X:
        if X[name].dtype.kind in "biuM" or X[name].dtype in (object, "str", "string"):
            pd.testing.assert_series_equal(back[name], X[name])


@pytest.mark.parametrize("name", COLUMNS)
def test_every_dtype_comes_back(name):
    X = pd.DataFrame({"x": COLUMNS[name]})
    schema = Schema.fit(X)
    stored = schema.encode(X)
    assert stored.dtype == np.float32 and stored.shape == (N, 1)
    same(schema.decode(stored), X)
    revived = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert revived == schema
    same(revived.decode(stored), X)
    np.testing.assert_array_equal(revived.encode(X), stored)


@pytest.mark.parametrize("name", ["int64", "float64", "bool", "string", "timestamp"])
def test_arrow_dtypes_come_back(name):
    pa = pytest.importorskip("pyarrow")
    kind, base = {"int64": (pa.int64(), COLUMNS["Int64 blanks"]), "float64": (pa.float64(), COLUMNS["Float64 blanks"]),
                  "bool": (pa.bool_(), COLUMNS["boolean blanks"]), "string": (pa.string(), COLUMNS["string blanks"]),
                  "timestamp": (pa.timestamp("us", "UTC"), with_blanks(COLUMNS["days utc"]))}[name]
    X = pd.DataFrame({"x": base.astype(pd.ArrowDtype(kind))})
    schema = Schema.fit(X)
    if name == "string":                                                # pandas names two dtypes "string[pyarrow]"
        X = X.astype("string")
    same(schema.decode(schema.encode(X)), X)


def test_a_whole_table_with_its_order_and_blanks():
    X = pd.DataFrame(COLUMNS)
    schema = Schema.fit(X)
    back = schema.decode(schema.encode(X))
    assert list(back) == list(X) and (back.isna() == X.isna()).all().all()
    same(back, X)


def test_any_stored_array_decodes_to_valid_rows():
    X = pd.DataFrame(COLUMNS)
    schema = Schema.fit(X)
    back = schema.decode((3 * RNG.normal(size=(500, len(schema.blocks)))).astype(np.float32))
    for block in schema.blocks:
        assert back[block.name].dtype == X[block.name].dtype
        if block.type == "number":
            assert back[block.name].min() >= X[block.name].min() and back[block.name].max() <= X[block.name].max()
        else:
            assert set(back[block.name].dropna()) <= set(block.values)
    assert schema.accepts(back).all()


ARRAYS = {
    "float64": RNG.normal(size=(40, 3)), "float32": RNG.normal(size=(40, 3)).astype(np.float32),
    "int64": RNG.integers(0, 9, (40, 3)), "uint8": RNG.integers(0, 2, (40, 3)).astype(np.uint8), "bool": RNG.random((40, 2)) < 0.5,
    "blanks": np.where(RNG.random((40, 3)) < 0.2, np.nan, RNG.normal(size=(40, 3))),
    "mixed": np.array([[1, "a", True, 0.5], [2, "b", False, None], [7, None, True, 1.5]] * 12, dtype=object),
    "objects of numbers": RNG.integers(0, 9, (40, 3)).astype(object), "words": np.array([["a", "b"], ["b", "a"], ["a", "a"]] * 5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name):
    X = ARRAYS[name]
    schema = Schema.fit(X)
    back = schema.decode(schema.encode(X))
    assert back.dtype == (object if X.dtype.kind == "U" else X.dtype) and back.shape == X.shape
    as_frames = (pd.DataFrame(v).infer_objects() for v in (back, X))
    pd.testing.assert_frame_equal(*as_frames, rtol=2e-5, atol=1e-5, check_dtype=False)


def test_column_labels_that_are_numbers():
    X = pd.DataFrame(RNG.normal(size=(20, 2)), columns=[7, 3])
    schema = Schema.fit(X, kinds={7: "numeric"})
    assert list(schema.decode(schema.encode(X)).columns) == [7, 3]
    assert list(Schema.from_dict(schema.to_dict()).decode(schema.encode(X)).columns) == [7, 3]


def test_kinds_are_inferred():
    kinds = {"numeric": ["float64", "float blanks", "constant float", "Float32"],
             "integer": ["int8", "uint64", "float whole", "whole blanks", "Int64 blanks"],
             "boolean": ["bool", "boolean blanks", "object bool blanks"],
             "categorical": ["object words", "str", "string", "category of numbers", "two integers", "ordered"],
             "datetime": ["days", "hours zone blanks", "days s"]}
    for kind, names in kinds.items():
        for name in names:
            assert infer_kind(name, COLUMNS[name])[0] == kind, name
    assert infer_kind("x", COLUMNS["two integers"], is_array=True)[0] == "integer"


def test_numbers_with_a_few_words_are_numbers():
    X = pd.DataFrame({"a": ["1", "2", "30", "4", "n/a"] * 4, "b": ["0.5", "1.5", "7", "?", "2.25"] * 4,
                      "c": ["3", "1", "2", "5", "8"] * 4})
    schema = Schema.fit(X)
    assert [b.kind for b in schema.blocks] == ["integer", "numeric", "integer"]
    assert len(schema.notes) == 2 and "4 cells hold words ('n/a') and count as missing" in schema.notes[0]
    back = schema.decode(schema.encode(X))
    np.testing.assert_allclose(back["b"], [0.5, 1.5, 7, np.nan, 2.25] * 4)
    assert back["c"].dtype == "int64" and back["c"].tolist() == [3, 1, 2, 5, 8] * 4


def test_dates_as_text():
    X = pd.DataFrame({"plain": ["2024-01-05", "2023-12-31"] * 5, "zulu": ["2024-01-05T10:30:00Z", "2024-02-01T00:00:01Z"] * 5,
                      "offset": ["2024-01-05T10:30:00+02:00", None] * 5})
    schema = Schema.fit(X)
    assert [b.kind for b in schema.blocks] == ["datetime"] * 3 and schema.notes[0] == "plain: read as dates"
    back = schema.decode(schema.encode(X))
    assert back["plain"].tolist()[:2] == [pd.Timestamp("2024-01-05"), pd.Timestamp("2023-12-31")]
    assert back["zulu"][1] == pd.Timestamp("2024-02-01 00:00:01") and back["offset"][0] == pd.Timestamp("2024-01-05 08:30")
    assert back["offset"].isna().tolist() == [False, True] * 5


def test_kinds_can_be_overridden():
    X = pd.DataFrame({"zip": [10115, 20095, 80331, 50667] * 5, "flag": [0, 1, 1, 0] * 5})
    schema = Schema.fit(X, kinds={"zip": "categorical", "flag": "numeric"})
    assert [b.kind for b in schema.blocks] == ["categorical", "numeric"]
    same(schema.decode(schema.encode(X)), X)
    with pytest.raises(InvalidParameterError, match=r"one of numeric, .* got zipcode"):
        Schema.fit(X, kinds={"zip": "zipcode"})
    with pytest.raises(UnknownNameError, match="did you mean zip"):
        Schema.fit(X, kinds={"zipp": "categorical"})
    with pytest.raises(DataError, match="cannot be read as numeric"):
        Schema.fit(pd.DataFrame({"w": ["a", "b"] * 5}), kinds={"w": "numeric"})


UNUSABLE = {
    "one row": (pd.DataFrame({"a": [1.0]}), "at least 2 rows, got n_samples = 1"),
    "no rows": (np.zeros((0, 3)), "n_samples = 0"),
    "no columns": (pd.DataFrame(index=range(5)), r"0 feature\(s\)"),
    "infinities": (pd.DataFrame({"age": [1.0, np.inf]}), "column 'age' has infinite values"),
    "10,000 categories": (pd.DataFrame({"w": [f"w{i % 10_000}" for i in range(30_000)]}), "column 'w' has 10,000 categories"),
    "an identifier": (pd.DataFrame({"id": [f"id-{i}" for i in range(200)]}), "column 'id' .* an identifier"),
    "repeated names": (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "column names are repeated.* got 'a'"),
    "names equal as text": (pd.DataFrame([[1, 2], [3, 4]], columns=[1, "1"]), "column names are repeated"),
    "time differences": (pd.DataFrame({"t": pd.to_timedelta([1, 2], unit="s")}), "total_seconds"),
    "complex numbers": (np.zeros((3, 2), complex), "Complex data not supported"),
    "five dimensions": (np.zeros((2, 2, 2, 2, 2)), "this shape cannot be read"),
    "pixels below zero": (np.full((3, 4, 4), -1.0), "pixels below zero"),
    "pixels above 255": (np.full((3, 4, 4), 300), "pixels out of range"),
    "pixels not finite": (np.full((3, 4, 4), np.nan), "not finite"),
    "images without pixels": (np.zeros((3, 0, 4)), "without pixels"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_said(case):
    X, message = UNUSABLE[case]
    with pytest.raises(DataError, match=message):
        Schema.fit(X)


def test_what_does_not_fit_is_said():
    schema = Schema.fit(pd.DataFrame({"a": [1.5, 2.0, 3.0], "b": ["u", "v", "u"]}))
    good = pd.DataFrame({"b": ["v"], "extra": [1], "a": [2.0]})
    assert schema.encode(good).shape == (1, 2)                          # by name: order and further columns do not matter
    for bad, message in ((good.drop(columns="a"), "no 'a'"), (good.assign(b="w"), "'b' has categories"),
                         (good.assign(a=np.nan), "'a' has blanks"), (good.assign(b=None), "'b' has blanks"),
                         (np.zeros((2, 4, 4)), "images were given"), (np.zeros((2, 3)), "2 features, got 3")):
        with pytest.raises(SchemaMismatchError, match=message):
            schema.encode(bad)
    pictures = Schema.fit(np.zeros((3, 4, 4), np.uint8))
    for bad, message in ((np.zeros((2, 4)), "a table was given"), (good, "a table was given"),
                         (np.zeros((2, 4, 5), np.uint8), "images of another shape")):
        with pytest.raises(SchemaMismatchError, match=message):
            pictures.encode(bad)


def test_words_among_numbers_are_named():
    schema = Schema.fit(pd.DataFrame({"n": [1, 2, 4], "when": pd.to_datetime(["2021-03-04", "2021-03-05", "2021-05-05"])}))
    bad = pd.DataFrame({"n": [1, "two", None, "three"], "when": ["2021-03-04"] * 4}, dtype=object)
    with pytest.raises(SchemaMismatchError, match="'n' has values that are no numbers: .* got 'two' in row 2 of 4, and 1 more"):
        schema.encode(bad)
    with pytest.raises(SchemaMismatchError, match="'when' has values that are no dates: .* got 'soon' in row 1 of 4"):
        schema.encode(bad.assign(n=1, when=["soon", *bad["when"][1:]]))
    with pytest.raises(SchemaMismatchError, match="'x1' has values that are no numbers: .* got 'two' in row 2 of 2"):
        Schema.fit(np.arange(6.0).reshape(3, 2)).encode(np.array([[1, 2], [1, "two"]], object))


def test_a_new_text_has_the_values_of_the_training_columns():
    """Whatever the new file alone looks like: digits that are words, whole numbers that are categories, one cell that says nothing."""
    X = pd.DataFrame({"zip": ["01", "10", "99"], "flag": [True, False, True], "two": [0, 1, 1], "x": [0.5, 1.5, np.nan],
                      "bit": [False, True, True]})
    schema = Schema.fit(X, kinds={"bit": "numeric"})
    assert schema.reading == {"zip": "categorical", "flag": "boolean", "two": "numeric", "x": "numeric", "bit": "boolean"}
    new, _ = read_text_table(b"zip,flag,two,x,bit\n10,True,1,abc,True\n99,False,0,7,False\n", kinds=schema.reading)
    np.testing.assert_array_equal(schema.encode(new), schema.encode(X[:2].assign(
        zip=["10", "99"], flag=[True, False], two=[1, 0], x=[np.nan, 7.0], bit=[True, False])))
    odd, _ = read_text_table(b"zip,flag,two,x,bit\n10,True,1,1,True\n99,False,yes,7,False\n", kinds=schema.reading)
    with pytest.raises(SchemaMismatchError, match="'two' has categories .* got 'yes'"):
        schema.encode(odd)


def test_accepts_says_which_rows_can_be_encoded():
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 5.0], "b": ["u", "v", "u", "v"], "c": [1.0, None, 2.0, 2.0]})
    schema = Schema.fit(X)
    other = pd.DataFrame({"a": [1.0, None, 3.0, 9.0], "b": ["u", "v", "w", None], "c": [None, 1.0, 1.0, 1.0]})
    np.testing.assert_array_equal(schema.accepts(other), [True, False, False, False])
    assert schema.encode(other[schema.accepts(other)]).shape == (1, 3)


def test_rows_outside_the_training_range_are_kept_inside():
    schema = Schema.fit(pd.DataFrame({"a": [0.0, 1.0, 2.5]}))
    back = schema.decode(schema.encode(pd.DataFrame({"a": [3.0, -1.0, 100.0]})))["a"]
    assert back[0] == 2.0 and back[1] == 1.0 and 0 <= back[2] <= 2.5    # mirrored


def test_a_real_table_comes_back():
    if "ECTYPE_DATA_DIR" not in os.environ:
        pytest.skip("the folder of real data (ECTYPE_DATA_DIR) is not here")
    X = load("adult").X
    schema = Schema.fit(X)
    same(schema.decode(schema.encode(X)), X)
    assert {b.name for b in schema.blocks if b.type == "number"} == {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss",
                                                                     "hours-per-week"}


def test_a_rare_category_does_not_vanish():
    X = pd.DataFrame({"c": ["common"] * 999 + ["rare"]})
    schema = Schema.fit(X)
    assert schema.blocks[0].n_codes == 2 and schema.decode(schema.encode(X))["c"].iloc[-1] == "rare"


@pytest.mark.parametrize(("form", "note"), [("%d/%m/%Y", "the day first"), ("%m/%d/%Y", "the month first"), ("%Y-%m-%d", "read as dates"),
                                            ("%d.%m.%Y %H:%M", "the day first")])
def test_a_column_of_dates_has_one_order_of_day_and_month(form, note):
    """Read cell by cell, 03/04/2021 and 25/03/2021 would be taken in different orders."""
    days = pd.Series(pd.date_range("2021-01-01", periods=300))
    frame = pd.DataFrame({"day": days.dt.strftime(form)})
    schema = Schema.fit(frame)
    assert schema.blocks[0].kind == "datetime" and note in schema.notes[0]
    decoded = Schema.from_dict(json.loads(json.dumps(schema.to_dict()))).decode(schema.encode(frame))["day"]
    assert (decoded.dt.normalize() == days).all()


def test_a_date_that_begins_with_the_year_has_the_month_next():
    """In a column whose days stand first too: what a sample is written as is what it is read as."""
    days = pd.Series(pd.date_range("2021-01-01", periods=300))
    schema = Schema.fit(pd.DataFrame({"day": days.dt.strftime("%d/%m/%Y")}))
    for form in ("%Y-%m-%d", "%Y/%m/%d", "%Y-%m-%d 00:00:00", "%Y%m%d", "%d/%m/%Y"):
        decoded = schema.decode(schema.encode(pd.DataFrame({"day": days.dt.strftime(form)})))["day"]
        assert (decoded.dt.normalize() == days).all(), form
    with_blanks = Schema.fit(pd.DataFrame({"day": [*days.dt.strftime("%d/%m/%Y"), None]}))
    mixed = pd.DataFrame({"day": ["2021-03-04", "04/03/2021", None, "2021-04-03"]})
    assert list(with_blanks.decode(with_blanks.encode(mixed))["day"].dt.month.fillna(0)) == [3, 3, 0, 4]


def test_dates_that_do_not_tell_their_order_are_said_to():
    (note,) = Schema.fit(pd.DataFrame({"day": [f"0{m}/0{d}/2021" for m in range(1, 10) for d in range(1, 10)]})).notes
    assert "no row tells" in note


def test_digits_with_leading_zeros_are_words():
    schema = Schema.fit(pd.DataFrame({"zip": [f"{v:05d}" for v in (101, 20095, 80331, 101, 20095)]}))
    assert schema.blocks[0].kind == "categorical" and schema.decode(np.zeros((1, 1)))["zip"][0] in ("00101", "20095")


def test_a_kind_that_is_given_is_not_inferred():
    amounts = pd.DataFrame({"price": [f"${v}.50" for v in range(400)]})
    with pytest.raises(DataError, match="cannot be read as numeric"):
        Schema.fit(amounts, kinds={"price": "numeric"})
    with pytest.raises(DataError, match="identifier"):
        Schema.fit(amounts)


def test_row_numbers_are_remarked_upon():
    (note,) = Schema.fit(pd.DataFrame({"id": np.arange(1000, 1200), "v": np.arange(200) % 7})).notes
    assert note.startswith("id: counts on by one")


def test_channels_first_is_refused_with_the_way_out():
    with pytest.raises(DataError, match=r"more than four channels.*\n.*moveaxis"):
        Schema.fit(np.zeros((20, 3, 32, 32), np.uint8))


def test_numbers_are_no_dates():
    with pytest.raises(DataError, match="holds numbers"):
        Schema.fit(pd.DataFrame({"t": [1_600_000_000, 1_600_000_001]}), kinds={"t": "datetime"})
