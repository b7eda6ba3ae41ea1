#!/usr/bin/env python3
"""A registry that is far away: a proxy that gives each connection so many bytes a second, and each request its latency.

As a program: far_registry.py PORT MEGABYTES_PER_SECOND MILLISECONDS prints its own port and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys


async def up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    while data := await reader.read(1 << 16):
        await asyncio.sleep(delay_s)  # a request fits one read
        writer.write(data)
        await writer.drain()
    writer.close()


async def down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while data := await reader.read(1 << 16):
        due = max(due, loop.time() - 0.05) + len(data) / rate  # what it was idle is not made up for
        writer.write(data)
        await writer.drain()
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
    writer.close()


async def serve(port: int, rate: float, delay_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near_reader, near_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(up(reader, near_writer, delay_s), down(near_reader, writer, rate), return_exceptions=True)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    try:
        asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) * 1e6, float(sys.argv[3]) / 1e3))
    except KeyboardInterrupt:
        pass
