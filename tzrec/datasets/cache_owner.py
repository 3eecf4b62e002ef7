"""Whose the cache is: arrays are mapped and used as they are, so nobody else may have put them there."""

import grp
import os
import pwd
import stat
from pathlib import Path

from tzrec.runtime.errors import UserError

NEXT = "set TZREC_CACHE_DIR to a folder of your own"


def refuse_others(folder: Path) -> None:
    """Raises UserError for a folder that another user owns (root may), or may write into."""
    there = os.stat(folder)
    if there.st_uid not in (os.geteuid(), 0):
        raise UserError(
            f"{folder}: belongs to user {_user(there.st_uid)}, who could change what is kept there; {NEXT}"
        )
    writers = [
        who
        for who, bit in (("its group", stat.S_IWGRP), ("everybody", stat.S_IWOTH))
        if there.st_mode & bit and not (bit == stat.S_IWGRP and _is_private(there.st_gid))
    ]
    if writers:
        raise UserError(
            f"{folder}: {' and '.join(writers)} may write into it and change what is kept there; "
            f'take that away ("chmod go-w {folder}") or {NEXT}'
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _is_private(group: int) -> bool:
    """Whether a group is this user's alone, as many systems make one for each user."""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}
