"""Asynchronous channels and servers, under asyncio, uvloop, trio and anyio."""

from ._aio_client import Channel, ClientInterceptor, connect

__all__ = ["Channel", "ClientInterceptor", "connect"]
