"""Another user, for tests of what may not be written."""

import os
from contextlib import contextmanager


@contextmanager
def ordinary_user(folder):
    """Within the block, one who may not write everywhere: root becomes ``nobody``, who may pass down to ``folder``."""
    root = os.geteuid() == 0
    if root:
        for path in folder.parents:
            if not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
