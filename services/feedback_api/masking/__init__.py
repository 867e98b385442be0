"""Masking of posts in processes of their own, so that the event loop never waits for it.

`rows` says what of a row is masked, `worker` is the process, `pool` hands posts to processes.
"""
