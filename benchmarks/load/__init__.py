"""Parts that the `bench_*` scripts share: a load server, the clients that are compared, and a report with its targets.

`harness` starts `server` and `child` as processes of their own, so that neither shares an interpreter with the other or
with the script. `peers` holds the clients; a new client is one more class there. Only public names of `asr_async` are
used: put another tree of it first on `PYTHONPATH` to measure that tree.
"""
