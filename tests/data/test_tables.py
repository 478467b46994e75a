"""Text tables and Parquet: nothing is lost, every guess is noted, every mistake is named."""

import io

import numpy as np
import pandas as pd
import pytest

from ectype.data.blocks import MAX_CATEGORIES
from ectype.data.tables import read_parquet, read_text_table
from ectype.errors import DataFileError


def read(text, **options):
    return read_text_table(text.encode() if isinstance(text, str) else text, **options)


def test_cells_keep_their_meaning():
    frame, notes = read("n,w,b,f,s\n1, x ,True,0.1,1\n2,y,False,1e-3,high\n3,\"a, b\",True,-2,3\n")
    assert frame.dtypes.astype(str).to_dict() == {"n": "int64", "w": "str", "b": "bool", "f": "float64", "s": "str"}
    assert frame["w"].tolist() == ["x", "y", "a, b"]
    assert frame["f"].tolist() == [0.1, 1e-3, -2.0]
    assert frame["s"].tolist() == ["1", "high", "3"]
    assert notes == []


def test_numbers_are_read_to_the_last_bit():
    values = np.random.default_rng(0).lognormal(sigma=20, size=500)
    frame, _ = read("v,k\n" + "".join(f"{v!r},1\n" for v in values.tolist()))
    assert frame["v"].tolist() == values.tolist()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiter_and_line_ends(delimiter, newline):
    rows = [["id", "text"], ["1", "one"], ["2", "two"], ["3", "three"]]
    frame, _ = read(newline.join(delimiter.join(row) for row in rows))
    assert frame.to_dict("list") == {"id": [1, 2, 3], "text": ["one", "two", "three"]}


def test_commas_inside_cells_do_not_win():
    frame, _ = read("id;text\n1;a,b\n2;c,d\n3;e,f\n")
    assert frame["text"].tolist() == ["a,b", "c,d", "e,f"]


def test_delimiter_said_by_excel():
    frame, _ = read("sep=;\na;b\n1;2\n3;4\n")
    assert frame.to_dict("list") == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(("encoding", "noted"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)])
def test_encoding(encoding, noted):
    frame, notes = read("größe,preis\nä,1\nö,2\n".encode(encoding))
    assert frame["größe"].tolist() == ["ä", "ö"]
    assert any("Windows-1252" in note for note in notes) == noted


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "null", "None", "n/a", " N/A ", "?"])
def test_marks_of_missing_values(mark):
    frame, notes = read(f"v,w\n1,a\n{mark},{mark}\n3,c\n")
    assert frame["v"].isna().tolist() == frame["w"].isna().tolist() == [False, True, False]
    assert frame["v"].dtype == np.float64
    assert notes == (["'?' counts as missing (2 in 'v', 'w')"] if mark == "?" else [])


def test_a_question_mark_inside_a_word_is_a_word():
    frame, notes = read("v,w\nwhat?,1\nwho?,2\n")
    assert frame["v"].tolist() == ["what?", "who?"]
    assert notes == []


def test_infinities_are_left_for_the_schema_to_refuse():
    assert np.isinf(read("v,w\n1,1\ninf,2\n-Infinity,3\n")[0]["v"]).tolist() == [False, True, True]


def test_leading_zeros_are_kept():
    frame, notes = read("zip,n\n01234,1\n12345,2\n")
    assert frame["zip"].tolist() == ["01234", "12345"]
    assert isinstance(frame["zip"].dtype, pd.CategoricalDtype)
    assert "leading zeros" in notes[0]
    assert read("zip,n\n01234,1\n12345,2\n", kinds={"zip": "integer"})[0]["zip"].tolist() == [1234, 12345]


def test_zeros_that_are_lost_are_told():
    frame, notes = read("key\n" + "\n".join(f"{i:05d}" for i in range(MAX_CATEGORIES + 1)))
    assert frame["key"].tolist() == list(range(MAX_CATEGORIES + 1)) and "zeros in front of numbers are left out" in notes[0]
    assert read("n\n0\n10\n0.5\n")[1] == []


def test_kinds_keep_the_text_of_categories():
    frame, _ = read("level,n\n1.0,1\n2.50,2\n", kinds={"level": "categorical"})
    assert frame["level"].tolist() == ["1.0", "2.50"]


