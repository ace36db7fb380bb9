"""Builds that are ended at random moments, by Ctrl-C or by kill -9: `python -m tests.chaos`."""
