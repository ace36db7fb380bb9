"""A helper as a program of its own: `python -I -S .../__main__.py ROLE FD ARGUMENTS`."""

import os
import sys

# Started without site-packages and by path: this checkout, or wherever the package is installed.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

_, role, fd, *arguments = sys.argv
os.set_inheritable(int(fd), False)  # What a helper starts, a step above all, does not get it.
match role:
    case "server":
        from minibuild.executor.server import main

        main(int(fd), *arguments)
    case "listener":
        from minibuild.executor.listener.server import serve

        serve(int(fd))
    case "keeper":
        from minibuild.executor.ownroot.keeper import keep

        keep(int(fd))
