"""Rate limits and circuit breakers: in one event loop, and shared by processes through Redis."""
