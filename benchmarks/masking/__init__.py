"""What the masker finds and what it spoils, on texts made for that: `make bench-masking`."""
