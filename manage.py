#!/usr/bin/env python3
"""The portal's one command: `python3 manage.py start`, `python3 manage.py test`, and every command of Django.

This file runs on whatever `python3` is, so it says in old syntax that a newer one is needed; the rest is in
portal/launcher/.
"""

import sys

OLDEST = (3, 11)


def require_python(version):
    if tuple(version[:2]) < OLDEST:
        sys.exit(
            "The portal needs Python %d.%d or newer, and this is Python %d.%d. "
            "Run it with a newer one, for example: python3.11 manage.py start" % (OLDEST + tuple(version[:2]))
        )


if __name__ == "__main__":
    require_python(sys.version_info)
    from portal.launcher.command_line import main

    sys.exit(main(sys.argv))
