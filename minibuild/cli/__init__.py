"""The command line: words in, exit code out.

Comes in: argv and the environment. Goes out: a `BuildRequest` or another call into the engine, text
for people, and a number for the shell.
Everything that a command line can do, a Python program can do without it.
Read in this order: `main`, `build_flags`, `build_request`, `build`, `errors`.
"""
