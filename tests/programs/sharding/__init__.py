"""Facts about sharded arrays, measured in processes with several CPU devices.

``python -m tests.programs.sharding SECTION`` prints the facts of one module here as JSON.
`combinations` runs as a module of its own, because it takes one process or two.
"""
