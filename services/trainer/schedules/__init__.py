"""The scheduler: what is due is enqueued, exactly once by however many of it there are."""
