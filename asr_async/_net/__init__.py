"""Bytes and messages on the network: TLS, proxies, WebSocket, plain HTTP, and the log of what went over the wire."""
