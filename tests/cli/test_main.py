"""Exit codes, what goes to which stream, and how little `ectype --help` loads."""

import errno
import os
import subprocess
import sys

import pytest

import ectype as package
from ectype.cli import COMMANDS
from ectype.errors import CapabilityError, DataError


@pytest.fixture
def failing(monkeypatch):
    """Make ``ectype data iris`` raise."""
    def replace(error):
        def fail(*args, **kwargs):
            raise error
        monkeypatch.setattr("ectype.cli.about.load", fail)
    return replace


def test_help_names_every_command(ectype):
    answer = ectype("--help")
    assert answer.code == 0 and answer.err == ""
    assert all(f"  {name} " in answer.out for name in COMMANDS)


def test_no_command_is_a_mistake(ectype):
    answer = ectype()
    assert answer.code == 2 and answer.out == "" and "ectype compare digits" in answer.err


def test_version(ectype):
    assert ectype("--version") == (0, f"ectype {package.__version__}\n", "")


def test_help_loads_no_library():
    code = """
import sys
from ectype.cli import main
main(["--help"])
heavy = {"torch", "numpy", "pandas", "sklearn", "scipy", "PIL", "rich", "tyro"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_m_ectype():
    done = subprocess.run([sys.executable, "-m", "ectype", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ectype {package.__version__}\n")


def test_near_miss_of_a_command(ectype):
    answer = ectype("fti")
    assert answer.code == 2 and answer.out == "" and "did you mean fit?" in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_on_stdout(ectype, command):
    answer = ectype(command, "--help")
    assert answer.code == 0 and answer.err == ""
    assert COMMANDS[command].summary in " ".join(answer.out.split()) and "--quiet" in answer.out


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("models", "doctor")])       # which need none
def test_missing_words_are_a_mistake(ectype, command):
    answer = ectype(command)
    assert answer.code == 2 and answer.out == "" and "--help" in answer.err


def test_unknown_flag_names_the_near_one(ectype):
    answer = ectype("data", "iris", "--labl", "target")
    assert answer.code == 2 and answer.out == "" and "--label" in answer.err


def test_a_mistake_says_expected_got_and_hint(ectype, failing):
    failing(DataError("bad", expected="this", got="that", hint="do so"))
    assert ectype("data", "iris") == (2, "", "error: bad: expected this, got that\nhint: do so\n")


def test_a_mistake_that_another_library_wrapped(ectype, failing):
    error = AttributeError("This 'GAN' has no attribute 'transform'")
    error.__cause__ = CapabilityError("GAN cannot encode")
    failing(error)
    assert ectype("data", "iris") == (2, "", "error: GAN cannot encode\n")


def test_an_unexpected_error_is_one_line(ectype, failing, monkeypatch):
    failing(ZeroDivisionError("by zero\nmore"))
    answer = ectype("data", "iris")
    assert answer.code == 1 and answer.out == "" and answer.err.startswith("error: ZeroDivisionError: by zero\n")
    assert "ECTYPE_DEBUG=1" in answer.err and "Traceback" not in answer.err
    monkeypatch.setenv("ECTYPE_DEBUG", "1")
    assert "Traceback" in ectype("data", "iris").err


def test_a_full_disk(ectype, failing):
    error = DataError("cannot write")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.csv")
    failing(error)
    answer = ectype("data", "iris")
    assert answer.code == 1 and answer.err.startswith("error: the disk is full: out.csv\nhint: ")


def test_a_file_that_may_not_be_read(ectype, failing):
    failing(PermissionError(errno.EACCES, "Permission denied", "secret.csv"))
    assert ectype("data", "iris") == (2, "", "error: secret.csv: Permission denied\n")


def test_ctrl_c(ectype, failing):
    failing(KeyboardInterrupt())
    assert ectype("data", "iris") == (130, "", "interrupted\n")


@pytest.mark.parametrize("words", [["--help"], ["data", "iris"]])
def test_a_reader_that_goes_away_is_told_nothing(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "ectype", *words], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("words", "code"), [(["data", "--help"], 0), (["data", "nosuch.csv"], 2)])
def test_no_color_on_a_terminal(words, code):
    plain, coloured = (_on_a_terminal(words, no_color) for no_color in ("1", ""))
    assert plain[0] == coloured[0] == code
    assert _colours(plain[1]) == [] != _colours(coloured[1])


def _on_a_terminal(words, no_color):
    import pty
    ours, theirs = pty.openpty()
    environ = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-m", "ectype", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:                     # Linux says in this way that the other side has closed
        pass
    finally:
        os.close(ours)
    return process.wait(), text.decode()


def _colours(text):
    import re
    codes = [int(c) for sequence in re.findall(r"\x1b\[([\d;]*)m", text) for c in sequence.split(";") if c]
    return [c for c in codes if 30 <= c <= 37 or 90 <= c <= 97]
