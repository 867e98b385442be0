"""`heed demo`: the whole loop with real processes over real HTTP, on a sample or on own data."""
