"""The engine's side of frontends: it finds one, and gives it the text and the contexts.

Comes in: a request. Goes out: the definition's text, the contexts with their ignore patterns, and
the frontend that reads them.
Read in this order: `definition`, `remote_context`, `loader`, `bridge`, `epoch`, `graph`,
`policies`, `subrequests`.
"""