def test_decimal_comma():
    frame, notes = read("a;b;c\n1,5;1.234,5;x,1\n2,25;2.000;y\n3;17;z\n")
    assert frame["a"].tolist() == [1.5, 2.25, 3.0]
    assert frame["b"].tolist() == [1234.5, 2000.0, 17.0]
    assert frame["c"].tolist() == ["x,1", "y", "z"]
    assert notes == ["a: read with a decimal comma", "b: read with a decimal comma"]


def test_a_decimal_comma_is_read_also_beside_a_few_words():
    cells = [f"{i},5" for i in range(9)] + ["none"]
    frame, _ = read("a;b\n" + "".join(f"{cell};1\n" for cell in cells))
    assert frame["a"].tolist() == [f"{i}.5" for i in range(9)] + ["none"]


@pytest.mark.parametrize(("write", "unit"), [("{:.1f}%", "%"), ("${:.2f}", "$"), ("{:.2f} €", "€"), ("£{:,.2f}", "£")])
def test_the_unit_of_numbers_is_left_out(write, unit):
    values = np.random.default_rng(0).uniform(1000, 9000, 60).round(1)
    cells = [write.format(v) for v in values]
    cells[3], cells[7] = "", "unknown"
    frame, notes = read("v,w\n" + "".join(f'"{cell}",a\n' for cell in cells))
    assert any(note.startswith(f"v: {unit} is left out") for note in notes)
    numbers = pd.to_numeric(frame["v"], errors="coerce").to_numpy()
    known = np.delete(np.arange(60), [3, 7])
    np.testing.assert_allclose(numbers[known], values[known])
    assert np.isnan(numbers[[3, 7]]).all() and frame["v"][7] == "unknown"


@pytest.mark.parametrize("words", [["2WD", "4WD"], ["3.5%", "4 kg", "5 m", "6"], ["A1", "B2", "C3"], ["10:30", "11:15"], ["3.5%", "often", "never"], ["10k", "20k"], ["001A", "002A"]])
def test_words_that_hold_numbers_stay(words):
    frame, notes = read("v,w\n" + "".join(f"{word},1\n" for word in words * 20))
    assert set(frame["v"]) == set(words) and not any("left out" in note for note in notes)


def test_commas_between_thousands():
    frame, notes = read('a,b\n"1,234",1\n12,2\n"1,000,000.5",3\n')
    assert frame["a"].tolist() == [1234.0, 12.0, 1000000.5]
    assert "thousands" in notes[0]


def test_a_decimal_comma_in_a_file_with_commas_between_cells():
    frame, notes = read('a,b,c,d\n"1,5","1,234",7,"3,4 kg"\n"0,250","2,500",8,x\n3,17,9,y\n')
    assert frame["a"].tolist() == [1.5, 0.25, 3.0]                      # tells what a comma means here
    assert frame["b"].tolist() == [1.234, 2.5, 17.0]                    # would not by itself
    assert frame["c"].tolist() == [7, 8, 9] and frame["d"].tolist() == ["3,4 kg", "x", "y"]
    assert notes == ["a: read with a decimal comma", "b: read with a decimal comma"]
    frame, _ = read('a,b,c\n"1,5","1,234.5","1,234"\n2,17,9\n')        # columns that contradict each other speak for themselves
    assert frame.iloc[0].tolist() == [1.5, 1234.5, 1234.0]
    frame, _ = read('a,b\n"1,2","45,000"\n"2,3","52,000"\n1,"61,500"\n')       # a list of answers does not tell what a salary means
    assert frame["b"].tolist() == [45000, 52000, 61500]
    frame, _ = read('a,b\n"1,2",1\n"2,3",2\n', kinds={"a": "categorical"})
    assert frame["a"].tolist() == ["1,2", "2,3"]


@pytest.mark.parametrize("text", [
    "5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,3,virginica\n",           # a number above a column of numbers
    "p,x,s\ne,x,y\np,y,s\ne,x,s\n",                                # all cells occur again
    "a,a,b\nb,c,d\nc,d,e\n",                                       # a repeated cell
])
def test_a_missing_header_is_noticed(text):
    frame, notes = read(text)
    assert frame.columns.tolist() == ["column_1", "column_2", "column_3"]
    assert len(frame) == text.count("\n")
    assert "no header line" in notes[0]


@pytest.mark.parametrize("text", [
    "group,colour\nx,red\ny,blue\nx,blue\n",                       # words only
    "0,1,2\n0.5,0.6,0.7\n0.1,0.2,0.3\n",                           # the names that pandas gives
    "country,2001,2002,2003\nFR,1,2,3\nDE,3,4,5\n",                # years
    "a,b\n?,\n1,2\n",                                              # blanks in the first row
])
def test_a_header_is_recognised(text):
    frame, notes = read(text)
    assert frame.columns.tolist() == text.partition("\n")[0].split(",")
    assert not any("no header line" in note for note in notes)


