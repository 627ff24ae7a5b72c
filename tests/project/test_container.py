"""What the container image is made of."""

from __future__ import annotations

from projects import REPOSITORY


def test_the_image_is_built_without_secrets_and_whatever_else_git_ignores():
    def lines(name: str) -> set[str]:
        text = (REPOSITORY / name).read_text("utf-8")
        names = {line.strip().removeprefix("**/").strip("/") for line in text.splitlines()}
        return {name for name in names if not name.startswith("#")}

    assert lines(".gitignore") - lines(".dockerignore") == set()
