"""Build the guide: run the code of ``docs/pages/NAME.md`` and write ``docs/guide/NAME.md`` with what it printed and drew.

``python docs/build.py [NAME …]`` builds all pages, or those named.

A page is Markdown. Two kinds of fenced blocks in it are run, one after another, in one empty folder for each page:

* ``python`` blocks share one namespace. What they print stands in a ``text`` block below.
* ``console`` blocks: each line that begins with ``$ `` is a command, run by the shell. What it writes stands below the line.

A picture that a page names, ``![words](NAME-what.png)``, is one that its code has written into the folder. It is kept with a palette of few
colours; one that moves (APNG) is kept as it is. A warning, a command that fails, a picture that is named but not made, or made but not
named, ends the build. Budgets are steps and seeds are fixed, so that a page is the same wherever it is built, up to the arithmetic of the
processor.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

PAGES, GUIDE = Path(__file__).parent / "pages", Path(__file__).parent / "guide"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\((?!http)([^)]+\.png)\)")
COLOURS = (128, 64, 32, 16)     # of a palette; as many as fit into MOST_BYTES
MOST_BYTES, MOVING_BYTES = 60_000, 600_000      # of a picture, and of one that moves
MOST_LINES = 20                 # of an output; of a longer one, the first ones
WIDEST = 118                    # characters of a line of output


class PageError(Exception):
    """A page that cannot be built: what went wrong, and in which block."""


def names() -> list[str]:
    """The pages that there are; ``README`` is the index."""
    return sorted(path.stem for path in PAGES.glob("*.md"))


def blocks(text: str, kind: str) -> list[str]:
    """The code of the blocks of one kind, ``python`` or ``console``; of the latter, of a source as of a built page, the commands."""
    found = [code for its_kind, code in BLOCK.findall(text) if its_kind == kind]
    return found if kind == "python" else ["\n".join(_commands(code)) for code in found]


def pictures(text: str) -> list[str]:
    """The pictures that a page names."""
    return PICTURE.findall(text)


def build(name: str) -> str:
    """Run a page's code, keep its pictures in ``docs/guide``, and return the page with the outputs in it."""
    source = (PAGES / f"{name}.md").read_text()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with TemporaryDirectory() as folder, chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("error")
        page = BLOCK.sub(_runner(name, namespace), source)
        _keep_pictures(name, pictures(source))
    return f"<!-- Written by docs/build.py from docs/pages/{name}.md: change that file. -->\n\n{page}"


def _runner(name: str, namespace: dict[str, Any]) -> Callable[[re.Match], str]:
    """What replaces a block: the block and its output."""
    run = {"python": _python, "console": _console}
    count = iter(range(1, 1000))

    def replace(match: re.Match) -> str:
        where = f"{name}, block {next(count)}"
        return run[match[1]](match[2], namespace, where)

    return replace


def _python(code: str, namespace: dict[str, Any], where: str) -> str:
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            exec(compile(code, where, "exec"), namespace)
    except Exception as error:
        raise PageError(f"{where}: {type(error).__name__}: {error}") from error
    output = shortened(printed.getvalue())
    return f"```python\n{code}```\n" + (f"\n```text\n{output}```\n" if output else "")


def _console(code: str, namespace: dict[str, Any], where: str) -> str:
    lines = []
    for command in _commands(code):
        lines += [f"{command}\n", shortened(_run(command.removeprefix("$ "), where))]
    return f"```console\n{''.join(lines)}```\n"


def _commands(code: str) -> list[str]:
    return [line for line in code.splitlines() if line.startswith("$ ")]


def _run(command: str, where: str) -> str:
    """What a command writes, to standard output and to standard error."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    done = subprocess.run(command, shell=True, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise PageError(f"{where}: {command}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def shortened(output: str) -> str:
    """An output of at most ``MOST_LINES`` lines, none wider than ``WIDEST`` and none with blanks at its end; ``…`` stands for the rest."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    lines = [line if len(line) <= WIDEST else line[: WIDEST - 1] + "…" for line in lines]
    lines = lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]
    return "".join(f"{line}\n" for line in lines)


def _keep_pictures(name: str, named: list[str]) -> None:
    """The pictures in the working folder, with few colours, in ``docs/guide``; those of an older page of the name go."""
    made = {path.name for path in Path().glob(f"{name}-*.png")}
    if made != set(named):
        raise PageError(f"{name}: pictures named {sorted(named)}, made {sorted(made)}")
    for old in GUIDE.glob(f"{name}-*.png"):
        old.unlink()
    for picture in sorted(made):
        (GUIDE / picture).write_bytes(_reduced(picture))


def _reduced(picture: str) -> bytes:
    with Image.open(picture) as image:
        if getattr(image, "is_animated", False):
            return _moving(Path(picture))
        plain = image.convert("RGB")
    for colours in COLOURS:
        written = io.BytesIO()
        plain.quantize(colours, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
        if written.tell() <= MOST_BYTES:
            return written.getvalue()
    raise PageError(f"{picture}: {written.tell():,} bytes with {colours} colours, of {MOST_BYTES:,} at most")


def _moving(picture: Path) -> bytes:
    written = picture.read_bytes()
    if len(written) > MOVING_BYTES:
        raise PageError(f"{picture}: {len(written):,} bytes, of {MOVING_BYTES:,} at most")
    return written


def main(chosen: list[str]) -> int:
    """Build pages; the exit code."""
    unknown = [name for name in chosen if name not in names()]
    if unknown:
        sys.stderr.write(f"no such page: {', '.join(unknown)}; there are {', '.join(names())}\n")
        return 2
    GUIDE.mkdir(exist_ok=True)
    for name in chosen or names():
        start = time.perf_counter()
        try:
            page = build(name)
        except PageError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        (GUIDE / f"{name}.md").write_text(page)
        sys.stderr.write(f"{name}: {time.perf_counter() - start:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
