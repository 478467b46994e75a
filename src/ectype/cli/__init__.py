"""The command line: argv → calls of the library, and back to files, words and an exit code.

=============== =================================================================
module          what it holds
=============== =================================================================
`flags`         flags from signatures and frozen specs; the words of argv → values
`options`       what a family can be told, read off its signatures and docstrings
`terminal`      words and progress, on standard error
`files`         what goes to a file: formats, whole or not at all
`runs`          the folder of a run, and reading new data as at fit time
`memory`        what is asked of the C library
`fit` …         one module for each group of commands
=============== =================================================================

Standard output carries data or nothing. Exit codes: 0 done; 2 the user's mistake; 1 anything else, a full disk included; 130
Ctrl-C; 141 the reader of standard output went away. ``ECTYPE_DEBUG=1`` shows the traceback of every error.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

from .. import __version__
from ..errors import EctypeError, UnknownNameError
from .memory import keep_freed_memory


class Command(NamedTuple):
    """Where a command lives, what follows its name, and what it does."""

    target: str
    usage: str
    summary: str


COMMANDS = {
    "compare": Command("compare:compare", "DATA", "Train every family on the same data and report what each is good at."),
    "report": Command("report:report", "DIR", "Draw a comparison's page again, or as Markdown, CSV, SVG or PNG."),
    "doctor": Command("doctor:doctor", "", "Check the metrics themselves on generators that are bad in a known way."),
    "fit": Command("fit:fit", "MODEL DATA --out RUN", "Train one model."),
    "sample": Command("apply:sample", "RUN -n N --out FILE", "Draw new rows or images from a trained model."),
    "encode": Command("apply:encode", "RUN DATA --out FILE", "Turn each row or image into its code."),
    "decode": Command("apply:decode", "RUN CODES --out FILE", "Turn codes back into rows or images."),
    "interpolate": Command("apply:interpolate", "RUN DATA --out FILE", "Walk from one row or image to the next through the codes."),
    "reconstruct": Command("apply:reconstruct", "RUN DATA --out FILE", "Encode and decode each row or image."),
    "denoise": Command("apply:denoise", "RUN DATA --out FILE", "Restore noisy rows, images or signals."),
    "impute": Command("impute:impute", "RUN DATA --out FILE", "Fill the blanks of a table, or the unknown part of images or signals."),
    "score": Command("apply:score", "RUN DATA --out FILE", "Say of each row or image how much it is like the training data."),
    "classify": Command("classify:classify", "fit|predict …", "Learn classes from few labels (blank: unlabelled), and predict them."),
    "detect": Command("detect:detect", "RUN DATA --out FILE", "Say which rows or images are unlike the normal ones, how surely, and why."),
    "models": Command("about:models", "[NAME]", "List the families of models, or show one with all its settings."),
    "data": Command("about:data", "DATA", "Show how data are understood: columns, kinds, blanks, ranges."),
}
GONE = 128 + 13         # as a program that SIGPIPE ends
INTERRUPTED = 128 + 2
FULL = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, that of the process if ``argv`` is None; the exit code. Never raises, except for a second Ctrl-C while it tells of
    the first."""
    if argv is None and sys.argv[1:2] in (["fit"], ["sample"]):
        keep_freed_memory()
    try:
        try:
            code = _run(list(sys.argv[1:] if argv is None else argv))
        except SystemExit as leave:             # the flag parser has already said why
            code = int(leave.code or 0)
        sys.stdout.flush()
    except BrokenPipeError:                     # `ectype sample … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GONE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except Exception as error:                  # the one place where every error becomes words and an exit code
        return _tell(error)
    return code


def _run(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if name in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    if name == "--version":
        sys.stdout.write(f"ectype {__version__}\n")
        return 0
    if not name:
        sys.stderr.write(_overview())
        return 2
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS, hint=None if not name.startswith("-") else "ectype --help")
    module, _, function = COMMANDS[name].target.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)(argv[1:])


def _overview() -> str:
    """What `ectype --help` shows; it imports no library."""
    width = max(len(f"{name} {c.usage}") for name, c in COMMANDS.items())
    commands = "\n".join(f"  {f'{name} {c.usage}':<{width}}   {c.summary}" for name, c in COMMANDS.items())
    return f"""usage: ectype COMMAND …

Deep generative models on your own tables, images and signals, measured against each other.

{commands}

DATA is a table (CSV, TSV, Parquet, NPY, NPZ), images (a folder, a zip, IDX, NPY, NPZ),
signals (a folder or zip of WAV files, or --kind signal) or a name such as digits, iris, adult.
`ectype COMMAND --help` shows the flags of a command, `ectype fit MODEL --help` those of a model.

examples:
  ectype compare digits
  ectype fit vae data.csv --out run --budget 60s
  ectype sample run -n 1000 --out new.csv
"""


def _tell(error: Exception) -> int:
    """Say what went wrong, on standard error; the exit code."""
    from .terminal import Terminal
    chain = _chain(error)
    debug = os.environ.get("ECTYPE_DEBUG", "") not in ("", "0")
    if debug:
        sys.stderr.write("".join(traceback.format_exception(error)))
    full = next((e for e in chain if getattr(e, "errno", None) in FULL or "No space left on device" in str(e)), None)
    meant = next((e for e in chain if isinstance(e, EctypeError)), None)    # scikit-learn wraps some of ours in its own
    if full is not None:
        where = f": {full.filename}" if getattr(full, "filename", None) else ""
        Terminal().error(f"the disk is full{where}", "free some space, then give the same command again")
        return 1
    if meant is not None:
        Terminal().error(str(meant))
        return 2
    if isinstance(error, OSError) and error.filename is not None:
        Terminal().error(f"{error.filename}: {error.strerror}")
        return 2
    hint = None if debug else "this should not happen; ECTYPE_DEBUG=1 shows where it did"
    Terminal().error(f"{type(error).__name__}: {error}".splitlines()[0], hint)
    return 1


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that it was raised from."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__
    return chain
