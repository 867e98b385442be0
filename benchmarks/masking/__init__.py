"""What the masker finds and what it spoils, on texts made for it: `python -m benchmarks.masking`."""
