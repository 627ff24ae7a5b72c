"""An executed notebook as a page: what it shows, and how it keeps what came from data harmless.

`model` reads the notebook, `outputs`, `plots` and `markdown` its parts, `sanitize` decides what may
stand in the page, and `page.html` with its style and script is what they are put into.
"""
