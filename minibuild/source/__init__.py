"""Sources: what a build takes from outside, as results: images, git repositories, files of the web.

Comes in: an op that names a source. Goes out: a result with a key that names its contents.
Read in this order: `source`, `image`, `git`, `http`, and `web`, which fetches.
"""
