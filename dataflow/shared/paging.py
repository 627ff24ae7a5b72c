"""Page after page of a JSON API, as generators that yield each page as it was decoded.

Four ways to ask for the next page, the four that APIs use: a page's number, an offset, a
cursor in the answer, a `Link` header. What they share: `items` is where in a page the list
of items lies (`"features"`, `"data.results"`; None when the page is the list), the size of
a page is the client's `batch_size`, and a page without items is the end. A page that is
merely short is not: servers may give less than was asked for. A server that gives the same
page again is an error, not an endless loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from dataflow.shared.http import Client, HttpError
from dataflow.shared.http_wire import HOME

log = logging.getLogger(__name__)

Params = Mapping[str, Any]


def number_pages(
    api: Client,
    url: str = "",
    *,
    params: Params | None = None,
    items: str | None = None,
    page_param: str = "page",
    size_param: str | None = "per_page",
    start: int = 1,
) -> Iterator[Any]:
    """Pages by number: `?page=1&per_page=100`. A 404 after the first page is the end, too.

    Args:
        api: a client of `dataflow.shared.http.client`.
        url: below the client's url; empty for that url itself.
        params: query parameters of every request.
        items: where a page's list lies, as keys joined by dots.
        page_param: the name of the parameter with the page's number.
        size_param: the name of the parameter with the page's size; None to send none.
        start: the number of the first page.

    Raises:
        HttpError: a request failed, or a page is not as described.
    """
    watch = _Watch(items)
    number = start
    while True:
        query = {**(params or {}), page_param: number}
        if size_param:
            query[size_param] = api.settings.batch_size
        try:
            response = api.get(url, params=query)
        except HttpError as error:
            if error.status == httpx.codes.NOT_FOUND and number > start:
                return
            raise
        page = api.decode(response)
        if not watch.count(page, response):
            return
        yield page
        number += 1


def offset_pages(
    api: Client,
    url: str = "",
    *,
    params: Params | None = None,
    items: str | None = None,
    offset_param: str = "offset",
    limit_param: str = "limit",
    start: int = 0,
) -> Iterator[Any]:
    """Pages by offset: `?offset=0&limit=100`; the next offset counts the items received.

    Args:
        api: a client of `dataflow.shared.http.client`.
        url: below the client's url; empty for that url itself.
        params: query parameters of every request.
        items: where a page's list lies, as keys joined by dots.
        offset_param: the name of the parameter with the offset.
        limit_param: the name of the parameter with the page's size.
        start: the offset of the first item (0, or 1 where the service counts from one).

    Raises:
        HttpError: a request failed, or a page is not as described.
    """
    watch = _Watch(items)
    offset = start
    while True:
        query = {**(params or {}), offset_param: offset, limit_param: api.settings.batch_size}
        response = api.get(url, params=query)
        page = api.decode(response)
        received = watch.count(page, response)
        if not received:
            return
        yield page
        offset += received


def cursor_pages(
    api: Client,
    url: str = "",
    *,
    params: Params | None = None,
    items: str | None = None,
    cursor: str = "next",
    cursor_param: str = "cursor",
    size_param: str | None = None,
) -> Iterator[Any]:
    """Pages by a cursor in the answer; one that is itself an address is followed as it is.

    Args:
        api: a client of `dataflow.shared.http.client`.
        url: below the client's url; empty for that url itself.
        params: query parameters of every request.
        items: where a page's list lies, as keys joined by dots.
        cursor: where in a page the next cursor lies; missing, null or empty ends it.
        cursor_param: the name of the parameter that takes the cursor.
        size_param: the name of the parameter with the page's size; None to send none.

    Raises:
        HttpError: a request failed, or a page is not as described.
    """
    watch = _Watch(items)
    query: dict[str, Any] | None = dict(params or {})
    if query is not None and size_param:
        query[size_param] = api.settings.batch_size
    seen: set[str] = set()
    home: dict[str, str] = {}
    while True:
        response = api.get(url, params=query, extensions=home)
        home = home or {HOME: str(response.request.url)}
        page = api.decode(response)
        # A page without items may still point to one that has some.
        if watch.count(page, response):
            yield page
        following = _dig(page, cursor) if isinstance(page, dict) else None
        if following in (None, ""):
            return
        if str(following) in seen:
            raise _endless(response, "its cursor comes round again")
        seen.add(str(following))
        if str(following).startswith(("http://", "https://", "/")):
            url, query = str(response.url.join(str(following))), None
        else:
            query = {**(query or {}), cursor_param: following}


def link_pages(
    api: Client, url: str = "", *, params: Params | None = None, items: str | None = None
) -> Iterator[Any]:
    """Pages by the `Link: <…>; rel="next"` header (RFC 8288), as GitHub's API gives it.

    Args:
        api: a client of `dataflow.shared.http.client`.
        url: below the client's url; empty for that url itself.
        params: query parameters of the first request; the links carry their own.
        items: where a page's list lies, as keys joined by dots.

    Raises:
        HttpError: a request failed, or a page is not as described.
    """
    watch = _Watch(items)
    query: Params | None = params
    seen: set[str] = set()
    home: dict[str, str] = {}
    while True:
        response = api.get(url, params=query, extensions=home)
        home = home or {HOME: str(response.request.url)}
        page = api.decode(response)
        if watch.count(page, response):
            yield page
        link = response.links.get("next", {}).get("url")
        if link is None:
            return
        url, query = str(response.url.join(link)), None
        if url in seen:
            raise _endless(response, "its next link comes round again")
        seen.add(url)


class _Watch:
    """Counts a page's items, says how far we are, and sees when a server repeats itself."""

    def __init__(self, items: str | None) -> None:
        self.items = items
        self.pages = 0
        self.total = 0
        self.last: list[Any] | None = None

    def count(self, page: Any, response: httpx.Response) -> int:
        """The number of items on `page`; None (an empty answer) has none.

        Raises:
            HttpError: there is no list where `items` says, or it is the last page's again.
        """
        if page is None:
            return 0
        try:
            found = _dig(page, self.items) if self.items else page
        except KeyError:
            found = None
        if not isinstance(found, list):
            held = sorted(page) if isinstance(page, dict) else f"a {type(page).__name__}"
            raise HttpError(
                f"the page has no list {self.items or 'at its top'!r}; it holds {held}"[:300],
                where=f"GET {response.url}",
                hint="Set items to the keys that lead to the list, joined by dots.",
                status=response.status_code,
            )
        if found and found == self.last:
            raise _endless(response, "it gives the same page again")
        self.last = found
        self.pages += 1
        self.total += len(found)
        log.info("page %d: %d items, %d so far", self.pages, len(found), self.total)
        return len(found)


def _dig(page: Any, keys: str) -> Any:
    """What lies in `page` below `keys` (joined by dots); None where a key is missing."""
    for key in keys.split("."):
        if not isinstance(page, dict):
            return None
        page = page.get(key)
    return page


def _endless(response: httpx.Response, what: str) -> HttpError:
    return HttpError(
        f"the server does not get to the next page: {what}",
        where=f"GET {response.url}",
        hint="Check the names of the paging parameters in its documentation.",
        status=response.status_code,
    )
