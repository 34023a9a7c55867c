"""The event loop that the operator runs on."""

import os
import socket
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    """uvloop whose failed connections close their socket once.

    Of one whose peer is gone before it begins, uvloop's own closes the descriptor and leaves the socket as it is, which
    closes it again when it is collected: by then as somebody else's of the same number, and whoever connects next fails
    with "File descriptor is used by transport" (MagicStack/uvloop issue 653). A restarting API server does that.
    """

    async def create_connection(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Any:
        """As of every loop."""
        try:
            return await super().create_connection(*args, sock=sock, **options)
        except BaseException:
            # At once, since nobody has taken the number meanwhile.
            if sock is not None and not is_open(sock.fileno()):
                sock.detach()
            raise


def is_open(number: int) -> bool:
    """Whether a file descriptor of this process is in use."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
