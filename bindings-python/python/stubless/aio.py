"""Asynchronous channels and servers, under asyncio, uvloop, trio and anyio."""

from ._aio_client import Channel, ClientInterceptor, connect
from ._aio_server import Server, ServerInterceptor, health

__all__ = ["Channel", "ClientInterceptor", "Server", "ServerInterceptor", "connect", "health"]
