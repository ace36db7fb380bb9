"""The step server as a program of its own: `python -I -S .../__main__.py FD SETUP`."""

import os
import sys

# Started without site-packages and by path: this checkout, or wherever the package is installed.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from minibuild.executor.server import serve_exec

serve_exec(int(sys.argv[1]), sys.argv[2])
