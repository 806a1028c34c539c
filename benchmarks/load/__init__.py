"""What the `bench_*` scripts share: a load server, the clients that are compared, and a report that states its targets.

`server` and `child` are processes of their own, started by `harness`, so that neither shares an interpreter with the
other or with the script. `peers` holds the clients side by side; a new one is one more class there. Of `asr_async` only
public names are used: another tree of it is measured by putting that tree first on `PYTHONPATH`.
"""
