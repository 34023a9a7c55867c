"""Connections that fail while they are made."""

import asyncio
import gc
import socket
import ssl
import warnings
from collections.abc import Callable

import pytest
import uvloop

from ipam_operator.cli.loops import Loop, is_open


async def fails(ours: socket.socket) -> bool:
    """Whether TLS cannot begin on it."""
    loop, context = asyncio.get_running_loop(), ssl.create_default_context()
    try:
        await loop.create_connection(asyncio.Protocol, sock=ours, ssl=context, server_hostname="x")
    except OSError:
        return True
    return False


async def survives() -> bool:
    """Whether a socket outlives one of the same number, whose peer was gone when TLS began on it."""
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    theirs.close()
    assert await fails(ours)
    others = [socket.socket() for _ in range(4)]
    assert number in {one.fileno() for one in others}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del ours
        for _ in range(5):  # the loop forgets it, too
            await asyncio.sleep(0)
            gc.collect()
    lost = [one for one in others if not is_open(one.fileno())]
    for one in others:
        one.detach() if one in lost else one.close()
    return not lost


def survive(factory: Callable[[], asyncio.AbstractEventLoop]) -> bool:
    """On this loop."""
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(survives())


@pytest.mark.unit
def test_a_connection_that_fails_closes_nobody_elses() -> None:
    """The API server goes while we connect: the socket is closed once."""
    assert survive(Loop)


@pytest.mark.unit
def test_uvloop_still_needs_it() -> None:
    """When this fails, uvloop has been mended, and our loop can go."""
    assert not survive(uvloop.new_event_loop)
