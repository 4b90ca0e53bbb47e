"""Holds idle connections from one network to some ports: `python -m ... COUNT HOST:PORT...`.

It is a process of its own because its work would distort the measurements. It reopens each closed
connection after a while, and prints a line once every connection has been open.
"""

import asyncio
import random
import resource
import sys
from typing import Final

PER_HOST: Final = 12
HOSTS_PER_NET: Final = 250
AGAIN_S: Final = 10.0  # about so long after it was closed


async def hold(endpoint: str, number: int, opened: asyncio.Semaphore) -> None:
    """Hold one connection that says nothing, from a host of 127.1.0.0/16."""
    host, _, port = endpoint.rpartition(":")
    index = number // PER_HOST
    source = f"127.1.{index // HOSTS_PER_NET}.{index % HOSTS_PER_NET + 1}"
    is_first = True
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                host, int(port), local_addr=(source, 0), limit=1024
            )
            if is_first:
                opened.release()
                is_first = False
            await reader.read()
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(AGAIN_S * random.uniform(0.5, 1.5))


async def main(count: int, endpoints: list[str]) -> None:
    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            for endpoint in endpoints:
                tasks.create_task(hold(endpoint, number, opened))
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        for _ in range(count * len(endpoints)):
            await opened.acquire()
        sys.stdout.write("flooded\n")
        sys.stdout.flush()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
