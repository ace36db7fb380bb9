"""The keeper as a program of its own: `python -I -S .../__main__.py FD HOME`."""

import os
import sys

# Started without site-packages and by path, as the step server is.
sys.path.insert(0, os.path.abspath(f"{os.path.dirname(os.path.abspath(__file__))}/../../.."))

from minibuild.executor.ownroot.keeper import Keeper
from minibuild.executor.ownroot.root import root_here
from minibuild.linux.channel import Channel

Keeper(Channel(int(sys.argv[1]))).serve()
# The builder is gone. If it could not put things back itself, this does.
root_here().close()
