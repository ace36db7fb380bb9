"""minibuild: a Dockerfile builder without a daemon and without root."""
