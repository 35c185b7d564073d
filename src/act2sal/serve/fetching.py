"""Photos fetched by their address, from public machines only (`--allow-url`)."""

import http.client
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from act2sal.serve.problems import ProblemError

REDIRECTS = 3
SECONDS = 15.0
"""For all redirects and the photo together."""

PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_BLOCK = 65_536


def fetched(url: str, most: int) -> bytes:
    """The content at an address.

    The name is resolved here, each of its addresses is checked, and the connection goes to one that was checked: a
    name that is resolved again could lead elsewhere. The same holds for every redirect.

    Args:
        url: http or https, on their usual ports.
        most: bytes.

    Raises:
        ProblemError: 422, as the address is not public or gives nothing; 413, as there are more bytes.
    """
    deadline = time.monotonic() + SECONDS
    for _ in range(REDIRECTS + 1):
        answer = _asked(_checked(url), most, deadline)
        if isinstance(answer, bytes):
            return answer
        url = urljoin(url, answer.location)
    raise ProblemError(422, f"the address leads on more than {REDIRECTS} times")


@dataclass(frozen=True)
class _Redirect:
    location: str


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ProblemError(422, "the address of the photo is none") from error
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise ProblemError(422, "the address of a photo begins with http:// or https://, and names nobody")
    if port not in (None, PORTS[parts.scheme]):
        raise ProblemError(422, "photos are fetched from the usual ports only")
    return parts


def public_address(host: str, port: int) -> str:
    """An address of a host, if all of its addresses are public.

    Raises:
        ProblemError: 422, as one is not, or there is none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ProblemError(422, "the address of the photo cannot be found") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise ProblemError(422, "the address of the photo is not public")
    return addresses[0]


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet; those that embed another address do not count."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        embeds = address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
        return not embeds
    return True


class _Connection(http.client.HTTPConnection):
    """To an address that was checked, whatever the name may resolve to now."""

    def __init__(self, parts: SplitResult, seconds: float) -> None:
        super().__init__(parts.hostname or "", PORTS[parts.scheme], timeout=seconds)
        self._secure = parts.scheme == "https"

    def connect(self) -> None:
        """Connect, over TLS for https, whose certificate is that of the name."""
        address = public_address(self.host, self.port)
        self.sock = socket.create_connection((address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _asked(parts: SplitResult, most: int, deadline: float) -> bytes | _Redirect:
    connection = _Connection(parts, max(0.1, deadline - time.monotonic()))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers={"User-Agent": "act2sal", "Accept": "image/*"})
        with connection.getresponse() as answer:  # which holds the socket, too
            location = answer.getheader("Location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                return _Redirect(location)
            if answer.status != 200:
                raise ProblemError(422, f"the address of the photo answers {answer.status}")
            return _content(answer, most, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ProblemError(422, "the photo cannot be fetched from its address") from error
    finally:
        connection.close()


def _content(answer: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    parts, size = [], 0
    while part := answer.read1(_BLOCK):
        size += len(part)
        if size > most:
            raise ProblemError(413, f"the photo at the address is larger than {most} bytes")
        if time.monotonic() > deadline:
            raise ProblemError(422, f"the photo at the address takes longer than {SECONDS:g} seconds")
        parts.append(part)
    return b"".join(parts)
