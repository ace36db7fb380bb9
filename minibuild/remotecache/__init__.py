"""Results of steps for other machines: written to a registry or a folder, and found there."""
