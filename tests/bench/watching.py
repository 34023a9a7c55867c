"""A list and its watch, line by line: the leanest there is, for the observer and the bare writer alike."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

Json = dict[str, Any]


async def events(session: aiohttp.ClientSession, url: str, opened: Any) -> AsyncIterator[tuple[str, Json]]:
    """Events since now, until cancelled; a watch that ends goes on from where it was.

    Args:
        session: without a total timeout.
        url: of the collection.
        opened: called once, when the first watch stands.

    Raises:
        RuntimeError: the watch cannot go on without a gap.
    """
    async with session.get(f"{url}?limit=1") as response:
        version = json.loads(await response.text())["metadata"]["resourceVersion"]
    while True:
        query = f"?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=3600"
        async with session.get(url + query) as response:
            if response.status != 200:
                raise RuntimeError(f"watch {url}: HTTP {response.status} {await response.text()}")
            if opened is not None:
                opened()
                opened = None
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"watch {url}: {event['object']}")
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
