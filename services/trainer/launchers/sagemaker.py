"""Amazon SageMaker's way of running a container: `python -m services.trainer.launchers.sagemaker`.

SageMaker gives hyperparameters as strings in a file, data as folders named by channel, and takes
what lies in /opt/ml/model and, of a failure, the file /opt/ml/output/failure. Every job is a run of
a queue of its own: when a spot instance is taken away, the next one finds it there, and its
checkpoints where the deployment keeps its artifacts.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.trainer.config import LauncherKind, TrainerSettings
from services.trainer.execution import export_folder
from services.trainer.launchers.launching import SPREADS
from services.trainer.launchers.queued import train_queued
from services.trainer.processes import ending_in_one_line
from shared.config import load_settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.connect import database
from shared.errors import ConfigError, HeedError
from shared.logs import configure_logs

_DATA = ("*.jsonl", "*.ndjson", "*.json")


class SageMakerJob(BaseSettings):
    """What SageMaker tells a container; the folders are those of every container of its kind."""

    model_config = SettingsConfigDict(env_prefix="SM_", frozen=True, extra="ignore")

    model_dir: Path = Field(Path("/opt/ml/model"), description="Where the model has to end up.")
    channel_training: Path = Field(
        Path("/opt/ml/input/data/training"), description="The channel `training`; may be missing."
    )
    input_config_dir: Path = Field(
        Path("/opt/ml/input/config"), description="Folder of hyperparameters.json."
    )
    output_dir: Path = Field(Path("/opt/ml/output"), description="Where a failure is told.")
    job_name: str = Field(
        "job", validation_alias="TRAINING_JOB_NAME", description="Name of the training job."
    )
    num_gpus: int | None = Field(None, ge=0, description="GPUs of this instance; None: count.")

    @property
    def queue(self) -> str:
        """The queue of this job alone."""
        return f"sagemaker-{self.job_name}"

    @property
    def request(self) -> TrainingRequest:
        """The run that the hyperparameters ask for: `kind`, `model_name`, and the recipe's own.

        Raises:
            ConfigError: there is no `kind`, or one that is unknown.
        """
        path = self.input_config_dir / "hyperparameters.json"
        given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kind = given.pop("kind", "")
        named = {"model_name": given.pop("model_name")} if "model_name" in given else {}
        recipe = {name.replace("-", "_"): _value(value) for name, value in given.items()}
        try:
            return TrainingRequest(
                kind=kind, recipe=recipe, dataset_file=self._dataset(), command="sagemaker", **named
            )
        except ValidationError as error:
            kinds = ", ".join(one.value for one in RunKind)
            raise ConfigError(
                f"The hyperparameter {error.errors()[0]['loc'][0]} is wrong; `kind` is one of "
                f"{kinds}."
            ) from None

    def environment(self, asked: RunKind) -> dict[str, str]:
        """What this job adds to the settings: all GPUs of its instance.

        Raises:
            ConfigError: what others find in the database would lie on this instance alone.
        """
        given = load_settings(TrainerSettings)
        is_seen = given.artifact_url is not None or given.artifact_dir is not None
        if given.database_url is not None and not is_seen:
            raise ConfigError(
                "HEED_DATABASE_URL names a database of others, and nobody would find there what "
                "this instance stores: set HEED_ARTIFACT_URL to the bucket of the deployment, or "
                "HEED_ARTIFACT_DIR to its folder, mounted here too."
            )
        gpus = _gpus() if self.num_gpus is None else self.num_gpus
        if gpus < 2 or asked not in SPREADS:
            return {}
        return {"HEED_LAUNCHER": LauncherKind.TORCHRUN, "HEED_LAUNCH_PROCESSES": str(gpus)}

    def _dataset(self) -> str | None:
        """The one file of the channel `training`; without it the feedback in the database.

        Raises:
            ConfigError: there are several.
        """
        found = [path for pattern in _DATA for path in sorted(self.channel_training.glob(pattern))]
        if len(found) > 1:
            raise ConfigError(
                f"{self.channel_training} holds {len(found)} files; give one preferences file."
            )
        return str(found[0]) if found else None


def train_job(job: SageMakerJob) -> int:
    """Train what the job asks for and leave the model in its folder; the exit status.

    Raises:
        HeedError: it could not be done; /opt/ml/output/failure says why, too.
    """
    try:
        request = job.request
        os.environ.update(job.environment(request.kind))  # noqa: TID251 - children read it too
        settings = load_settings(TrainerSettings)
        with database(settings) as url:
            folder = asyncio.run(train_queued(settings, url, request, queue=job.queue))
        export_folder(folder, job.model_dir / "heed")
    except HeedError as error:
        job.output_dir.mkdir(parents=True, exist_ok=True)
        (job.output_dir / "failure").write_text(error.detail, encoding="utf-8")
        raise
    return 0


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _value(text: str) -> object:
    """A hyperparameter as what it says: SageMaker makes strings of all, some twice over."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def main() -> int:
    """The exit status of the job."""
    configure_logs("INFO")
    return ending_in_one_line(lambda: train_job(SageMakerJob()))


if __name__ == "__main__":
    sys.exit(main())
