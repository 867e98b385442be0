"""What client applications talk to: feedback and preferences in, rows out."""
