"""Downloads against a server on this machine: checksum, resume, mirrors."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pycaffe_clr.cli import data as command
from pycaffe_clr.data import download
from pycaffe_clr.errors import DataError

CONTENT = bytes(range(256)) * 4096
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how: /cut stops half-way, /whole ignores ranges."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((self.path, first))
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/whole":
            first = 0
        body = b"x" * len(CONTENT) if self.path == "/wrong" else CONTENT
        if first >= len(body):
            return self.send_error(416)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        body = body[first:]
        self.wfile.write(body[: max(1, len(body) // 2)] if self.path == "/cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def remote(server, *paths, md5=MD5, sha256=SHA256):
    return download.RemoteFile("set.gz", md5, sha256, tuple(server.url + path for path in paths))


def test_a_file_is_fetched_once(tmp_path, server):
    path = download.fetch(remote(server, "/set"), tmp_path / "new", quiet=True)
    assert path.read_bytes() == CONTENT
    download.fetch(remote(server, "/set"), tmp_path / "new")
    assert len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == ["set.gz"]


def test_an_unfinished_download_is_continued(tmp_path, server):
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1000])
    assert download.fetch(remote(server, "/set"), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/set", 1000)]


def test_a_lost_connection_is_taken_up_where_it_broke(tmp_path, server):
    with pytest.raises(DataError, match="connection lost"):
        download.fetch(remote(server, "/cut"), tmp_path)
    half = len(CONTENT) // 2
    assert server.asked == [("/cut", 0), ("/cut", half), ("/cut", half + half // 2)]
    assert download.fetch(remote(server, "/set"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/set", half + half // 2 + half // 4)


def test_a_server_without_ranges_sends_all_again(tmp_path, server):
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:1000])
    assert download.fetch(remote(server, "/whole"), tmp_path).read_bytes() == CONTENT


def test_a_whole_part_needs_no_more_bytes(tmp_path, server):
    (tmp_path / "set.gz.part").write_bytes(CONTENT)
    assert download.fetch(remote(server, "/set"), tmp_path).read_bytes() == CONTENT


def test_a_damaged_part_is_fetched_again(tmp_path, server):
    (tmp_path / "set.gz.part").write_bytes(b"y" * 1000)
    assert download.fetch(remote(server, "/set"), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/set", 1000), ("/set", 0)]


def test_the_next_address_is_tried(tmp_path, server):
    path = download.fetch(remote(server, "/missing", "/wrong", "/set"), tmp_path)
    assert path.read_bytes() == CONTENT


def test_when_nothing_helps_every_address_is_listed(tmp_path, server):
    with pytest.raises(DataError) as caught:
        download.fetch(remote(server, "/missing", "/wrong"), tmp_path)
    message = str(caught.value)
    assert "/missing: HTTP 404" in message and "/wrong: checksum" in message
    assert SHA256 in message and "--from" in message
    assert list(tmp_path.iterdir()) == []
    closed = download.RemoteFile("set.gz", MD5, SHA256, ("http://127.0.0.1:9/set.gz",))
    with pytest.raises(DataError, match="127.0.0.1:9"):
        download.fetch(closed, tmp_path)


@pytest.mark.parametrize("wrong", ["md5", "sha256"])
def test_both_checksums_count(tmp_path, server, wrong):
    expected = "0" * (32 if wrong == "md5" else 64)
    with pytest.raises(DataError, match=f"checksum (MD5|SHA-256) .*expected {expected}"):
        download.fetch(remote(server, "/set", **{wrong: expected}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_encrypted_first_and_checksums_whole():
    files = [file for files in download.FILES.values() for file in files]
    assert len(files) == 6 == len({file.sha256 for file in files})
    for file in files:
        assert re.fullmatch("[0-9a-f]{32}", file.md5)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        schemes = [url.split(":")[0] for url in file.urls]
        assert schemes == sorted(schemes, reverse=True) and schemes[0] == "https"
        assert all(url.endswith("/" + file.name) for url in file.urls)


def test_the_command_downloads_what_it_has_not(tmp_path, server, monkeypatch):
    import argparse

    asked = []

    def fetch(file, folder, quiet):
        asked.append((file.name, folder))

    monkeypatch.setattr(download, "fetch", fetch)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(DataError, match="expected the files of cifar10"):
        command.main(parser.parse_args(["cifar10", "--root", str(tmp_path)]))
    assert asked == [("cifar-10-binary.tar.gz", tmp_path / "data" / "cifar10")]
