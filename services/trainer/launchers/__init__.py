"""One training run on many processes: what starts them, and how they find one another.

The unit is one command, `python -m services.trainer --run ID --attempt N`, in one container that
sees the artifact store. A launcher starts it once for every rank.
"""
