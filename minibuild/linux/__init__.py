"""TODO: written by the package's author."""
