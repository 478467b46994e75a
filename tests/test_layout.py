"""The shape of the source: which room imports which (docs/design.md), and what no file may contain."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ectype

SRC = Path(ectype.__file__).parent
FILES = {p.relative_to(SRC).as_posix(): ast.parse(p.read_text()) for p in sorted(SRC.rglob("*.py"))}

ROOMS = {   # room: its row in the table, from the top
    "errors": 0, "spec": 0, "rng": 0, "registry": 0, "data/dense": 1, "data/blocks": 1, "data/schema": 1, "prob": 2, "metrics": 3, "data": 4, "nn": 5,
    "train": 6, "saved": 6, "estimator": 7, "models": 8, "uses": 9, "comparison": 10, "calibration": 10, "report": 11, "cli": 12,
}
NARROWER = {"metrics": {"prob"}, "report": set(ROOMS) - {"errors", "spec", "registry"}}      # what the rows above have and the room may not


def room_of(module: str) -> str | None:
    """The room of a dotted path inside the package; None for the package itself and its entry point."""
    parts = module.split(".")
    for name in ("/".join(parts[:2]), parts[0]):
        if name in ROOMS:
            return name
    assert parts[0] in ("", "__init__", "__main__", "__version__"), f"{module} belongs to no room"
    return None


def imports(path: str) -> list[tuple[str, int]]:
    """Modules of the package that a file imports, as dotted paths inside it, with line numbers."""
    package = path.removesuffix(".py").split("/")[:-1]
    found = []
    for node in ast.walk(FILES[path]):
        if isinstance(node, ast.Import):
            found += [(a.name.removeprefix("ectype."), node.lineno) for a in node.names if a.name.split(".")[0] == "ectype"]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = [*base, *(node.module.split(".") if node.module else [])]
            found += [(".".join(target if node.module else [*target, a.name]), node.lineno) for a in node.names]
            if node.module and (SRC / "/".join(target)).is_dir():
                modules = [a.name for a in node.names if (SRC.joinpath(*target) / f"{a.name}.py").exists()]
                found += [(".".join([*target, name]), node.lineno) for name in modules]
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ectype":
            found.append((node.module.removeprefix("ectype."), node.lineno))
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p not in ("__init__.py", "__main__.py")])
def test_rooms_import_downwards(path):
    room = room_of(path.removesuffix(".py").replace("/", "."))
    for module, line in imports(path):
        other = room_of(module)
        if other is None or other == room:
            continue
        allowed = ROOMS[other] < ROOMS[room] or (ROOMS[other] == ROOMS[room] <= 1)     # within the first two rows: "each other, downwards"
        assert allowed and other not in NARROWER.get(room, ()), f"{path}:{line} imports {module}"


def test_the_first_rows_have_no_cycle():
    needs = {r: {room_of(m) for m, _ in imports(f"{r}.py")} for r in ("errors", "spec", "rng", "registry", "data/dense", "data/blocks", "data/schema")}
    assert needs == {"errors": set(), "spec": {"errors"}, "rng": {"errors"}, "registry": {"errors"}, "data/dense": {"errors"},
                     "data/blocks": {"errors", "data/dense"}, "data/schema": {"errors", "data/dense", "data/blocks"}}


def test_the_table_of_the_design_is_this_one():
    design = SRC.parents[1] / "docs" / "design.md"
    if not design.exists():
        pytest.skip("the documentation is not beside the package")
    rows = re.findall(r"^\| ((?:`[\w/]+` ?)+)\|", design.read_text().split("## Rooms")[1].split("##")[0], re.MULTILINE)
    named = {name.strip("`/"): i for i, row in enumerate(rows) for name in row.split()}
    assert named == ROOMS


def test_docstrings():
    assert [p for p, tree in FILES.items() if not ast.get_docstring(tree) and tree.body] == []
    public = [(p, n.name) for p, tree in FILES.items() for n in tree.body
              if isinstance(n, ast.ClassDef) and not n.name.startswith("_") and not ast.get_docstring(n)]
    assert public == []


def test_no_prints_and_no_bare_excepts():
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            printed = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not printed, f"{path}:{node.lineno} prints"
            swallowed = isinstance(node, ast.ExceptHandler) and (node.type is None or all(isinstance(s, ast.Pass) for s in node.body))
            assert not swallowed, f"{path}:{node.lineno} swallows exceptions"


def test_no_asserts_and_no_pickle():
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: an assert is no message to a user"
            names = {a.name for a in node.names} if isinstance(node, ast.Import) else {getattr(node, "module", None)}
            assert not names & {"pickle", "joblib", "marshal", "shelve"}, f"{path}:{node.lineno} can execute what it reads"
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            plain = called == "torch.load" and "weights_only=True" in {ast.unparse(k) for k in node.keywords}       # builds tensors, calls nothing
            assert plain or called not in ("torch.load", "torch.save", "eval", "exec"), f"{path}:{node.lineno} can execute what it reads"


def test_names_of_files():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "core", "base"}
    assert [p for p in FILES if vague & set(Path(p).with_suffix("").parts)] == []


def test_nothing_of_one_machine():
    text = {p: p.read_text() for p in SRC.rglob("*") if p.suffix in (".py", ".j2", ".css", ".md")}
    private = re.compile(r"(?<![\w.])/(work|home|root|Users)/\w|/tmp/\w|TODO|FIXME|XXX")
    assert {p.name: m[0] for p, t in text.items() if (m := private.search(t))} == {}


COMPOSED = {"models/truncated.py": {"models.diffusion"}}        # a family that is another with something more


def test_one_family_one_file():
    from ectype import registry

    files = {p.stem for p in (SRC / "models").glob("*.py")} - {"__init__"}
    homes = [e.target.partition(":")[0].rpartition(".")[2] for e in registry.FAMILIES.values()]
    assert sorted(homes) == sorted(files)
    for path in FILES:
        if path.startswith("models/"):
            assert {m for m, _ in imports(path) if room_of(m) == "models"} == COMPOSED.get(path, set()), f"{path} imports another family"


@pytest.mark.parametrize("statement", ["import ectype", "import ectype; ectype.Train(budget='5s')", "import ectype; dir(ectype)",
                                       "from ectype import registry; registry.names()"])
def test_importing_is_light(statement):
    code = f"import sys; {statement}; print(*sorted({{'torch', 'numpy', 'pandas', 'sklearn', 'scipy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "" and done.stderr == ""
