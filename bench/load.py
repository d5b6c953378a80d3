"""A small HTTP load generator on plain sockets, in processes of its own (the usual clients cost more than the gate)."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Result:
    """How a load went: calls per second, and the median and 99th percentile of their duration in milliseconds."""

    per_second: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.per_second:8.0f}/s   p50 {self.p50:7.2f} ms   p99 {self.p99:7.2f} ms"


@dataclass(frozen=True)
class Load:
    """What to send: one request again and again over some connections, for some seconds."""

    url: str
    path: str
    key: str
    body: bytes
    connections: int
    seconds: float

    def run(self) -> Result:
        """Run it in a process of its own."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_measure, (self,))

    @property
    def request(self) -> bytes:
        """The bytes of one request."""
        host = urlsplit(self.url).netloc
        head = f"POST {self.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body


def _measure(load: Load) -> Result:
    durations = asyncio.run(_drive(load))
    durations.sort()
    at = [durations[min(int(len(durations) * part), len(durations) - 1)] * 1000 for part in (0.5, 0.99)]
    return Result(len(durations) / load.seconds, *at)


async def _drive(load: Load) -> list[float]:
    until = time.perf_counter() + load.seconds
    several = await asyncio.gather(*(_connection(load, until) for _ in range(load.connections)))
    return [duration for durations in several for duration in durations]


async def _connection(load: Load, until: float) -> list[float]:
    address = urlsplit(load.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    durations = []
    while (begin := time.perf_counter()) < until:
        writer.write(load.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(head.decode())
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        durations.append(time.perf_counter() - begin)
    writer.close()
    return durations
