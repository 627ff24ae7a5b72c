"""The last step of a request: the rate limit, the proxy, and the secret for its own host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from urllib.request import getproxies, proxy_bypass

import httpx

from dataflow.shared.http_settings import HttpSettings

HOME = "dataflow.home"
"""Request extension: the previous address, when a response named the address."""

OWNERS = "dataflow.owners"
"""Request extension: which hosts its headers are for."""

# Headers about the connection itself, for whichever host answers.
_FOR_ALL = {"host", "connection", "user-agent", "transfer-encoding", "range", "prefer"}
_FOR_ALL_PREFIXES = ("accept", "content-", "if-", "cache-")


@dataclass(frozen=True)
class Owners:
    """The hosts that a request's headers are for; other hosts do not get them.

    Args:
        home: the host of the client's own headers and cookies.
        target: the host that the request was made for, before any redirect.
        given: the names of the headers that were given for this request alone.
    """

    home: httpx.URL
    target: httpx.URL
    given: frozenset[str]

    def may_have(self, url: httpx.URL, header: str) -> bool:
        """Whether a request to `url` may carry `header`."""
        owner = self.target if header in self.given else self.home
        is_for_all = header in _FOR_ALL or header.startswith(_FOR_ALL_PREFIXES)
        return is_for_all or same_host(owner, url)


class Wire(httpx.BaseTransport):
    """A transport that adds the auth on the way out, below everything that logs or redirects.

    The secret goes to the configured host only. httpx removes `Authorization` when a redirect
    leads elsewhere, but not an API key in its own header, and to httpx an address in a page's
    "next" link is an entirely new request.
    """

    def __init__(self, settings: HttpSettings, cookies: Callable[[], CookieJar]) -> None:
        self._settings = settings
        self._cookies = cookies
        self._home = httpx.URL(settings.url) if settings.url else None
        self._transports: dict[str | None, httpx.HTTPTransport] = {}
        self._turn = threading.Lock()
        self._next_turn = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for our turn, add the auth, send."""
        self._wait_for_turn()
        request = self._authorized(self._without_foreign(request))
        return self._transport(request.url).handle_request(request)

    def close(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            transport.close()

    def _wait_for_turn(self) -> None:
        if self._settings.rate_limit is None:
            return
        with self._turn:
            now = time.monotonic()
            start = max(now, self._next_turn)
            self._next_turn = start + 1 / self._settings.rate_limit
        time.sleep(start - now)

    def _transport(self, url: httpx.URL) -> httpx.HTTPTransport:
        """The transport for `url`: httpx reads the proxy variables only without our transport."""
        proxy = None
        if not proxy_bypass(url.host):
            proxies = getproxies()
            proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy not in self._transports:
            self._transports[proxy] = httpx.HTTPTransport(proxy=proxy)
        return self._transports[proxy]

    def _without_foreign(self, request: httpx.Request) -> httpx.Request:
        """A copy of `request` without the headers that are for another host."""
        owners: Owners | None = request.extensions.get(OWNERS)
        if owners is None:
            return request
        kept = [
            (name, value)
            for name, value in request.headers.multi_items()
            if owners.may_have(request.url, name.lower())
        ]
        copy = _copy(request, httpx.Headers(kept))
        is_another = owners.home.host != request.url.host  # cookies ignore ports
        if "cookie" in request.headers and "cookie" not in copy.headers and is_another:
            # Those that this host itself has set.
            own = CookieJar()
            for cookie in self._cookies():
                if cookie.domain:
                    own.set_cookie(cookie)
            httpx.Cookies(own).set_cookie_header(copy)
        return copy

    def _authorized(self, request: httpx.Request) -> httpx.Request:
        """A copy of `request` with the auth, when it goes to the configured host."""
        settings = self._settings
        if (
            settings.auth_type is None
            or self._home is None
            or not same_host(self._home, request.url)
        ):
            return request
        headers, url = request.headers.copy(), request.url
        if settings.auth_type == "bearer_token" and settings.token:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        elif settings.auth_type == "basic":
            headers["Authorization"] = f"Basic {settings.basic_credentials()}"
        elif settings.api_key and settings.api_key_in == "header":
            headers[settings.api_key_name] = settings.api_key.get_secret_value()
        elif settings.api_key:
            url = url.copy_set_param(settings.api_key_name, settings.api_key.get_secret_value())
        return _copy(request, headers, url)


def _copy(
    request: httpx.Request, headers: httpx.Headers, url: httpx.URL | None = None
) -> httpx.Request:
    return httpx.Request(
        request.method,
        url or request.url,
        headers=headers,
        stream=request.stream,
        extensions=request.extensions,
    )


def same_host(home: httpx.URL, url: httpx.URL) -> bool:
    """Whether `url` may have `home`'s secret: the same origin, or the same host by now on https."""
    if (home.scheme, home.host, home.port) == (url.scheme, url.host, url.port):
        return True
    upgraded = home.scheme == "http" and url.scheme == "https"
    return upgraded and home.host == url.host and home.port is None and url.port is None
