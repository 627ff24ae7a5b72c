"""Page after page of a JSON API, as generators that yield each page as it was decoded.

Four ways to ask for the next page, the four that APIs use: a page's number, an offset, a
cursor in the answer, a `Link` header. What they share:

- `api` is a client of `dataflow.shared.http.client`, `url` is below the client's own (empty for
  that itself), `params` are the query parameters of every request;
- `items` is where in a page the list of items is (`"features"`, `"data.results"`; None when the
  page is the list), and the size of a page is the client's `batch_size`;
- a page without items is the end. A page that is merely short is not: servers may return fewer
  than requested. A server that returns the same page again is an error, not an endless loop;
- they raise `HttpError` when a request fails, or a page is not as described.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from dataflow.shared.http import Client, HttpError
from dataflow.shared.http_wire import HOME

log = logging.getLogger(__name__)

Params = Mapping[str, Any]
Next = tuple[str, Params | None]  # an address and its query parameters


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
        page_param: the name of the parameter with the page's number.
        size_param: the name of the parameter with the page's size; None to send none.
        start: the number of the first page.
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
        offset_param: the name of the parameter with the offset.
        limit_param: the name of the parameter with the page's size.
        start: the offset of the first item (0, or 1 where the service counts from one).
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
) -> Iterator[Any]:
    """Pages by a cursor in the answer; one that is itself an address is followed as it is.

    Args:
        cursor: where in a page the next cursor is; a missing, null or empty one is the end.
        cursor_param: the name of the parameter that takes the cursor.
    """

    def following(page: Any, response: httpx.Response) -> Next | None:
        found = _dig(page, cursor)
        if found in (None, ""):
            return None
        if str(found).startswith(("http://", "https://", "/")):
            return str(response.url.join(str(found))), None
        return url, {**(params or {}), cursor_param: found}

    yield from _follow(api, (url, params), items, following, "its cursor repeats")


def link_pages(
    api: Client, url: str = "", *, params: Params | None = None, items: str | None = None
) -> Iterator[Any]:
    """Pages by the `Link: <…>; rel="next"` header (RFC 8288), as GitHub's API gives it.

    `params` are those of the first request; the links carry their own.
    """

    def following(page: Any, response: httpx.Response) -> Next | None:
        link = response.links.get("next", {}).get("url")
        return None if link is None else (str(response.url.join(link)), None)

    yield from _follow(api, (url, params), items, following, "its next link repeats")


def _follow(
    api: Client,
    start: Next,
    items: str | None,
    following: Callable[[Any, httpx.Response], Next | None],
    circle: str,
) -> Iterator[Any]:
    """The pages from `start`, each of which leads to the next; `circle` says when they never end."""
    watch = _Watch(items)
    seen: set[str] = set()
    home: dict[str, str] = {}
    then: Next | None = start
    while then is not None:
        response = api.get(then[0], params=then[1], extensions=home)
        home = home or {HOME: str(response.request.url)}
        page = api.decode(response)
        # A page without items may still point to one that has some.
        if watch.count(page, response):
            yield page
        then = following(page, response)
        if str(then) in seen:
            raise _endless(response, circle)
        seen.add(str(then))


class _Watch:
    """Counts a page's items, logs progress, and notices when a server repeats itself."""

    def __init__(self, items: str | None) -> None:
        self.items = items
        self.pages = 0
        self.total = 0
        self.last: list[Any] | None = None

    def count(self, page: Any, response: httpx.Response) -> int:
        """The number of items on `page`; None (an empty answer) has none.

        Raises:
            HttpError: there is no list where `items` says, or the page repeats the last one.
        """
        if page is None:
            return 0
        found = _dig(page, self.items) if self.items else page
        if not isinstance(found, list):
            held = sorted(page) if isinstance(page, dict) else f"a {type(page).__name__}"
            raise HttpError(
                f"the page has no list {self.items or 'at its top level'!r}; it holds {held}"[:300],
                where=f"GET {response.url}",
                hint="Set items to the keys that lead to the list, joined by dots.",
                status=response.status_code,
            )
        if found and found == self.last:
            raise _endless(response, "it returned the same page again")
        self.last = found
        self.pages += 1
        self.total += len(found)
        log.info("page %d: %d items, %d so far", self.pages, len(found), self.total)
        return len(found)


def _dig(page: Any, keys: str) -> Any:
    """The value in `page` below `keys` (joined by dots); None where a key is missing."""
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
