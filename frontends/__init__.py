"""Frontends: each turns one kind of definition into a graph. Not part of the engine."""
