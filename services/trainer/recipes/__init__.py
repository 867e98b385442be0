"""One file, one training method."""
