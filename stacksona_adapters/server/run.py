"""Runs the gate: in this thread until it is told to stop, or in a background thread of this process."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from stacksona_adapters.server.app import create_app

if TYPE_CHECKING:
    from types import TracebackType

    from fastapi import FastAPI
    from typing_extensions import Self

    from stacksona_adapters.server.settings import ServerSettings


class _Server(uvicorn.Server):
    """Ends streams and long polls before it waits for connections to end."""

    def __init__(self, app: FastAPI, settings: ServerSettings) -> None:
        config = uvicorn.Config(
            app,
            lifespan="on",
            access_log=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
        )
        super().__init__(config)
        self._app = app
        self.ready = threading.Event()

    @property
    def failure(self) -> BaseException:
        """Why it did not start."""
        reason: BaseException | None = getattr(self._app.state, "failure", None)
        return reason or RuntimeError("the gate did not start; its log says why")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        served = getattr(self._app.state, "served", None)
        if served is not None:
            served.changes.close()
        await super().shutdown(sockets)


def listen(settings: ServerSettings) -> socket.socket:
    """A listening socket on the address and port of the settings.

    Raises:
        OSError: If the port is taken or the address not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    # asyncio switches Nagle's algorithm off only for sockets made with IPPROTO_TCP; without this an answer takes 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of a listening socket, as seen from this machine."""
    host, port = str(bound.getsockname()[0]), int(bound.getsockname()[1])
    seen = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{seen}]:{port}" if ":" in seen else f"http://{seen}:{port}"


def serve(settings: ServerSettings, bound: socket.socket | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then end streams, finish what runs and return.

    Args:
        settings: How the gate is set up.
        bound: A socket that listens already (of `listen`), so that the caller knows the port.

    Raises:
        OSError: If the port is taken.
        Exception: What kept the gate from starting, such as a database that cannot be reached.
    """
    server = _Server(create_app(settings), settings)
    try:
        server.run([bound or listen(settings)])
    except SystemExit as ended:
        raise server.failure from ended


class EmbeddedGate:
    """A gate on a background thread of this process, for laptops, demos and tests.

    Args:
        settings: How the gate is set up; port 0 takes a free one.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.url = ""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self) -> Self:
        """Serve; returns when requests are answered, with `url` set.

        Raises:
            OSError: If the port is taken.
            Exception: What kept the gate from starting, such as a database that cannot be reached.
        """
        bound = listen(self.settings)
        self._server = server = _Server(create_app(self.settings), self.settings)
        self._thread = threading.Thread(target=self._run, args=(server, bound), name="stacksona-gate", daemon=True)
        self._thread.start()
        server.ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        self.url = url_of(bound)
        return self

    def stop(self) -> None:
        """End streams, finish what runs, and return when the gate is closed. May be called again."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, server: _Server, bound: socket.socket) -> None:
        try:
            server.run([bound])
        except SystemExit:
            self._error = server.failure
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in start()
            self._error = error
        finally:
            bound.close()
            server.ready.set()
