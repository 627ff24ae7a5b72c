"""SQL as text."""

from __future__ import annotations

from dataflow.base.sql import without_comments

SQL = """\
select 'a -- b' as "c /* d", -- from x
/* from y
   {{ ref('y') }} */ 'it''s' from {{ ref('t') }} {# from z #}
where e = '--' -- it's from w
"""


def test_comments_are_left_out_but_not_what_stands_in_quotes_and_lines_stay():
    assert without_comments(SQL) == (
        "select 'a -- b' as \"c /* d\", \n\n 'it''s' from {{ ref('t') }} \nwhere e = '--' \n"
    )
