"""``python -m heed_cli.sample`` writes the bundled file again, beside the content it comes from."""

from pathlib import Path

from heed_cli.sample import FILE_NAME, build_sample, sample_lines

if __name__ == "__main__":
    Path(__file__).with_name(FILE_NAME).write_text(sample_lines(build_sample()), encoding="utf-8")
