"""Makes a policy for a run: trained, judged on held-out prompts beside its start, and stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from services.trainer.backbones import ResolvedBackbone
from services.trainer.desk import Desk
from services.trainer.examples import RewardDataset, require_judged
from services.trainer.launchers import world
from services.trainer.made import Made
from services.trainer.methods import recipe_of
from services.trainer.policies.artifact import write_policy
from services.trainer.policies.beside import Tuning, tune_beside
from services.trainer.policies.constraints import Judge
from services.trainer.policies.data import policy_data
from services.trainer.policies.evaluation import beside_liked, evaluate_policy
from services.trainer.policies.gold import gold_model
from services.trainer.policies.opening import Opened, open_policy
from services.trainer.policies.params import OnlineParams, PolicyParams
from services.trainer.policies.policy_gates import judge_policy
from services.trainer.policies.report import write_report
from services.trainer.policies.resuming import checkpoints_of
from services.trainer.policies.rewards import Rewards, judged_by
from services.trainer.policies.sources import Sources, uses
from services.trainer.policies.tuned import TunedPolicy
from services.trainer.progress import Reporter
from services.trainer.trackers import open_tracker, require_tracker
from services.trainer.workplace import code_version, run_folder
from shared.contracts.policy import PolicyManifest
from shared.contracts.policy_report import PolicyReport
from shared.db.columns import Json
from shared.ml.folders import sha256_of_backbone


def make_policy(
    desk: Desk, dataset: RewardDataset, params: PolicyParams, folder: Path, reporter: Reporter
) -> Made:
    """A policy as the run asks for, with the gate of policies.

    Raises:
        HeedError: it cannot be made.
    """
    require_tracker(params.report_to)
    if params.min_rated:
        require_judged(dataset, params.min_rated)
    data, sources = policy_data(dataset), Sources(desk, threads=params.threads)
    reporter(0.02, "model", {})
    is_online = isinstance(params, OnlineParams)
    rewards = sources.rewards(params.reward, is_needed=is_online)
    source = sources.policy(params.base_model)
    opened = open_policy(source, params, folder / "tokenizer")
    base_sha256 = sha256_of_backbone(source.folder)
    work = checkpoints_of(folder, base_sha256, rewards if is_online else None)
    asked = Tuning(
        desk.request.kind, params, data, source, work,
        rewards=sources.located(rewards),
        key=desk.workplace.settings.reward_key.get_secret_value(),
    )  # fmt: skip
    with _tracked(desk, params.report_to, reporter):
        tuned = _tuned(asked, opened, rewards, reporter)
    reporter(0.9, "evaluate", {})
    after = Opened(tuned.model, opened.text, opened.folder)
    liked = [one.response for one in data.held.demonstrations]
    gold = _gold(sources, dataset, params)

    def beside(other: Opened) -> PolicyReport:
        report = evaluate_policy(
            other, after, data.held.prompts, rewards=rewards, gold=gold, params=params,
            progress=reporter, secret=desk.workplace.secret,
        )  # fmt: skip
        return beside_liked(report, liked)

    report = beside(open_policy(source, params, folder / "tokenizer"))
    manifest = write_policy(
        folder / "model",
        _draft(asked, rewards, tuned, base_sha256),
        tuned.model,
        opened,
        fill=lambda stage: write_report(stage, report, tuned.history),
        secret=desk.workplace.secret,
    )

    def beside_live(live: Path) -> PolicyReport:
        named = ResolvedBackbone("the live policy", live)
        return beside(open_policy(named, params, folder / "live"))

    def gate(_: Path, live: Path | None, __: Json | None) -> Json:
        return judge_policy(report, live, beside=beside_live, settings=desk.workplace.settings)

    metrics = {**manifest.metrics, **report.summary()}
    return Made("policy", folder / "model", metrics, gate, sources.used)


def _tuned(
    asked: Tuning, opened: Opened, rewards: Rewards | None, reporter: Reporter
) -> TunedPolicy:
    """The policy after training, by this process and those that a launcher started beside it."""
    world.hand_out(partial(tune_beside, asked))
    more = {"rewards": rewards} if isinstance(asked.params, OnlineParams) else {}
    found: TunedPolicy = recipe_of(asked.kind)[1](
        opened, asked.data, asked.params, work=asked.work, progress=reporter, **more
    )
    world.leave_the_rest_to_main()
    return found


@contextmanager
def _tracked(desk: Desk, name: str, reporter: Reporter) -> Iterator[None]:
    folder = desk.workplace.settings.data_dir / "trackers"
    tracker = reporter.tracker = open_tracker(name, folder, run_folder(desk.run.id))
    try:
        yield
    finally:
        if tracker is not None:
            tracker.close()


def _gold(sources: Sources, dataset: RewardDataset, params: PolicyParams) -> Judge | None:
    """A second reward that training never saw; None with too little held out to fit one."""
    if params.gold is not None:
        return judged_by(sources.scorer(params.gold)[0])
    return gold_model(dataset, seed=params.seed)


def _draft(
    asked: Tuning, rewards: Rewards | None, tuned: TunedPolicy, base_sha256: str
) -> PolicyManifest:
    source = asked.source
    return PolicyManifest(
        method=asked.kind.value,
        base_model=source.name,
        base_revision=source.revision,
        base_sha256=base_sha256,
        rewards=uses(rewards),
        metrics=dict(tuned.metrics),
        parameters=asked.params.model_dump(mode="json") | {"base_model": source.name},
        dataset_snapshot=asked.data.snapshot_hash,
        code_version=code_version(),
        created_at=datetime.now(UTC),
        files={},
    )
