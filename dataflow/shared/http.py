"""An httpx client for data sources: retries, rate limit, auth, and errors people can read.

::

    from dataflow.shared.config import load_config
    from dataflow.shared.http import client
    from dataflow.shared.paging import offset_pages

    with client(load_config("my_workflow")) as api:
        for page in offset_pages(api, items="results"):
            ...

Connections, timeouts and redirects are httpx's. Added here: when to retry, who may see the secret,
and what the error says. A secret is added to a request only on its way out (`Wire`), and only for
the configured host: it never shows in the request that logs, errors and redirects see. Headers,
parameters and cookies stay with the host they were meant for, too: a redirect or a page's "next"
link may name any host.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from dataflow.base.words import shortened
from dataflow.errors import DataflowError
from dataflow.shared.http_settings import HttpSettings
from dataflow.shared.http_wire import HOME, OWNERS, Owners, Wire, same_host

log = logging.getLogger(__name__)

RETRY_ALWAYS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice with the same effect as once (RFC 9110, 9.2.2)."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_HINTS = {
    400: "Read the server's message above; a parameter is missing or out of range.",
    401: "Check auth_type and that the secret's ${VARIABLE} is set and still valid.",
    403: "The secret is valid but does not allow this; check its permissions, or the User-Agent.",
    404: "Check the url in config.yaml.",
    429: "Set a lower rate_limit (requests per second), or raise max_retries.",
}


class HttpError(DataflowError):
    """A request did not get a usable answer. Its text never holds a secret.

    Args:
        status: the answer's HTTP status; None when there was no answer.
        transient: whether the same request may well work later.
        retry_after: seconds the server asked us to wait; None when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.transient = transient
        self.retry_after = retry_after


def client(config: Mapping[str, Any] | None = None, **overrides: Any) -> Client:
    """An HTTP client from a workflow's configuration.

    Args:
        config: the whole of `load_config(…)`, its `ingestion` section, or plain keys:
            `url`, `auth_type` (`bearer_token` with `token`; `basic` with `username` and
            `password`; `api_key` with `api_key`, `api_key_name`, `api_key_in`),
            `headers`, `params`, `timeout` (seconds), `max_retries`, `retry_wait` and
            `max_retry_wait` (seconds), `rate_limit` (requests per second), `batch_size`
            (items per page). Other keys are left alone: they are the workflow's own.
        overrides: the same keys; they override `config`.

    Returns:
        A `Client`, which is an `httpx.Client`; use it in a `with` block.

    Raises:
        ConfigurationError: a value is wrong, or the auth lacks its secret.
    """
    return Client(HttpSettings.read(config, overrides))


