"""`sample`, `encode`, `decode`, `reconstruct`, `score` on small trained runs."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ectype.estimator import load


def _csv(text):
    return pd.read_csv(io.StringIO(text))


def test_sample_of_a_table_on_stdout(ectype, trained, people):
    answer = ectype("sample", trained / "table", "-n", 7)
    assert answer.code == 0 and answer.err == ""
    rows = _csv(answer.out)
    assert list(rows.columns) == list(pd.read_csv(people).columns) and len(rows) == 7
    assert rows["age"].dtype.kind == "i" and set(rows["city"]) <= {"Rome", "Oslo", "Bern"}
    pd.testing.assert_frame_equal(rows, _csv(load(trained / "table").sample(7, random_state=0).to_csv(index=False)))


def test_the_seed_decides_the_sample(ectype, trained):
    first, same, other = (ectype("sample", trained / "table", "--seed", s).out for s in (3, 3, 4))
    assert first == same != other


def test_sample_to_files(ectype, trained, tmp_path):
    for name in ("s.csv", "s.tsv", "s.csv.gz"):
        answer = ectype("sample", trained / "table", "-n", 3, "--out", tmp_path / name)
        assert answer.code == 0 and answer.out == "" and f"3 written to {tmp_path / name}" in answer.err
        assert len(pd.read_csv(tmp_path / name, sep=None, engine="python")) == 3
    assert ectype("sample", trained / "numbers", "-n", 3, "--out", tmp_path / "s.npz", "--quiet") == (0, "", "")
    assert np.load(tmp_path / "s.npz")["x"].shape == (3, 3)


def test_sampling_flags_come_from_the_model(ectype, trained):
    assert "--decode" in ectype("sample", trained / "table", "--help").out
    assert "--decode" not in ectype("sample", trained / "gan", "--help").out
    assert ectype("sample", trained / "table", "--decode", "mean").out != ectype("sample", trained / "table").out
    assert ectype("sample", "--decode", "mean", "-n", 3, trained / "table").out == ectype("sample", trained / "table", "-n", 3, "--decode", "mean").out
    unknown = ectype("sample", trained / "table", "--steps", 3)
    assert unknown.code == 2 and "--steps" in unknown.err


def test_conditions(ectype, trained, people):
    rows = _csv(ectype("sample", trained / "conditional", "-n", 5, "--condition", "left", "right").out)
    assert list(rows.columns) == list(pd.read_csv(people).columns)
    assert list(rows["group"]) == ["left", "right", "left", "right", "left"]
    assert set(_csv(ectype("sample", trained / "conditional", "--condition", "right").out)["group"]) == {"right"}


def test_a_condition_far_outside_of_the_training_rows(ectype, tmp_path):
    frame = pd.DataFrame({"v": np.random.default_rng(0).normal(size=120), "price": np.linspace(10, 20, 120)})
    frame.to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "price", "--conditional", "--out", tmp_path / "run", "--budget", "2steps", "--quiet"]
    assert ectype("fit", "vae", tmp_path / "train.csv", *words).code == 0
    answer = ectype("sample", tmp_path / "run", "--condition", "2000", "15")
    assert answer.code == 0 and answer.err == "note: price 2000 is far outside of the training rows, 10 to 20: what is drawn there is a guess\n"
    assert ectype("sample", tmp_path / "run", "--condition", "20.9").err == ectype("sample", tmp_path / "run", "--condition", "2000", "-q").err == ""


def test_what_is_asked_beyond_the_training_rows_is_noted_wherever_it_is_asked(ectype, tmp_path, monkeypatch):
    """Once, also where rows are made in parts."""
    monkeypatch.setattr("ectype.cli.apply.CHUNK", 4)
    frame = pd.DataFrame({"v": np.random.default_rng(0).normal(size=120), "price": np.exp(np.linspace(0, 9, 120)).round(2)})
    frame.to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "price", "--conditional", "--budget", "2steps", "--quiet"]
    for model in ("vae", "shortcut"):
        assert ectype("fit", model, tmp_path / "train.csv", "--out", tmp_path / model, *words).code == 0
    note = "note: price 0 is outside of the training rows, 1 to 8103.08: what is drawn there is a guess\n"
    assert ectype("sample", tmp_path / "vae", "--condition", "0", "7").err == note
    assert ectype("encode", tmp_path / "vae", tmp_path / "train.csv", "--out", tmp_path / "codes.csv", "-q").code == 0
    answer = ectype("decode", tmp_path / "vae", tmp_path / "codes.csv", "--condition", "0")
    assert answer.code == 0 and answer.err.count(note) == 1
    answer = ectype("sample", tmp_path / "shortcut", "--condition", "7", "--guidance", "1000")
    assert answer.code == 0 and answer.err.startswith("note: guidance 1000 is beyond 20: rows become extreme or broken")


@pytest.mark.parametrize(("written", "day", "read"), [("%d/%m/%Y", 28, "2022-03-01"), ("%m/%d/%Y", 28, "2022-01-03"), ("%d/%m/%Y", 12, "2022-01-03")],
                         ids=["day first", "month first", "no row tells"])
def test_how_a_date_is_read_is_said(ectype, tmp_path, written, day, read):
    """In the order of the column; where no row tells which comes first, the month."""
    r = np.random.default_rng(0)
    days = pd.to_datetime({"year": r.integers(2020, 2024, 120), "month": r.integers(1, 13, 120), "day": r.integers(1, day + 1, 120)})
    pd.DataFrame({"v": r.normal(size=120), "sold": days.dt.strftime(written)}).to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "sold", "--conditional", "--out", tmp_path / "run", "--budget", "2steps", "--quiet", "--latent-dim", "1"]
    assert ectype("fit", "vae", tmp_path / "train.csv", *words).code == 0
    answer = ectype("sample", tmp_path / "run", "--condition", "01/03/2022", "2022-03-04", "02/02/2022")
    assert answer.code == 0 and answer.err == f"note: sold 01/03/2022 is read as {read}; written like that, there is no doubt\n"
    drawn, same = (_csv(ectype("sample", tmp_path / "run", "--condition", text).out)["v"] for text in ("01/03/2022", read))
    assert drawn.equals(same)


def test_a_condition_that_is_refused_does_not_count_as_blank(ectype, tmp_path):
    frame = pd.DataFrame({"v": np.random.default_rng(0).normal(size=120), "price": np.linspace(10, 20, 120)})
    frame.to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "price", "--conditional", "--out", tmp_path / "run", "--budget", "2steps", "--quiet"]
    assert ectype("fit", "vae", tmp_path / "train.csv", *words).code == 0
    (tmp_path / "new.csv").write_text("v,price\n0.5,12\n0.5,abc\n")
    answer = ectype("score", tmp_path / "run", tmp_path / "new.csv")
    assert answer.code == 2 and "column 'price' has values that are no numbers" in answer.err and "counts as blank" not in answer.err


@pytest.mark.parametrize(("column", "text", "said"), [
    (np.arange(120) / 7, "10,5", "the value of c cannot be read: expected one number, such as 10.5, got 10,5\nhint: several values take turns, with "
                                "blanks between them: --condition 10 5"),
    (np.arange(120), "x", "the value of c cannot be read: expected one whole number, got x"),
    (pd.date_range("2020-01-01", periods=120).where(np.arange(120) > 2), "soon", "the value of c cannot be read: expected one date, such as 2024-05-31"),
])
def test_a_condition_that_cannot_be_read(ectype, tmp_path, column, text, said):
    pd.DataFrame({"v": np.random.default_rng(0).normal(size=120), "c": column}).to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "c", "--conditional", "--out", tmp_path / "run", "--budget", "2steps", "--quiet"]
    assert ectype("fit", "vae", tmp_path / "train.csv", *words).code == 0
    answer = ectype("sample", tmp_path / "run", "--condition", text)
    assert answer.code == 2 and answer.out == "" and said in answer.err


def test_a_condition_may_have_the_sign_of_its_column(ectype, tmp_path):
    v = np.random.default_rng(0).normal(size=120)
    pd.DataFrame({"v": v, "share": [f"{5 * x + 50:.1f}%" for x in v]}).to_csv(tmp_path / "train.csv", index=False)
    words = ["--label", "share", "--conditional", "--out", tmp_path / "run", "--budget", "2steps", "--quiet"]
    assert ectype("fit", "vae", tmp_path / "train.csv", *words).code == 0
    signed, bare = (ectype("sample", tmp_path / "run", "--condition", text) for text in ("50%", "50"))
    assert signed.code == 0 and signed.out == bare.out


@pytest.mark.parametrize(("run", "words", "said"), [
    ("conditional", [], "expected --condition VALUE, where group is one of "),
    ("conditional", ["--condition", "lef"], "unknown value of group 'lef'"), ("conditional", ["--condition", "lef"], "did you mean left?"),
    ("conditional", ["--condition", "left,right"], "hint: several values take turns, with blanks between them: --condition left right"),
    ("table", ["--condition", "left"], "not conditional"), ("table", ["-n", "0"], "an int >= 1"), ("table", ["-n", "few"], "-n"),
    ("table", ["--out", "s.png"], ".csv"), ("table", ["--out", "s.npz"], "numbers only"),
    ("table", ["--out", "no/such/s.csv"], "mkdir -p no/such"),
    ("images", ["--condition", "1", "--out", "s.csv"], ".png, .npz"), ("images", ["--condition", "1"], "--out FILE"),
])
def test_mistakes_of_sample(ectype, trained, tmp_path, monkeypatch, run, words, said):
    monkeypatch.chdir(tmp_path)
    answer = ectype("sample", trained / run, *words)
    assert answer.code == 2 and answer.out == "" and said in answer.err and list(tmp_path.iterdir()) == []


def test_images(ectype, trained, tmp_path):
    words = ("sample", trained / "images", "-n", 6, "--condition", 0, 1, 2, "--out")
    assert ectype(*words, tmp_path / "s.npz").code == 0
    with np.load(tmp_path / "s.npz") as file:
        assert file["x"].shape == (6, 4, 6, 3) and file["x"].dtype == np.uint8 and list(file["y"]) == [0, 1, 2, 0, 1, 2]
    assert ectype(*words, tmp_path / "s.png").code == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width > picture.height                               # three columns, one for each condition, and two rows
    assert ectype("score", trained / "images", tmp_path / "s.npz", "--out", tmp_path / "score.csv").code == 0
    assert len(pd.read_csv(tmp_path / "score.csv")) == 6


def test_score(ectype, trained, people):
    answer = ectype("score", trained / "table", people)
    scores = _csv(answer.out)
    assert answer.code == 0 and list(scores.columns) == ["score"]
    np.testing.assert_allclose(scores["score"], load(trained / "table").score_samples(pd.read_csv(people)), rtol=1e-12)


def test_conditional_score_reads_the_condition(ectype, trained, people, tmp_path):
    frame = pd.read_csv(people)
    expected = load(trained / "conditional").score_samples(frame.drop(columns="group"), condition=frame["group"])
    np.testing.assert_allclose(_csv(ectype("score", trained / "conditional", people).out)["score"], expected, rtol=1e-12)
    frame.drop(columns="group").to_csv(tmp_path / "bare.csv", index=False)
    for word, wrong in (("up", "categories that the training data did not have"), ("", "blanks")):
        frame.assign(group=[word, *frame["group"][1:]]).to_csv(tmp_path / "new.csv", index=False)
        answer = ectype("score", trained / "conditional", tmp_path / "new.csv")
        assert answer.code == 2 and f"column 'group' has {wrong}" in answer.err
    answer = ectype("score", trained / "conditional", tmp_path / "bare.csv")
    assert answer.code == 2 and "the column group" in answer.err


def test_encode_and_decode(ectype, trained, people, tmp_path):
    codes = _csv(ectype("encode", trained / "table", people).out)
    assert list(codes.columns) == ["vae0", "vae1"] and len(codes) == 120
    assert ectype("encode", trained / "table", people, "--out", tmp_path / "codes.npz").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "codes.npz")["x"], codes, rtol=1e-5)
    decoded = ectype("decode", trained / "table", tmp_path / "codes.npz")
    assert decoded.code == 0 and decoded.out == ectype("reconstruct", trained / "table", people).out


def test_codes_of_a_folder_name_their_files(ectype, trained, tmp_path):
    pictures = np.load(trained / "images.npz")["x"]
    for i in range(4):
        (tmp_path / "pictures" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(tmp_path / "pictures" / str(i % 3) / f"{i}.png")
    answer = ectype("encode", trained / "images", tmp_path / "pictures", "--out", tmp_path / "codes.csv")
    codes = pd.read_csv(tmp_path / "codes.csv")
    assert answer.code == 0 and list(codes.columns) == ["file", "vae0", "vae1"]
    assert list(codes["file"]) == ["0/0.png", "0/3.png", "1/1.png", "2/2.png"]
    out = [tmp_path / name for name in ("with.npz", "without.npz")]
    codes.drop(columns="file").to_csv(tmp_path / "bare.csv", index=False)
    for path, name in zip(out, ("codes.csv", "bare.csv"), strict=True):
        assert ectype("decode", trained / "images", tmp_path / name, "--condition", "1", "--out", path).code == 0
    np.testing.assert_array_equal(*(np.load(path)["x"] for path in out))


def test_pictures_of_one_class_have_the_name_of_their_folder(ectype, trained, tmp_path):
    pictures = np.load(trained / "images.npz")["x"][:3]
    (tmp_path / "new" / "2").mkdir(parents=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "new" / "2" / f"{i}.png")
    model, expected = load(trained / "images"), None
    for folder in (tmp_path / "new", tmp_path / "new" / "2"):
        answer = ectype("score", trained / "images", folder)
        expected = model.score_samples(pictures, condition=[2, 2, 2]) if expected is None else expected
        assert answer.code == 0
        np.testing.assert_allclose(_csv(answer.out)["score"], expected, rtol=1e-4)
    (tmp_path / "new" / "2").rename(tmp_path / "new" / "up")
    answer = ectype("score", trained / "images", tmp_path / "new")
    assert answer.code == 2 and "no labels" in answer.err


@pytest.mark.parametrize("name", ["codes.png", "codes.svg"])
def test_codes_are_drawn(ectype, trained, people, tmp_path, name):
    answer = ectype("encode", trained / "table", people, "--out", tmp_path / name)
    assert answer.code == 0 and answer.out == "" and "120 written to" in answer.err
    first = (tmp_path / name).read_bytes()
    assert ectype("encode", trained / "table", people, "--out", tmp_path / name, "--quiet") == (0, "", "")
    assert (tmp_path / name).read_bytes() == first


def test_the_labels_of_the_data_give_the_colours(ectype, trained, people, tmp_path):
    assert ectype("encode", trained / "conditional", people, "--out", tmp_path / "c.svg").code == 0
    assert ectype("encode", trained / "images", trained / "images.npz", "--out", tmp_path / "i.svg").code == 0
    assert ectype("encode", trained / "table", people, "--out", tmp_path / "t.svg").code == 0
    legends = {p.stem: p.read_text().count('id="legend_1"') for p in tmp_path.iterdir()}
    assert legends == {"c": 1, "i": 1, "t": 0}


def test_a_drawing_is_for_codes_alone(ectype, trained, people):
    answer = ectype("score", trained / "table", people, "--out", "scores.png")
    assert answer.code == 2 and ".parquet" in answer.err and ".svg" not in answer.err


def test_reconstruct(ectype, trained, people, tmp_path):
    rows = _csv(ectype("reconstruct", trained / "conditional", people).out)
    assert list(rows["group"]) == list(pd.read_csv(people)["group"]) and list(rows.columns) == list(pd.read_csv(people).columns)
    data = trained / "images.npz"
    assert ectype("reconstruct", trained / "images", data, "--out", tmp_path / "r.npz").code == 0
    assert np.load(tmp_path / "r.npz")["x"].shape == (60, 4, 6, 3)
    assert ectype("reconstruct", trained / "images", data, "--out", tmp_path / "r.png").code == 0
    with Image.open(tmp_path / "r.png") as picture:
        page = np.asarray(picture)
    assert (page[2:12, 2:12] == np.load(data)["x"][0, :2, :2].repeat(5, 0).repeat(5, 1)).all()     # the first original, above


def test_columns_more_less_and_in_another_order(ectype, trained, people, tmp_path):
    frame = pd.read_csv(people)
    frame.assign(extra=1)[["extra", "group", "city", "income", "age"]].to_csv(tmp_path / "more.csv", index=False)
    more = ectype("score", trained / "table", tmp_path / "more.csv")
    assert more.code == 0 and "not used: 'extra'" in more.err and more.out == ectype("score", trained / "table", people).out
    frame.drop(columns="age").to_csv(tmp_path / "less.csv", index=False)
    less = ectype("score", trained / "table", tmp_path / "less.csv")
    assert less.code == 2 and "'age'" in less.err and less.out == ""


def test_arrays_for_a_model_of_a_frame(ectype, trained, tmp_path):
    values = pd.read_csv(trained / "numbers.csv").to_numpy()
    np.save(tmp_path / "v.npy", values)
    of_array, of_frame = (ectype("score", trained / "numbers", data) for data in (tmp_path / "v.npy", trained / "numbers.csv"))
    assert of_array.code == of_frame.code == 0 and of_array.out == of_frame.out


@pytest.mark.parametrize(("run", "data", "said"), [("table", "images.npz", "images were given"), ("images", "numbers.csv", "table"),
                                                   ("table", "numbers.csv", "columns are missing")])
def test_data_of_another_kind(ectype, trained, run, data, said):
    answer = ectype("encode", trained / run, trained / data, "--out", "-")
    assert answer.code == 2 and answer.out == "" and said in answer.err


def test_new_categories(ectype, trained, people, tmp_path):
    (tmp_path / "new.csv").write_text(people.read_text().replace("Rome", "Paris"))
    answer = ectype("score", trained / "table", tmp_path / "new.csv")
    assert answer.code == 2 and "Paris" in answer.err


def test_one_cell_that_cannot_be_read_leaves_the_others_as_they_are(ectype, trained, tmp_path):
    """Two thirds of three cells are numbers: too few to say of the file alone that the column is of numbers."""
    (tmp_path / "new.csv").write_text("age;income;city;group\n30;12,5;Rome;left\n41;abc;Oslo;right\n52;7,25;Bern;left\n")
    (tmp_path / "clean.csv").write_text("age,income,city,group\n30,12.5,Rome,left\n41,,Oslo,right\n52,7.25,Bern,left\n")
    for command, run in (("score", "table"), ("reconstruct", "table"), ("encode", "conditional")):
        answer, clean = (ectype(command, trained / run, tmp_path / f"{name}.csv") for name in ("new", "clean"))
        assert answer.code == 0 and answer.out == clean.out and clean.err == ""
        assert "income: what is no number counts as blank: 'abc' in row 2 of 3\n" in answer.err
    (tmp_path / "new.csv").write_text("age,income,city,group\n30,12.5,Rome,left\nn/a?,1,Oslo,right\n")
    answer = ectype("score", trained / "table", tmp_path / "new.csv")
    assert answer.code == 2 and answer.out == "" and "'age' has values that are no numbers" in answer.err
    assert "got 'n/a?' in row 2 of 2" in answer.err


def test_cells_that_cannot_be_read_are_filled_in(ectype, people, tmp_path):
    assert ectype("fit", "ddpm", people, "--out", tmp_path / "run", "--budget", "5steps", "--net.width", "8", "--quiet").code == 0
    (tmp_path / "new.csv").write_text("id;age;income;city;group\n7;30;12,5;Rome;left\n8;x;abc;Oslo;\n9;52;1,25;;left\n")
    answer = ectype("impute", tmp_path / "run", tmp_path / "new.csv", "--steps", "2")
    filled = _csv(answer.out)
    assert answer.code == 0 and list(filled.columns) == ["id", "age", "income", "city", "group"] and filled.notna().all(axis=None)
    assert filled["id"].tolist() == [7, 8, 9] and filled["income"][[0, 2]].tolist() == [12.5, 1.25] and filled["age"].dtype.kind == "i"
    for said in ("age: what is no number counts as blank: 'x' in row 2 of 3", "income: what is no number counts as blank: 'abc' in row 2 of 3",
                 "income: read with a decimal comma"):
        assert said in answer.err


def test_samples_that_take_long_are_said_to(ectype, people, tmp_path, monkeypatch):
    assert ectype("fit", "ddpm", people, "--out", tmp_path / "run", "--budget", "2steps", "--net.width", "8", "--quiet").code == 0
    monkeypatch.setattr("ectype.cli.apply.MANY_PASSES", 100)
    for flags, said in ((["--steps", "50"], True), (["--steps", "49"], False), (["--steps", "20", "-n", "9"], False)):
        answer = ectype("sample", tmp_path / "run", "-n", "2", *flags)
        assert answer.code == 0
        assert ("each row takes 50 passes through the network; with --sampler dpm --steps 20 it takes 20\n" in answer.err) is said


def test_a_mask_that_is_not_there_is_said_so(ectype, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8))
    assert ectype("fit", "ddpm", tmp_path / "x.npy", "--out", tmp_path / "run", "--budget", "2steps", "--net.width", "8", "--quiet").code == 0
    answer = ectype("impute", tmp_path / "run", tmp_path / "x.npy", "--mask", tmp_path / "none.png", "--out", tmp_path / "y.npy")
    assert answer.code == 2 and "the mask cannot be read: expected a picture" in answer.err and "none.png" in answer.err


def test_whole_numbers_are_written_as_such_where_training_had_blanks(ectype, tmp_path):
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"n": r.integers(0, 40, 80).astype(float), "v": r.normal(size=80)})
    frame.loc[::7, "n"] = np.nan
    frame.to_csv(tmp_path / "train.csv", index=False)
    assert ectype("fit", "ddpm", tmp_path / "train.csv", "--out", tmp_path / "run", "--budget", "5steps", "--net.width", "8", "--quiet").code == 0
    (tmp_path / "new.csv").write_text("n,v\n4,0.5\n,0.25\n")
    outs = [ectype("impute", tmp_path / "run", tmp_path / "new.csv", "--steps", "2").out, ectype("sample", tmp_path / "run", "-n", "20").out]
    for out in outs:
        assert all(line.split(",")[0].isdigit() or line.startswith(",") for line in out.splitlines()[1:])
    assert outs[0].startswith("n,v\n4,0.5\n")
    (tmp_path / "new.csv").write_text("n,v\n4.5,0.5\n")                             # known, and so untouched
    assert ectype("impute", tmp_path / "run", tmp_path / "new.csv", "--steps", "2").out == "n,v\n4.5,0.5\n"


def test_numbers_too_large_to_be_whole(ectype, tmp_path):
    """Beyond 2⁵³ a float is no longer exact, and beyond 2⁶³ there is no whole number in its place."""
    pd.DataFrame({"n": np.r_[1e19, 2e19, np.nan, np.arange(57.0)], "v": np.arange(60) % 7}).to_csv(tmp_path / "train.csv", index=False)
    assert ectype("fit", "vae", tmp_path / "train.csv", "--out", tmp_path / "run", "--budget", "5steps", "--quiet").code == 0
    answer = ectype("sample", tmp_path / "run", "-n", "300")
    assert answer.code == 0 and _csv(answer.out)["n"].max() > 2.0**63


def test_what_the_family_cannot_do(ectype, trained):
    answer = ectype("encode", trained / "gan", trained / "numbers.csv")
    assert answer.code == 2 and "GAN cannot encode" in answer.err


@pytest.mark.parametrize("command", ["sample", "score"])
def test_damaged_runs(ectype, trained, people, tmp_path, command):
    words = [] if command == "sample" else [people]
    assert ectype(command, tmp_path / "nothing", *words).code == 2
    run = tmp_path / "run"
    shutil.copytree(trained / "table", run)
    (run / "config.json").write_text("{")
    answer = ectype(command, run, *words)
    assert answer.code == 2 and "config.json is damaged" in answer.err
    (run / "config.json").unlink()                      # as a model that was saved from Python
    assert ectype(command, run, *words).code == 0
    (run / "model.safetensors").write_bytes(b"cut short")
    answer = ectype(command, run, *words)
    assert answer.code == 2 and "truncated" in answer.err and answer.out == ""


def test_rows_in_place_of_codes_are_said(ectype, trained, people, tmp_path):
    answer = ectype("decode", trained / "table", people, "--out", tmp_path / "x.csv")
    assert answer.code == 2 and "holds no codes" in answer.err and "words in the column 'city'" in answer.err and "ectype encode" in answer.err


def test_of_many_pictures_the_first_are_drawn_and_it_is_said_which_are_which(ectype, trained, tmp_path, monkeypatch):
    from PIL import Image

    def height():
        with Image.open(tmp_path / "x.png") as image:
            return image.height

    monkeypatch.setattr("ectype.cli.apply.MOST_PAIRS", 16)
    answer = ectype("reconstruct", trained / "images", trained / "images.npz", "--out", tmp_path / "x.png")
    assert answer.code == 0 and "the first 16 of 60 pictures: a row as given, and below it the same ones after reconstruct" in answer.err
    of_few = height()
    monkeypatch.setattr("ectype.cli.apply.MOST_PAIRS", 32)
    ectype("reconstruct", trained / "images", trained / "images.npz", "--out", tmp_path / "x.png")
    assert height() > 1.8 * of_few


def test_interpolate(ectype, trained, people, tmp_path):
    answer = ectype("interpolate", trained / "table", people, "--pairs", 3, "--steps", 4)
    model, rows = load(trained / "table"), pd.read_csv(people)
    made = _csv(answer.out)
    assert answer.code == 0 and len(made) == 12 and list(made.columns) == list(rows.columns)
    ends = _csv(model.reconstruct(rows[:6]).to_csv(index=False))
    pd.testing.assert_frame_equal(made.iloc[[0, 3, 4, 7, 8, 11]].reset_index(drop=True), ends)
    numbers = trained.joinpath("numbers.csv")
    bent, straight = (ectype("interpolate", trained / "numbers", numbers, "--path", path).out for path in ("spherical", "linear"))
    assert bent != straight and len(_csv(bent)) == len(_csv(straight)) == 64
    conditional = _csv(ectype("interpolate", trained / "conditional", people, "--pairs", 2, "--steps", 3).out)
    assert list(conditional["group"]) == [g for g in pd.read_csv(people)["group"][:4:2] for _ in range(3)]


@pytest.mark.parametrize(("words", "said"), [(["--pairs", 0], "--pairs is out of its domain: expected an int >= 1, got 0"),
                                             (["--steps", 1], "--steps is out of its domain: expected an int >= 2, got 1")])
def test_a_flag_out_of_its_domain_is_named(ectype, trained, people, words, said):
    answer = ectype("interpolate", trained / "table", people, *words)
    assert answer.code == 2 and answer.out == "" and answer.err == f"error: {said}\n"


def test_interpolate_draws_a_line_for_each_path(ectype, trained, tmp_path):
    out = tmp_path / "p.npz"
    assert ectype("interpolate", trained / "images", trained / "images.npz", "--out", out, "--steps", 5, "--pairs", 3).code == 0
    made = np.load(out)
    assert made["x"].shape == (15, 4, 6, 3) and made["y"].tolist() == [y for y in (0, 2, 1) for _ in range(5)]
    assert ectype("interpolate", trained / "images", trained / "images.npz", "--out", tmp_path / "p.png", "--steps", 5, "--pairs", 3).code == 0
    with Image.open(tmp_path / "p.png") as drawn:
        width, height = drawn.size
    assert width / height == pytest.approx(5 * 6 / (3 * 4), rel=0.1)
    one = tmp_path / "one.npz"
    np.savez(one, x=np.load(trained / "images.npz")["x"][:1], y=np.zeros(1, int))
    answer = ectype("interpolate", trained / "images", one, "--out", out)
    assert answer.code == 2 and "a path has two ends: expected at least 2 rows, got 1" in answer.err
