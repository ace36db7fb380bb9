"""The Dockerfile frontend: a pure function from a Dockerfile to a graph.

Comes in: the text, build arguments, and a resolver that says what an image is. Goes out: vertices,
image configs, and what the checks found. It reads no file, no environment and no network.
Read in this order: `parse` (text becomes typed instructions), `expand` (variables), `stages` and
`convert` (instructions become a graph), then `copy` and `run` for the two longest of them.
"""
