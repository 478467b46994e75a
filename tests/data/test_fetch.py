"""Downloads against a server on the loopback: whole, wrong, cut short, absent."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ectype.data.fetch import CHUNK, Published, cache_dir, fetch
from ectype.errors import DataFileError

BODY = np.random.default_rng(0).bytes(5 * CHUNK)
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """``/cut`` breaks off half-way, ``/cut-whole`` does so once and does not know ranges, ``/stuck`` sends nothing."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        kind = self.path.split("/")[1]
        if kind == "absent":
            self.send_error(404)
            return
        body = BODY[::-1] if kind == "wrong" else BODY
        start = int(re.search(r"\d+", self.headers.get("Range", "0"))[0]) if kind != "cut-whole" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if kind == "stuck":
            rest = b""
        elif (kind == "cut" and start < len(body) // 2) or (kind == "cut-whole" and len(self.server.seen) == 1):
            rest = rest[:len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("ECTYPE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ECTYPE_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        server.at = lambda *kinds: tuple(f"http://127.0.0.1:{server.server_port}/{kind}/file.bin" for kind in kinds)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def published(*urls):
    return Published("set", "file.bin", SHA256, urls)


def test_a_good_file_is_fetched_once(server, tmp_path, capfd):
    path = fetch(published(*server.at("good")))
    assert path == tmp_path / "cache" / "set" / "file.bin"
    assert path.read_bytes() == BODY
    assert fetch(published(*server.at("good"))) == path
    assert len(server.seen) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "file.bin" in err
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_quiet(server, capfd):
    fetch(published(*server.at("good")), quiet=True)
    assert capfd.readouterr() == ("", "")


def test_the_next_mirror_is_tried(server):
    assert fetch(published(*server.at("absent", "wrong", "good"))).read_bytes() == BODY
    assert [path for path, _ in server.seen] == ["/absent/file.bin", "/wrong/file.bin", "/good/file.bin"]


def test_every_failure_is_said(server, tmp_path):
    message = r"absent/file.bin: HTTP status 404; .*wrong/file.bin: wrong checksum [0-9a-f]{64}\nhint: .*ECTYPE_DATA_DIR"
    with pytest.raises(DataFileError, match=message):
        fetch(published(*server.at("absent", "wrong")), quiet=True)
    assert not (tmp_path / "cache" / "set" / "file.bin").exists()


@pytest.mark.parametrize("kind", ["cut", "cut-whole"])
def test_an_interrupted_transfer_is_taken_up(server, kind):
    assert fetch(published(*server.at(kind)), quiet=True).read_bytes() == BODY
    assert len(server.seen) == 2
    assert re.fullmatch(r"bytes=\d+-", server.seen[1][1])


def test_a_part_is_taken_up_by_the_next_call(server, tmp_path):
    with pytest.raises(DataFileError, match="broke off at 0 of"):
        fetch(published(*server.at("stuck")), quiet=True)
    part = tmp_path / "cache" / "set" / "file.bin.part"
    part.write_bytes(BODY[:1000])
    assert fetch(published(*server.at("good")), quiet=True).read_bytes() == BODY
    assert server.seen[-1][1] == "bytes=1000-"
    assert not part.exists()


@pytest.mark.parametrize("left", [b"not the beginning of the file", b"x" * len(BODY)])
def test_a_wrong_part_does_no_harm(server, tmp_path, left):
    part = tmp_path / "cache" / "set" / "file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert fetch(published(*server.at("good")), quiet=True).read_bytes() == BODY


def test_no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("ECTYPE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ECTYPE_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataFileError, match="refused"):
        fetch(published("http://127.0.0.1:9/file.bin"), quiet=True)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataFileError, match=r"cannot be written.*\nhint: set ECTYPE_CACHE_DIR"):
        fetch(published(*server.at("good")), quiet=True)


@pytest.mark.parametrize("name", ["file.bin", "file.bin.gz"])
def test_the_data_folder_comes_first(server, tmp_path, monkeypatch, name):
    monkeypatch.setenv("ECTYPE_DATA_DIR", str(tmp_path / "mine"))
    own = tmp_path / "mine" / "set" / name
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert fetch(published(*server.at("good"))) == own
    assert server.seen == []


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("ECTYPE_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("ECTYPE_CACHE_DIR")
    assert cache_dir() == tmp_path / "xdg" / "ectype"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir().is_absolute()
