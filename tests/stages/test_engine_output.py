"""What cells print and display: within limits, in order, without cost that grows with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from engine_helpers import run_cells, start_cells
from projects import error_of, statuses, text_of, wait_until

from dataflow.engine import saving
from dataflow.engine.output import TEXT_LIMIT, Stream


def test_fifty_megabytes_in_one_cell_are_cut_with_a_note(tmp_path: Path) -> None:
    cell = (
        "line = 'x' * 99 + '\\n'\nfor _ in range(500): print(line * 1000, end='')\nprint('the end')"
    )
    ended = run_cells(tmp_path, ["print('start')", cell, "print('on')"])
    assert statuses(ended.notebook) == ["completed"] * 3
    text = text_of(ended.code[1])
    assert "characters are not kept" in text
    assert text.startswith("xxx")
    assert text.endswith("the end\n")
    assert len(text) < TEXT_LIMIT + 200
    assert ended.path.stat().st_size < 2 * TEXT_LIMIT
    assert ended.seconds < 60


def test_fifty_megabytes_in_one_line_do_no_harm(tmp_path: Path) -> None:
    ended = run_cells(tmp_path, ["print('x' * 50_000_000)"])
    assert ended.status == "completed"
    assert ended.path.stat().st_size < 2 * TEXT_LIMIT


@pytest.mark.parametrize(
    ("lines", "flush"),
    # A flushed line is a message of its own: fewer of them here, for the time they take.
    [(100_000, False), (15_000, True)],
    ids=["buffered", "flushed"],
)
@pytest.mark.slow
def test_small_prints_by_the_thousand_arrive_in_full(
    tmp_path: Path, lines: int, flush: bool
) -> None:
    seen: list[str] = []
    ended = run_cells(
        tmp_path,
        [f"for i in range({lines}): print(i, flush={flush})"],
        on_output=lambda name, text: seen.append(text),
    )
    assert ended.status == "completed"
    expected = "".join(f"{i}\n" for i in range(lines))
    assert "".join(seen) == expected
    assert text_of(ended.code[0]) == expected
    assert len(ended.code[0].outputs) == 1
    assert ended.seconds < 60


def test_a_huge_display_is_replaced_by_a_note(tmp_path: Path) -> None:
    cell = (
        "from IPython.display import HTML, display\n"
        "display(HTML('<b>small</b>'))\n"
        "display(HTML('x' * 11_000_000))\n"
        "display(HTML('<b>small again</b>'))"
    )
    ended = run_cells(tmp_path, [cell])
    small, huge, again = ended.code[0].outputs
    assert small.data["text/html"] == "<b>small</b>"
    assert "characters are not kept" in huge.data["text/plain"]
    assert again.data["text/html"] == "<b>small again</b>"


def test_many_displays_are_limited_together(tmp_path: Path) -> None:
    cell = (
        "from IPython.display import HTML, display\n"
        "for i in range(10): display(HTML('x' * 5_000_000))"
    )
    ended = run_cells(tmp_path, [cell, "print('on')"])
    assert statuses(ended.notebook) == ["completed"] * 2
    assert ended.path.stat().st_size < 32_000_000
    assert "characters are not kept" in str(ended.code[0].outputs[-1].data)


def test_text_between_displays_is_limited_together(tmp_path: Path) -> None:
    ended = run_cells(tmp_path, ["for i in range(30):\n    print('x' * 300_000)\n    display(i)"])
    assert ended.status == "completed"
    assert len(ended.code[0].outputs) == 60
    assert ended.path.stat().st_size < 1.5 * TEXT_LIMIT


def test_a_huge_exception_is_cut(tmp_path: Path) -> None:
    ended = run_cells(tmp_path, ["raise ValueError('a' * 20_000_000 + 'z')"])
    error = error_of(ended.notebook)
    assert error.ename == "ValueError"
    assert "characters are not kept" in error.evalue
    assert error.evalue.endswith("z")
    assert ended.path.stat().st_size < 1_000_000


def test_an_updated_display_is_limited_too(tmp_path: Path) -> None:
    cell = (
        "from IPython.display import HTML, display\n"
        "handle = display(HTML('first'), display_id=True)\n"
        "for i in range(3): handle.update(HTML('x' * 20_000_000))\n"
        "handle2 = display(HTML('a'), display_id=True)\nhandle2.update(HTML('b'))"
    )
    ended = run_cells(tmp_path, [cell])
    assert "characters are not kept" in ended.code[0].outputs[0].data["text/plain"]
    assert ended.code[0].outputs[1].data["text/html"] == "b"
    assert ended.path.stat().st_size < 1_000_000


def test_a_progress_bar_leaves_its_last_state(tmp_path: Path) -> None:
    cell = (
        "import sys\n"
        "for i in range(2001): print(f'\\rstep {i}', end='', flush=True)\n"
        "print()\nprint('after')\n"
        "for i in range(101): print(f'\\r{i} %', end='', file=sys.stderr, flush=True)"
    )
    ended = run_cells(tmp_path, [cell])
    assert text_of(ended.code[0]) == "step 2000\nafter\n"
    assert text_of(ended.code[0], "stderr") == "100 %"


def test_prints_and_displays_keep_their_order(tmp_path: Path) -> None:
    cell = "print('a')\ndisplay(1)\nprint('b')\nprint('c')\ndisplay(2)\nprint('d')"
    ended = run_cells(tmp_path, [cell])
    shown = [out.get("text") or out.data["text/plain"] for out in ended.code[0].outputs]
    assert shown == ["a\n", "1", "b\nc\n", "2", "d\n"]


def test_cleared_output_is_cleared(tmp_path: Path) -> None:
    cell = (
        "from IPython.display import clear_output\n"
        "for i in range(5):\n    clear_output(wait=True)\n    print('now', i)\n"
        "clear_output()\nprint('last')"
    )
    ended = run_cells(tmp_path, [cell])
    assert text_of(ended.code[0]) == "last\n"


def test_output_captured_by_a_widget_stays_there(tmp_path: Path) -> None:
    cell = "%%capture caught\nprint('inside')"
    ended = run_cells(tmp_path, [cell, "print(caught.stdout, end='')"])
    assert text_of(ended.code[0]) == ""
    assert text_of(ended.code[1]) == "inside\n"


def test_what_subprocesses_print_is_in_the_notebook_and_nowhere_else(tmp_path: Path) -> None:
    cell = (
        "import os, sys, time\n"
        "os.system('echo to out; echo to err >&2')\n"
        "print('past IPython', file=sys.__stdout__, flush=True)\n"
        "time.sleep(0.5)"
    )
    execution = start_cells(tmp_path, [cell])
    assert execution.process.communicate(timeout=120) == ("", "")
    nb = nbformat.read(execution.output, as_version=4)
    assert text_of(nb.cells[1]) == "to out\npast IPython\n"
    assert text_of(nb.cells[1], "stderr") == "to err\n"


@pytest.mark.slow
def test_saves_are_by_the_clock_not_by_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[float] = []
    real = saving.write_notebook

    def counted(nb: Any, path: Path) -> None:
        writes.append(time.monotonic())
        real(nb, path)

    monkeypatch.setattr(saving, "write_notebook", counted)
    ended = run_cells(tmp_path, [f"a = {i}" for i in range(400)])
    assert statuses(ended.notebook) == ["completed"] * 400
    assert len(writes) <= ended.seconds + 4


@pytest.mark.slow
def test_a_whole_file_is_on_disk_at_all_times(tmp_path: Path) -> None:
    cells = ["print('x' * 200_000)\nimport time; time.sleep(0.4)"] * 8
    execution = start_cells(tmp_path, cells)
    wait_until(execution.output.exists, every=0.01)
    reads, sizes = 0, set()
    while execution.process.poll() is None:
        nb = nbformat.read(execution.output, as_version=4)  # raises on half a file
        nbformat.validate(nb)
        sizes.add(sum(bool(c.get("outputs")) for c in nb.cells))
        reads += 1
        time.sleep(0.02)
    assert reads > 20
    assert len(sizes) > 2  # the cells were seen to come in one by one
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]


def test_a_long_cells_output_is_on_disk_while_it_runs(tmp_path: Path) -> None:
    execution = start_cells(
        tmp_path, ["print('early', flush=True)\nbegan()\nimport time; time.sleep(600)"]
    )
    execution.wait_for_cell()

    def early() -> bool:
        nb = nbformat.read(execution.output, as_version=4)
        return text_of(nb.cells[1]) == "early\n"

    wait_until(early)
    assert execution.process.poll() is None
    execution.process.kill()


def test_time_and_memory_of_each_cell_are_in_its_metadata(tmp_path: Path) -> None:
    ended = run_cells(tmp_path, ["import time; time.sleep(0.5)", "x = b'x' * 300_000_000", "del x"])
    times = [cell.metadata.papermill.duration for cell in ended.code]
    assert 0.5 <= times[0] < 30
    peaks = [cell.metadata.dataflow.peak_memory_bytes for cell in ended.code]
    assert peaks[1] - peaks[0] > 250_000_000
    assert peaks[2] >= peaks[1]
    assert ended.notebook.metadata.dataflow.peak_memory_bytes == peaks[2]


def test_a_stream_keeps_its_beginning_and_its_end() -> None:
    stream = Stream(limit=20)
    for number in range(100):
        stream.write(f"{number:02} ")
    assert stream.text.startswith("00 01 02 0")
    assert stream.text.endswith("97 98 99 ")
    assert "[… 280 characters are not kept" in stream.text


def test_a_stream_cut_in_one_huge_piece_keeps_both_ends() -> None:
    stream = Stream(limit=20)
    stream.write("a" * 10 + "b" * 1000 + "c" * 10)
    assert stream.text.startswith("a" * 10 + "\n")
    assert stream.text.endswith("\n" + "c" * 10)


def test_a_kernel_of_a_run_starts_without_a_debugger_that_the_notebook_may_still_import(
    tmp_path: Path,
) -> None:
    cells = [
        "import sys; print(sorted({'debugpy', 'pydevd'} & set(sys.modules)), sys.argv[0])",
        "import debugpy; print(debugpy.__name__)",
    ]
    ended = run_cells(tmp_path, cells)
    assert ended.status == "completed"
    assert [text_of(cell) for cell in ended.code] == ["[] ipykernel_launcher\n", "debugpy\n"]
