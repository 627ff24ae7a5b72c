"""The settings of an HTTP client, read from a workflow's configuration and checked."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem


class HttpSettings(BaseModel):
    """The settings of one client; see `dataflow.shared.http.client` for their meaning."""

    # Inputs stay out of pydantic's messages: one of them may be a secret.
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    url: str = Field("", pattern=r"^(https?://[^\s/]+\S*)?$")
    auth_type: Literal["bearer_token", "basic", "api_key"] | None = None
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    api_key: SecretStr | None = None
    api_key_name: str = "X-API-Key"
    api_key_in: Literal["header", "query"] = "header"
    headers: dict[str, str] = {}
    params: dict[str, Any] = {}
    timeout: float = Field(30.0, gt=0)
    max_retries: int = Field(3, ge=0)
    retry_wait: float = Field(0.5, gt=0)
    max_retry_wait: float = Field(60.0, gt=0)
    rate_limit: float | None = Field(None, gt=0)
    batch_size: int = Field(1000, gt=0)

    @classmethod
    def read(cls, config: Mapping[str, Any] | None, overrides: Mapping[str, Any]) -> HttpSettings:
        """Settings from a whole configuration, its `ingestion` section, or plain keys.

        Raises:
            ConfigurationError: with every problem found; none of them shows a secret.
        """
        for name in overrides:
            if name not in cls.model_fields:
                raise ConfigurationError(
                    f"an HTTP client has no setting {name!r}",
                    hint=nearest(name, cls.model_fields),
                )
        values = {**flatten(config or {}), **overrides}
        if values.get("auth_type") == "none":
            values["auth_type"] = None
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            found = [
                Problem(f"{'.'.join(map(str, item['loc']))}: {item['msg']}")
                for item in error.errors(include_input=False, include_url=False)
            ]
        else:
            found = settings._auth_problems()
        if found:
            raise ConfigurationError("the HTTP source is not configured correctly", problems=found)
        return settings

    def _auth_problems(self) -> list[Problem]:
        """What is missing for the chosen kind of auth, or can't be sent in a header."""
        needed: dict[str | None, tuple[str, ...]] = {
            "bearer_token": ("url", "token"),
            "basic": ("url", "username", "password"),
            "api_key": ("url", "api_key"),
        }
        problems = []
        for name in needed.get(self.auth_type, ()):
            value = getattr(self, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if not text:
                hint = None if name == "url" else f'Set {name}: "${{MY_{name.upper()}}}".'
                problems.append(Problem(f"auth_type {self.auth_type} needs {name}", hint=hint))
            # httpx would refuse it too, with the secret in its message.
            elif not text.isprintable() or text != text.strip():
                problems.append(
                    Problem(
                        f"{name} begins or ends with a line break, blank or control character",
                        hint="Check how the variable is set; a trailing newline is a common cause.",
                    )
                )
        return problems

    def secrets(self) -> list[str]:
        """Every secret text, the longest first."""
        held = [self.token, self.password, self.api_key]
        found = {secret.get_secret_value() for secret in held if secret is not None}
        if self.auth_type == "basic":
            found.add(self.basic_credentials())
        return sorted((text for text in found if text), key=len, reverse=True)

    def basic_credentials(self) -> str:
        """Name and password as HTTP's basic auth encodes them."""
        password = self.password.get_secret_value() if self.password else ""
        return base64.b64encode(f"{self.username}:{password}".encode()).decode()

    def scrub(self, text: str) -> str:
        """`text` without the secrets: servers often repeat what they were sent."""
        for secret in self.secrets():
            text = _any_spelling(secret).sub("[secret]", text)
            text = text.replace(base64.b64encode(secret.encode()).decode(), "[secret]")
        return text


def _any_spelling(secret: str) -> re.Pattern[str]:
    """Matches `secret` with any of its characters escaped as in addresses or JSON."""
    characters = []
    for character in secret:
        percent = "".join(f"%{byte:02x}" for byte in character.encode())
        characters.append(rf"\\?(?:{re.escape(character)}|(?i:{percent}))")
    return re.compile("".join(characters))


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plain keys of a configuration: `ingestion`'s `source` and `parameters` in one."""
    if isinstance(config.get("ingestion"), Mapping):
        config = config["ingestion"]
    parts = [config.get("source"), config.get("parameters")]
    if any(isinstance(part, Mapping) for part in parts):
        merged: dict[str, Any] = {}
        for part in parts:
            merged |= part if isinstance(part, Mapping) else {}
        return merged
    return dict(config)
