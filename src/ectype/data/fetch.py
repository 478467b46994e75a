"""Download a published file once, and believe it only with the right checksum.

The file is written under a temporary name and renamed when its sha256 is right, so a file that is there is whole. A transfer that
breaks off is taken up where it stopped, at once or at the next call, where the server allows it (range requests, RFC 9110, 14).
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import DataFileError

if TYPE_CHECKING:
    from rich.progress import Progress

CHUNK = 1 << 16
TIMEOUT_S = 30
ATTEMPTS = 3                    # per address, as long as each brings the transfer forward
NETWORK = (OSError, http.client.HTTPException)         # URLError and time-outs are OSErrors


@dataclass(frozen=True)
class Published:
    """A file as its publisher serves it: ``folder/name`` in the cache, the checksum of its bytes, and where to find it."""

    folder: str
    name: str
    sha256: str
    urls: tuple[str, ...]


def cache_dir() -> Path:
    """Where downloads are kept: ``ECTYPE_CACHE_DIR``, else ``ectype`` in the user's cache folder of this platform."""
    if own := os.environ.get("ECTYPE_CACHE_DIR"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "ectype"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "ectype" / "cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ectype"


def locate(file: Published) -> Path | None:
    """The file in the folder named by ``ECTYPE_DATA_DIR`` or in the cache, gzipped or not; None where it is in neither."""
    bare = file.name.removesuffix(".gz")
    roots = [Path(os.environ["ECTYPE_DATA_DIR"]).expanduser()] if os.environ.get("ECTYPE_DATA_DIR") else []
    candidates = [root / file.folder / name for root in (*roots, cache_dir()) for name in (file.name, bare, bare + ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def fetch(file: Published, *, quiet: bool = False) -> Path:
    """The path of a published file: located, else downloaded into the cache with a progress bar on standard error.

    Raises :class:`DataFileError` where no address gives the right bytes, or they cannot be written.
    """
    if (path := locate(file)) is not None:
        return path
    target = cache_dir() / file.folder / file.name
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            failure = _fetch_from(url, target, file.sha256, quiet)
            if failure is None:
                return target
            failures.append(f"{url}: {failure}")
    except OSError as e:
        raise DataFileError(f"{target} cannot be written", got=e.strerror or str(e),
                            hint="set ECTYPE_CACHE_DIR to a folder with space") from e
    by_hand = f"fetch it by hand into {target.parent}, or set ECTYPE_DATA_DIR to the folder above {file.folder}/{file.name}"
    raise DataFileError(f"{file.name} cannot be downloaded", expected=f"a file with sha256 {file.sha256}", got="; ".join(failures),
                        hint=by_hand)


def _fetch_from(url: str, target: Path, sha256: str, quiet: bool) -> str | None:
    """Download one address to the target; None, or why that failed.

    Another process may download the same file: each writes to a name of its own, and one that gives up leaves its part under a name
    from which the next takes it (both by renaming, which only one can do).
    """
    left, own = target.with_name(target.name + ".part"), target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.replace(left, own)
    except FileNotFoundError:
        own.touch()
    taken_up = own.stat().st_size > 0
    try:
        failure = _transfer(url, own, target.name, quiet)
        if failure is None:
            found = _sha256(own)
            if found == sha256:
                os.replace(own, target)
                return None
            failure = f"wrong checksum {found}"
            own.unlink()
            if taken_up:            # the part that was there may have been the wrong one
                return _fetch_from(url, target, sha256, quiet)
        return failure
    finally:
        if own.exists() and own.stat().st_size:
            os.replace(own, left)
        else:
            own.unlink(missing_ok=True)


def _transfer(url: str, path: Path, label: str, quiet: bool) -> str | None:
    """Append to the file until it is whole; None, or why that failed."""
    with open(path, "ab") as part:
        for _ in range(ATTEMPTS):
            before = part.tell()
            failure = _receive(url, part, label, quiet)
            if failure is None or part.tell() == before:
                break
        return failure


def _receive(url: str, part: BinaryIO, label: str, quiet: bool) -> str | None:
    """One request for the rest of the file; None when all of it came, else why not."""
    start = part.tell()
    headers = {"User-Agent": "ectype"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as e:
        e.close()
        return None if e.code == 416 and start else f"HTTP status {e.code}"     # 416: nothing is left to send
    except NETWORK as e:
        return _reason(e)
    with response:
        if start and response.status != 206:                                    # the server sends the whole file again
            part.truncate(0)
        length = response.headers.get("Content-Length")
        total = part.seek(0, os.SEEK_END) + int(length) if length else None
        with _progress_bar(quiet) as progress:
            task = progress.add_task(label, total=total, completed=part.tell())
            while True:
                try:
                    chunk = response.read(CHUNK)
                except NETWORK as e:
                    return _reason(e)
                if not chunk:
                    break
                part.write(chunk)
                progress.update(task, advance=len(chunk))
    return None if total is None or part.tell() >= total else f"broke off at {part.tell():,} of {total:,} bytes"


def _progress_bar(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


def _reason(e: Exception) -> str:
    return str(getattr(e, "reason", None) or e or type(e).__name__)


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
