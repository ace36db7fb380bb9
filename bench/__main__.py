"""`python -m bench`, which is what `make bench` calls: see `run`."""

import sys

from bench.run import main

sys.exit(main(sys.argv[1:]))