class Client(httpx.Client):
    """An `httpx.Client` that tries again, keeps to the rate limit, and fails with `HttpError`.

    Relative addresses are below the configured `url`; the empty one is that `url` itself.
    Every answer with a status of 400 or more is an `HttpError`.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        endpoint = httpx.URL(settings.url) if settings.url else None
        super().__init__(
            # A base address with a query would have paths appended to the query.
            base_url=endpoint.copy_with(query=None, fragment=None) if endpoint else "",
            headers=settings.headers,
            timeout=httpx.Timeout(settings.timeout, connect=min(settings.timeout, 10.0)),
            follow_redirects=True,
            transport=Wire(settings, lambda: self.cookies.jar),
        )

    def build_request(
        self, method: str, url: httpx.URL | str, *, params: Any = None, **kwargs: Any
    ) -> httpx.Request:
        """Build a request; an empty `url` is the configured one, without a slash added to it.

        Parameters are added to the address's own query, which httpx would throw away; those
        that are None are left out. The configured ones are for the configured host.
        """
        target = httpx.URL(str(url) or self.settings.url)
        extensions = dict(kwargs.pop("extensions", None) or {})
        home = httpx.URL(self.settings.url or extensions.get(HOME) or target)
        own = not target.is_absolute_url or same_host(home, target)
        added = {**(self.settings.params if own else {}), **(params or {})}
        target = target.copy_merge_params(
            {name: value for name, value in added.items() if value is not None}
        )
        request = super().build_request(method, target, extensions=extensions, **kwargs)
        headers = httpx.Headers(kwargs.get("headers"))
        # A redirect's request inherits the extensions.
        request.extensions[OWNERS] = Owners(home, request.url, frozenset(headers))
        return request

    def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        """Send a request, again when that may help, and return the answer.

        Raises:
            HttpError: no answer, or one with a status of 400 or more.
        """
        # A streamed body is gone after the first try.
        replayable = isinstance(request.stream, httpx.ByteStream)
        retries = self.settings.max_retries if replayable else 0
        attempt = 0
        while True:
            try:
                return self._send_once(request, **kwargs)
            except HttpError as error:
                wait = self._wait_before_retry(error, attempt)
                if wait is None or attempt == retries:
                    raise
                log.warning("%s; trying again in %.1f s", error.message, wait)
            time.sleep(wait)
            attempt += 1

    def get_json(self, url: httpx.URL | str = "", **kwargs: Any) -> Any:
        """GET `url` and decode its JSON; an empty answer (204) is None.

        Raises:
            HttpError: no answer, a status of 400 or more, or an answer that is not JSON.
        """
        return self.decode(self.get(url, **kwargs))

    def decode(self, response: httpx.Response) -> Any:
        """The JSON of an answer; None when it is empty.

        Raises:
            HttpError: the answer is not JSON.
        """
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            return response.json()
        except ValueError as error:
            reason = str(error)
        kind = response.headers.get("content-type", "an unnamed type")
        raise HttpError(
            self.settings.scrub(
                f"the answer is not JSON ({reason}) but {kind}: {_excerpt(response.text)}"
            ),
            where=self._place(response.request),
            hint="Check the url and its format parameter; a login or proxy page may have answered.",
            status=response.status_code,
        )

    def _send_once(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        problem: httpx.RequestError | None = None
        try:
            response = super().send(request, **kwargs)
        except httpx.RequestError as error:
            problem = error
        # Raised outside of the handler: an error's context must not include the request.
        if problem is not None:
            raise self._no_answer(request, problem)
        if response.status_code < httpx.codes.BAD_REQUEST:
            return response
        try:
            response.read()
        except httpx.RequestError:
            log.debug("the body of a %s could not be read", response.status_code)
        response.close()
        raise self._bad_status(request, response)

    def _no_answer(self, request: httpx.Request, problem: httpx.RequestError) -> HttpError:
        never_sent = isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout)
        hint = "Check the network and the url, or try again later."
        if isinstance(problem, httpx.TimeoutException):
            message = f"no answer within {self.settings.timeout:g} s"
            hint = "Raise timeout (seconds) in config.yaml, or ask for less per page (batch_size)."
        elif isinstance(problem, httpx.ConnectError):
            message = f"cannot connect to {request.url.netloc.decode()}: {problem}"
        else:
            message = f"the connection broke off: {problem or type(problem).__name__}"
        return HttpError(
            self.settings.scrub(message),
            where=self._place(request),
            hint=hint,
            transient=isinstance(problem, httpx.TransportError)
            and not isinstance(problem, httpx.UnsupportedProtocol)
            and (never_sent or request.method in RETRY_ALWAYS),
        )

    def _bad_status(self, request: httpx.Request, response: httpx.Response) -> HttpError:
        status = response.status_code
        text = _excerpt(response.text) if response.is_stream_consumed else ""
        # 429 says "not now": the request was not carried out, whatever its method.
        again = request.method in RETRY_ALWAYS or status == httpx.codes.TOO_MANY_REQUESTS
        waits = retry_after(response.headers)
        hint = _HINTS.get(status)
        if waits is not None and waits > self.settings.max_retry_wait:
            hint = (
                f"The server asks to wait {waits:.0f} s; run again later, or raise max_retry_wait."
            )
        elif hint is None and status in TRANSIENT_STATUS:
            hint = "The server has a problem; run again later, or raise max_retries."
        return HttpError(
            self.settings.scrub(
                f"the server answered {status} {response.reason_phrase}".rstrip()
                + (f": {text}" if text else "")
            ),
            where=self._place(request),
            hint=hint,
            status=status,
            transient=status in TRANSIENT_STATUS and again,
            retry_after=waits,
        )

    def _wait_before_retry(self, error: HttpError, attempt: int) -> float | None:
        """Seconds until the next try; None when another try is pointless."""
        longest, first = self.settings.max_retry_wait, self.settings.retry_wait
        if not error.transient or (error.retry_after or 0) > longest:
            return None
        if error.retry_after is not None:
            return error.retry_after
        return min(longest, first * 2**attempt + random.uniform(0, first))

    def _place(self, request: httpx.Request) -> str:
        url = request.url.copy_with(username=None, password=None)
        return self.settings.scrub(shortened(f"{request.method} {url}", 200))


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that a `Retry-After` header asks to wait; it may hold seconds or a date."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _excerpt(text: str) -> str:
    """The start of an answer, in one line and without HTML tags."""
    words = " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", text, flags=re.S).split())
    return shortened(words, 300)
