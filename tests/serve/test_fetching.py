"""Photos by their address: from public machines only, whatever names and redirects say."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from act2sal.serve import fetching
from act2sal.serve.fetching import fetched, is_public
from act2sal.serve.problems import ProblemError

PUBLIC = "93.184.216.34"
NAMES = {
    "photos.example": [PUBLIC],
    "other.example": [PUBLIC],
    "inside.example": ["10.0.0.7"],
    "half.example": [PUBLIC, "127.0.0.1"],
    "127.0.0.1": ["127.0.0.1"],
    "169.254.169.254": ["169.254.169.254"],
}
MOST = 200_000


class Photos(BaseHTTPRequestHandler):
    """What the machine behind the public address answers."""

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))  # type: ignore[attr-defined]
        path, _, target = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
        elif path == "/photo":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a photo")
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.drip(b"x" * 65_536, 0)
        elif path == "/slow":
            self.send_response(200)
            self.end_headers()
            self.drip(b"x", 0.05)
        else:
            self.send_error(404)

    def drip(self, part: bytes, pause: float) -> None:
        try:
            for _ in range(200):
                self.wfile.write(part)
                self.wfile.flush()
                time.sleep(pause)
        except OSError:  # the other side has gone
            pass

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """The requests that arrive at a machine which stands for the public address; names resolve as in `NAMES`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Photos)
    server.daemon_threads = True
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connect = socket.create_connection

    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in NAMES:
            raise socket.gaierror("no such name")
        return [(0, 0, 0, "", (address, port)) for address in NAMES[host]]

    def connected(address: tuple[str, int], timeout: float) -> socket.socket:
        assert address == (PUBLIC, 80), "nothing else may be connected to"
        return connect(server.server_address[:2], timeout)

    names = SimpleNamespace(getaddrinfo=found, create_connection=connected, SOCK_STREAM=socket.SOCK_STREAM)
    monkeypatch.setattr(fetching, "socket", names)
    yield server.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_a_photo_is_fetched(asked: list[tuple[str, str]]) -> None:
    assert fetched("http://photos.example/photo", MOST) == b"a photo"
    assert asked == [("photos.example", "/photo")]


def test_a_redirect_to_another_public_name_is_followed(asked: list[tuple[str, str]]) -> None:
    assert fetched("http://photos.example/to?http://other.example/photo", MOST) == b"a photo"
    assert asked[-1] == ("other.example", "/photo")


def test_a_redirect_without_a_name_stays_where_it_is(asked: list[tuple[str, str]]) -> None:
    assert fetched("http://photos.example/to?/photo", MOST) == b"a photo"


@pytest.mark.parametrize(
    "target",
    [
        "http://inside.example/photo",
        "http://127.0.0.1/photo",
        "http://169.254.169.254/latest",
        "http://half.example/",
    ],
)
def test_neither_a_name_nor_a_redirect_leads_inside(asked: list[tuple[str, str]], target: str) -> None:
    for url in (target, f"http://photos.example/to?{target}"):
        with pytest.raises(ProblemError, match="is not public") as refused:
            fetched(url, MOST)
        assert refused.value.status == 422
    assert asked == [("photos.example", f"/to?{target}")]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "begins with http"),
        ("http://photos.example/to?file:///etc/passwd", "begins with http"),
        ("http://photos.example:8080/photo", "usual ports only"),
        ("http://photos.example/to?http://other.example:22/", "usual ports only"),
        ("http://user:secret@photos.example/photo", "names nobody"),
        ("http://nowhere.example/photo", "cannot be found"),
        ("http://photos.example:x/photo", "is none"),
        ("http://photos.example/missing", "answers 404"),
    ],
)
def test_other_addresses_are_refused(asked: list[tuple[str, str]], url: str, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        fetched(url, MOST)


def test_redirects_end(asked: list[tuple[str, str]]) -> None:
    with pytest.raises(ProblemError, match="leads on more than 3 times"):
        fetched("http://photos.example/to?" * 10 + "http://photos.example/photo", MOST)
    assert len(asked) == 4


def test_what_is_too_large_is_not_read_to_its_end(asked: list[tuple[str, str]]) -> None:
    with pytest.raises(ProblemError, match="larger than 200000 bytes") as refused:
        fetched("http://photos.example/endless", MOST)
    assert refused.value.status == 413


def test_what_takes_too_long_is_given_up(
    asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    begun = time.monotonic()
    with pytest.raises(ProblemError, match=r"longer than 0\.3 seconds"):
        fetched("http://photos.example/slow", MOST)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public
