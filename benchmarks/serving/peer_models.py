"""The same weights as infinity-emb reads them: as an encoder, and with a head of one label."""

import shutil

import torch
import typer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.serving.peer import CROSS_ENCODER, ENCODER, HOME, version
from shared.ml.backbones import default_encoder_folder


def main() -> None:
    """Write both model folders; the head is drawn, since its values cost the same as any others."""
    weights = default_encoder_folder()
    shutil.copytree(weights, ENCODER, dirs_exist_ok=True)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1)
    model.save_pretrained(CROSS_ENCODER)
    AutoTokenizer.from_pretrained(weights).save_pretrained(CROSS_ENCODER)
    typer.echo(f"The peer is ready in {HOME}: {version()}")


if __name__ == "__main__":
    main()
