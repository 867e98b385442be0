"""Settings of the trainer: what it takes to train, to be promoted, and to work through a queue."""

from enum import StrEnum

from pydantic import Field, SecretStr

from shared.config import Settings


class GatePolicy(StrEnum):
    """Which verdict promotes a new model by itself."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    MANUAL = "manual"


class LauncherKind(StrEnum):
    """What starts the processes of one training run."""

    LOCAL = "local"
    TORCHRUN = "torchrun"
    RAY = "ray"


class TrainerSettings(Settings):
    """Settings of `python -m services.trainer` and of every command that trains."""

    min_rated: int = Field(
        50, ge=2, description="Fewest rated responses and comparisons that a training accepts."
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="Share of newly seen prompt groups that is held out for good."
    )
    gate: GatePolicy = Field(
        GatePolicy.BETTER,
        description="Verdict that promotes by itself: `better`, `not_worse`, or `manual` (none).",
    )
    gate_margin: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Pair accuracy a model may lose and still count as not worse; 0.02 = 2 points.",
    )
    gate_min_correlation: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Least Pearson correlation with held-out ratings; empty: no such gate.",
    )
    gate_max_mse: float | None = Field(
        None,
        gt=0,
        description="Largest mean squared error against held-out ratings on 0–1; empty: no gate.",
    )
    gate_min_accuracy: float | None = Field(
        None, ge=0, le=1, description="Least accuracy on held-out pairs; empty: no such gate."
    )
    gate_slice_min_accuracy: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Least accuracy on held-out pairs of every slice; a slice fails when it is "
        "surely below. Empty: no such gate.",
    )
    gate_slice_min_pairs: int = Field(
        30, ge=5, description="Fewest held-out pairs of a slice that the gate judges apart."
    )
    reward_key: SecretStr = Field(
        SecretStr(""),
        description="Key with the scope `score`, for policies that learn from a reward over HTTP.",
    )
    worker_queues: str = Field(
        "cpu", description="Queues the worker takes runs from, separated by commas."
    )

    worker_grace_s: float = Field(
        30.0,
        ge=0,
        description="Seconds a run that is cancelled, or whose worker is told to stop, may take to "
        "save a checkpoint before it is killed.",
    )
    keep_stopped_days: float = Field(
        7.0,
        ge=0,
        description="Days that the checkpoints of a cancelled, failed or interrupted run are kept, "
        "so that it can be resumed.",
    )

    worker_runs: int = Field(
        0, ge=0, description="Runs that the worker sees to their end before it ends; 0: no limit."
    )
    launcher: LauncherKind = Field(
        LauncherKind.LOCAL,
        description="What starts the processes of one run: `local` (one), `torchrun` or `ray`.",
    )
    launch_processes: int = Field(
        1, ge=1, description="Processes that train one run together: of each host, or of Ray."
    )
    launch_hosts: int = Field(
        1, ge=1, description="Hosts that train one run together; `torchrun` only."
    )
    launch_host: int = Field(
        0, ge=0, description="Which of them this is; the worker runs on host 0."
    )
    launch_rendezvous: str = Field(
        "", description="HOST:PORT of host 0 where the hosts of `torchrun` meet; empty: one host."
    )
    launch_ray: str = Field(
        "local",
        description="Cluster of `ray`: HOST:6379, `auto`, `local`, or http://HOST:8265 to submit "
        "the run as a Ray job.",
    )
    launch_ray_retries: int = Field(
        3, ge=0, description="Times that Ray starts a run's processes again when a node died."
    )
    launch_cpus: float = Field(1.0, ge=0, description="Cores Ray keeps for each process.")
    launch_gpus: float = Field(0.0, ge=0, description="GPUs Ray keeps for each process.")

    @property
    def world_size(self) -> int:
        """How many processes train one run together."""
        return self.launch_processes * self.launch_hosts

    @property
    def queues(self) -> list[str]:
        """The queues the worker takes runs from."""
        return [name.strip() for name in self.worker_queues.split(",") if name.strip()]


class SbertSettings(TrainerSettings):
    """Settings of `train_reward_sbert`, which takes none on the command line."""

    sbert_model: str = Field(
        "all-MiniLM-L6-v2", description="`train_reward_sbert`: encoder, a name, hub id or folder."
    )
    sbert_good_rating: float = Field(
        4.0, ge=1, le=5, description="`train_reward_sbert`: a response is good from this rating on."
    )
    sbert_test_share: float = Field(
        0.12, gt=0, lt=1, description="`train_reward_sbert`: share of rows its report is made on."
    )
    sbert_seed: int = Field(42, description="`train_reward_sbert`: seed of that split.")
