"""The server of listeners as a program of its own: `python -I -S .../__main__.py FD`."""

import os
import sys

# Started without site-packages and by path: this checkout, or wherever the package is installed.
sys.path.insert(
    0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
)

from minibuild.executor.listener.server import serve

serve(int(sys.argv[1]))
