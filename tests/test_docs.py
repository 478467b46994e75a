"""The guide is what its sources make of it, and every estimator has a page. Nothing is trained for long: ``make docs`` does that."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ectype
from ectype import registry

DOCS = Path(__file__).parent.parent / "docs"
GUIDE = DOCS / "guide"
_spec = importlib.util.spec_from_file_location("build", DOCS / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)
PAGES = [name for name in build.names() if name != "README"]
SECTIONS = ["The equation", "A picture", "Example", "When to use it, and when not", "Settings that matter", "On the command line", "Read on"]


def source(name: str) -> str:
    return (build.PAGES / f"{name}.md").read_text()


def built(name: str) -> str:
    return (GUIDE / f"{name}.md").read_text()


def test_every_estimator_has_a_page_and_every_page_an_estimator():
    uses = {home.rpartition(".")[2] for name, home in ectype._HOMES.items() if home.startswith("uses.") and name[0].isupper()}
    assert set(PAGES) == {*registry.names(), *uses}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_its_class_and_has_its_sections(name: str):
    homes = {home.rpartition(".")[2]: cls for cls, home in ectype._HOMES.items()}
    homes |= {name: registry.entry(name).target.rpartition(":")[2] for name in registry.names()}
    assert f"`ectype.{homes[name]}`" in source(name)
    assert re.findall(r"^## (.+)$", source(name), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("name", build.names())
def test_the_built_page_is_of_this_source(name: str):
    for kind in ("python", "console"):
        assert build.blocks(built(name), kind) == build.blocks(source(name), kind), f"run: python docs/build.py {name}"
    without_outputs = re.sub(r"\n```text\n.*?^```\n", "", built(name).partition("-->\n\n")[2], flags=re.DOTALL | re.MULTILINE)
    words = [build.BLOCK.sub("", text) for text in (without_outputs, source(name))]
    assert words[0] == words[1], f"run: python docs/build.py {name}"


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_there_and_show_something(name: str):
    named = build.pictures(built(name))
    assert named
    assert {p.name for p in GUIDE.glob(f"{name}-*.png")} == set(named)
    for picture in named:
        with Image.open(GUIDE / picture) as image:
            limit = build.MOVING_BYTES if getattr(image, "is_animated", False) else build.MOST_BYTES
            pixels = np.asarray(image.convert("L"), dtype=float)
        assert (GUIDE / picture).stat().st_size <= limit
        assert pixels.std() > 5 and len(np.unique(pixels)) > 8, picture


@pytest.mark.parametrize("name", build.names())
def test_links_lead_somewhere(name: str):
    for target in re.findall(r"\]\((?!http)([^)#]+)", built(name)):
        assert (GUIDE / target).exists(), target


def test_the_index_and_the_readme_lead_to_the_pages():
    assert set(re.findall(r"\]\((\w+)\.md\)", built("README"))) == set(PAGES)
    assert "docs/guide/README.md" in (DOCS.parent / "README.md").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code, changed = re.subn(r'budget="[\w+]+"', 'budget="3steps"', build.blocks(source(name), "python")[0])
    assert changed
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
    assert list(tmp_path.glob(f"{name}-*.png"))


class TestBuilding:
    @pytest.fixture(autouse=True)
    def folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("PAGES", "GUIDE"):
            (tmp_path / folder).mkdir()
            monkeypatch.setattr(build, folder, tmp_path / folder)

    def page(self, text: str) -> str:
        (build.PAGES / "p.md").write_text(text)
        assert build.main(["p"]) == 0
        return (build.GUIDE / "p.md").read_text()

    def test_outputs_stand_below_the_code_and_names_are_kept(self):
        page = self.page("# P\n\n```python\na = 1\n```\n\n```python\nprint(a + 1)\n```\n")
        assert page.endswith("# P\n\n```python\na = 1\n```\n\n```python\nprint(a + 1)\n```\n\n```text\n2\n```\n")

    def test_commands_share_the_folder_of_the_code(self):
        page = self.page("```python\nfrom pathlib import Path\nPath('f').write_text('seven\\n')\n```\n\n```console\n$ cat f\nold output\n$ cat f >&2\n```\n")
        assert page.endswith("```console\n$ cat f\nseven\n$ cat f >&2\nseven\n```\n")

    def test_pictures_are_kept_with_few_colours(self):
        code = "from PIL import Image\nImage.radial_gradient('L').convert('RGB').save('p-g.png')\n"
        self.page(f"```python\n{code}```\n\n![a gradient](p-g.png)\n")
        with Image.open(build.GUIDE / "p-g.png") as image:
            assert image.mode == "P" and image.size == (256, 256)

    def test_a_picture_that_moves_is_kept_as_it_is(self, capsys: pytest.CaptureFixture):
        code = ("from PIL import Image\nframes = [Image.linear_gradient('L').rotate(90 * k) for k in range(3)]\n"
                "frames[0].save('p-m.png', save_all=True, append_images=frames[1:])\n")
        page = f"```python\n{code}```\n\n![moving](p-m.png)\n"
        self.page(page)
        with Image.open(build.GUIDE / "p-m.png") as image:
            assert image.n_frames == 3 and image.mode == "L"
        (build.PAGES / "p.md").write_text(page.replace("range(3)", "range(9)").replace("Image.linear_gradient('L')", "Image.effect_noise((400, 400), 90)"))
        assert build.main(["p"]) == 1 and "600,000 at most" in capsys.readouterr().err

    def test_a_picture_that_is_gone_from_the_page_goes(self):
        (build.GUIDE / "p-old.png").write_bytes(b"")
        self.page("# P\n")
        assert not (build.GUIDE / "p-old.png").exists()

    @pytest.mark.parametrize(("text", "said"), [
        ("```python\nprint(nothing)\n```\n", "p, block 1: NameError"),
        ("```python\nimport warnings\nwarnings.warn('careful')\n```\n", "UserWarning: careful"),
        ("```console\n$ false\n```\n", "p, block 1: $ false: exit code 1"),
        ("![words](p-none.png)\n", "pictures named ['p-none.png'], made []"),
    ])
    def test_what_goes_wrong_is_said_and_nothing_is_written(self, text: str, said: str, capsys: pytest.CaptureFixture):
        (build.PAGES / "p.md").write_text(text)
        assert build.main(["p"]) == 1
        assert said.replace("$ ", "") in capsys.readouterr().err
        assert not (build.GUIDE / "p.md").exists()

    def test_an_unknown_page(self, capsys: pytest.CaptureFixture):
        assert build.main(["q"]) == 2
        assert "no such page: q" in capsys.readouterr().err

    def test_long_outputs_are_cut(self):
        assert build.shortened("a  \nb\n\n") == "a\nb\n"
        many = build.shortened("\n".join(map(str, range(100)))).splitlines()
        assert len(many) == build.MOST_LINES and many[-2:] == [str(build.MOST_LINES - 2), "…"]
        assert build.shortened("x" * 500) == "x" * (build.WIDEST - 1) + "…\n"
