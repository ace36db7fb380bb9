"""The metadata of a store, opened by many at once."""

import subprocess
import sys
from pathlib import Path


def test_many_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from minibuild.store.database import Database\n"
        "for name in range(10):\n"
        "    os.write(1, b'.'); sys.stdin.buffer.read1(1)\n"
        "    Database(f'{sys.argv[1]}/{name}.db').close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)
    ]
    for _ in range(10):
        for process in processes:
            assert process.stdout is not None
            process.stdout.read(1)  # it waits at the line
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"!")
            process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
