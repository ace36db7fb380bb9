"""What a layer directory holds on disk.

Comes in: a directory. Goes out: blocks and inodes. An inode with several names counts once. In a
merged snapshot, inodes that also have names elsewhere belong to the snapshots they were linked
from, and do not count at all.
"""

import os

from minibuild.snapshot.api import Usage


def usage_of(layer_dir: str, *, shares: bool) -> Usage:
    """The usage of a layer; `shares` if it may hold links to files of other snapshots."""
    root = os.lstat(layer_dir)
    blocks, inodes = root.st_blocks, 1
    several: dict[int, list[int]] = {}  # inode -> names seen, names there are, blocks
    pending = [layer_dir]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif found.st_nlink > 1:
                    seen = several.setdefault(found.st_ino, [0, found.st_nlink, found.st_blocks])
                    seen[0] += 1
                    continue
                blocks += found.st_blocks
                inodes += 1
    for seen_names, all_names, of_inode in several.values():
        if not shares or seen_names == all_names:
            blocks += of_inode
            inodes += 1
    return Usage(blocks * 512, inodes)  # st_blocks counts 512 bytes each, see stat(2).
