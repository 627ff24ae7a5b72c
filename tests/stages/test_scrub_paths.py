"""An executed notebook names no folder of the machine it ran on."""

from __future__ import annotations

from dataflow.engine.secrets import Scrubber

PATHS = {"/home/ann": "~", "/home/ann/work/project": "${DATAFLOW_PROJECT}"}


def test_the_projects_folder_and_the_home_folder_are_taken_out():
    scrub = Scrubber().with_paths(PATHS)

    assert scrub.text('File "/home/ann/work/project/notebooks/a.py", line 3') == (
        'File "${DATAFLOW_PROJECT}/notebooks/a.py", line 3'
    )
    assert scrub.text("/home/ann/.cache and /home/ann") == "~/.cache and ~"


def test_what_only_begins_like_it_stays():
    scrub = Scrubber().with_paths(PATHS)

    for text in ("/home/annabel/x", "/home/ann-lee", "/home/ann.txt", "s3://bucket/home/ann/x"):
        assert scrub.text(text) == text
    assert scrub.text("file:///home/ann/x and \x1b[0;32m/home/ann/y") == (
        "file://~/x and \x1b[0;32m~/y"
    )


def test_secrets_are_still_taken_out():
    scrub = Scrubber({"TOKEN": "s3cr3t-token"}).with_paths(PATHS)

    assert scrub.tree({"a": ["/home/ann s3cr3t-token"]}) == {"a": ["~ ${TOKEN}"]}
