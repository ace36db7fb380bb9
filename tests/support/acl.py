"""A folder with a default ACL, as `setfacl -d` makes one, without that program."""

import errno
import os
import struct
from pathlib import Path

import pytest

# linux/posix_acl_xattr.h: version 2, then entries of a tag, permissions and an id.
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_UNDEFINED_ID = 0xFFFFFFFF


def give_default_acl(folder: Path) -> None:
    """`u::rwx,u:12:rwx,g::rwx,m::rwx,o::---`, for all that is made in a folder. Skips the test
    where there are no ACLs."""
    entries = (
        (_USER_OBJ, 7, _UNDEFINED_ID),
        (_USER, 7, 12),
        (_GROUP_OBJ, 7, _UNDEFINED_ID),
        (_MASK, 7, _UNDEFINED_ID),
        (_OTHER, 0, _UNDEFINED_ID),
    )
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(folder, "system.posix_acl_default", value)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this filesystem has no ACLs")