def test_nameless_columns_that_say_nothing_are_left_out():
    frame, notes = read(",a,b,\n0,1,x,\n1,3,y,\n2,5,z,\n")
    assert frame.to_dict("list") == {"a": [1, 3, 5], "b": ["x", "y", "z"]}
    assert notes == ["column 1 has no name and counts the rows; left out", "column 4 has no name and no values; left out"]


def test_a_nameless_column_with_values_stays():
    assert read("a,,b\n1,7,2\n3,5,4\n")[0].columns.tolist() == ["a", "column_2", "b"]


def test_delimiters_at_the_end_of_each_row():
    assert read("a,b\n1,2,\n3,4,\n")[0].to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_blank_rows_at_the_end_are_left_out_and_blanks_inside_stay():
    frame, _ = read("a,b\n1,2\n,\n3,4\n,\n,\n\n")
    assert len(frame) == 3
    assert read("v\n1\n\n3\n\n\n")[0]["v"].isna().tolist() == [False, True, False]


def test_an_all_blank_column_with_a_name_stays():
    assert read("a,b\n1,\n2,\n")[0]["b"].isna().all()


@pytest.mark.parametrize(("text", "message"), [
    ("", "empty"), ("\n \n", "empty"), ("sep=;\n", "empty"), ("a,b,c\n", "only a header"), ("a,b,c\n\n\n", "only a header"),
    ("a,a,b\n1,2,3\n2,3,4\n", "repeated.*'a'"), ("a, a\n1,2\n2,3\n", "repeated.*'a'"),
    ("a,b\n1,2\n3,4,5\n", "row 3 is longer.*expected 2 cells, got 3"), ("a,b\n" + "1,2\n" * 300 + "3,4,5\n", "line 302"),
    ('a,b\n1,"x\n2,y\n', "split into cells"), ("<!DOCTYPE html><html>", "web page"), ("a\0b", "format of this file is not known"),
])
def test_mistakes_are_named(text, message):
    with pytest.raises(DataFileError, match=message):
        read(text)


def test_given_columns_must_fit():
    assert read("1,2\n3,4\n", columns=["a", "b"])[0].to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(DataFileError, match="expected 3, got 2"):
        read("1,2\n3,4\n", columns=["a", "b", "c"])


def test_parquet():
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"n": [1, 2], "w": ["x", None], "t": pd.to_datetime(["2020-01-01", "2021-01-01"]),
                          "c": pd.Categorical(["u", "v"])})
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    frame, notes = read_parquet(buffer.getvalue())
    pd.testing.assert_frame_equal(frame, table)
    assert notes == []


def test_parquet_index_and_mistakes():
    pytest.importorskip("pyarrow")

    def stored(table):
        buffer = io.BytesIO()
        table.to_parquet(buffer)
        return buffer.getvalue()

    frame, notes = read_parquet(stored(pd.DataFrame({"n": [1, 2]}, index=pd.Index([7, 8], name="key"))))
    assert frame.columns.tolist() == ["key", "n"]
    assert "index 'key'" in notes[0]
    with pytest.raises(DataFileError, match="nested"):
        read_parquet(stored(pd.DataFrame({"n": [[1], [2, 3]]})))
    with pytest.raises(DataFileError, match="cannot be read"):
        read_parquet(stored(pd.DataFrame({"n": [1, 2]}))[:60])


def test_what_is_known_of_a_column_is_read_in_few_cells_too():
    frame, notes = read("price;n;flag\n1,5;1.200,0;True\nabc;x;perhaps\n7,25;3;False\n",
                        kinds={"price": "numeric", "n": "integer", "flag": "boolean"})
    assert frame.to_dict("list") == {"price": [1.5, "abc", 7.25], "n": [1200, "x", 3], "flag": [True, "perhaps", False]}
    assert notes == ["price: read with a decimal comma", "n: read with a decimal comma"]
    assert read('a,b\n"1,200.5",1\nx,2\n', kinds={"a": "numeric"})[0]["a"].tolist() == [1200.5, "x"]
    assert read('a,b\n"1,25",1\nx,2\n', kinds={"a": "numeric"})[0]["a"].tolist() == [1.25, "x"]
    assert read("a,b\n1,1\n0,2\n", kinds={"a": "boolean"})[0]["a"].tolist() == [1, 0]
