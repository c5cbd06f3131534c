"""Who may ask. A home without keys is open to programs of this machine; with keys, one must be shown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.api.errors import reply
from luthier.errors import LuthierError
from luthier.serve.refusals import Forbidden, Refusal, Unauthorized
from luthier.store import Home, keys
from luthier.store.served import Stamp, Watch

OPEN_PATHS = frozenset({"/health"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Ring:
    """The live keys, read again when one was made or revoked."""

    def __init__(self, home: Home) -> None:
        self.home, self.watch = home, Watch(home)
        self._stamp: tuple[int, int] | None = None
        self._keys: Mapping[str, str] = {}

    async def keys(self, stamp: Stamp) -> Mapping[str, str]:
        """Hash → id."""
        if stamp.keys != self._stamp:
            self._keys, self._stamp = await asyncio.to_thread(keys.live, self.home), stamp.keys
        return self._keys


def auth(app: ASGIApp, ring: Ring, local_only: bool) -> ASGIApp:
    """`app`, for those who may ask. `local_only`: the server can be reached from this machine alone."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
            stamp = scope["state"]["stamp"] = await ring.watch.stamp()
            known = await ring.keys(stamp)
            if known or not local_only:
                who = known.get(keys.digest(_shown(headers)))
                refusal = None if who else _without_key(headers)
            else:
                who, refusal = None, _foreign(headers)
            if refusal:
                await reply(refusal)(scope, receive, send)
                return
            scope["state"]["key_id"] = who
        await app(scope, receive, send)

    return run


def _shown(headers: Mapping[bytes, str]) -> str:
    scheme, _, secret = headers.get(b"authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _without_key(headers: Mapping[bytes, str]) -> Refusal:
    said = "this API key is not known" if _shown(headers) else "an API key is needed"
    message = f"{said}: send `Authorization: Bearer KEY`; `luthier keys create NAME` makes one"
    return Unauthorized(message)


def _foreign(headers: Mapping[bytes, str]) -> Refusal | None:
    """Pages of other sites, which a browser on this machine may show, are kept from a server without keys."""
    for header in (b"host", b"origin"):
        place = headers.get(header, "")
        if place and _host(place) not in LOCAL_NAMES:
            return Forbidden(f"without API keys the server answers this machine alone, not {header.decode()} {place!r}",
                             code="not_local")  # fmt: skip
    return None


def _host(place: str) -> str:
    """`localhost` of `http://localhost:8000`."""
    address = place.rpartition("//")[2].partition("/")[0].lower()
    return address if address.endswith("]") else address.rpartition(":")[0] or address


def check_host(host: str, has_keys: bool) -> None:
    """Raise LuthierError where a server would be open to a network without a key."""
    if not has_keys and not is_local(host):
        raise LuthierError(
            f"a server on {host} can be reached by others, and this home has no API key", "--host",
            "Make one with `luthier keys create NAME`, or leave `--host` out",
        )  # fmt: skip


def is_local(host: str) -> bool:
    """Whether an address to bind to is this machine's own loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
