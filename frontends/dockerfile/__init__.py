"""The Dockerfile frontend."""
