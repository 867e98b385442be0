"""A stored policy's report, and the texts of its samples for who may read them."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.trainer.policies.artifact import is_policy, read_policy
from services.trainer.policies.data import prompts_of
from services.trainer.policies.page import ReadSample
from services.trainer.policies.samples import reference, unseal
from services.trainer.queries import find_dataset
from services.trainer.snapshots import load_dataset
from services.trainer.workplace import Workplace
from shared.contracts.policy_report import POLICY_REPORT_FILE, PolicyReport
from shared.db.audit import audit, person_name
from shared.db.tables import ModelVersion
from shared.errors import ArtifactError, InvalidInput, NotFound
from shared.registry import CHAMPION, find_version

DEFAULT_POLICY = "policy"
_SHAPE = re.compile(r"(?:(?P<name>[\w.-]+)@)?(?P<selector>[\w-]+)")


@dataclass(frozen=True)
class StoredPolicy:
    """A registered policy and its folder on this machine, signed and unchanged."""

    version: ModelVersion
    folder: Path

    @property
    def name(self) -> str:
        """As people name it."""
        return f"{self.version.name}@{self.version.version}"


def parse_policy(text: str) -> tuple[str, str]:
    """Name and selector of `policy@3`, `policy@champion`, `3` or `champion`.

    Raises:
        InvalidInput: no version could be called this.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"{text!r} is no policy: name a version as policy@3 or policy@champion, or a folder."
        )
    return found["name"] or DEFAULT_POLICY, found["selector"]


def is_version(text: str) -> bool:
    """Whether a registered version is meant, and no folder or hub id."""
    return "@" in text or text.isdecimal() or text == CHAMPION


async def find_policy(workplace: Workplace, text: str) -> StoredPolicy:
    """The policy that is meant.

    Raises:
        NotFound: there is no such version.
        InvalidInput: it is no policy.
        ArtifactError: its folder is missing or was changed.
    """
    name, selector = parse_policy(text)
    async with workplace.sessions() as session:
        version = await find_version(session, selector, name=name)
    folder = await asyncio.to_thread(workplace.store.path, version.uri)
    if not is_policy(folder):
        raise InvalidInput(
            f"{version.name}@{version.version} is a reward model and writes no text; "
            "`heed models list` shows which versions are policies."
        )
    await asyncio.to_thread(read_policy, folder, secret=workplace.secret)
    return StoredPolicy(version, folder)


def stored_report(policy: StoredPolicy) -> PolicyReport:
    """The report that a policy was stored with.

    Raises:
        NotFound: it came without one.
        ArtifactError: it is none that this release can read.
    """
    try:
        text = (policy.folder / POLICY_REPORT_FILE).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"{policy.name} came without a report; train it again to get one.", code="no_card"
        ) from None
    try:
        return PolicyReport.model_validate_json(text)
    except ValidationError:
        raise ArtifactError(
            f"The report of {policy.name} is of another release; train it again to get one."
        ) from None


async def samples_of(workplace: Workplace, policy: StoredPolicy) -> list[ReadSample]:
    """The samples of a policy's report, with the texts whose prompts its dataset still holds.

    The entry in the audit log is committed before anything is returned.

    Raises:
        NotFound: it has no report, or no dataset of this store.
        ArtifactError: its dataset is missing or was changed.
    """
    report, version = stored_report(policy), policy.version
    if version.dataset_id is None:
        raise NotFound(f"{policy.name} names no dataset of this store.")
    async with workplace.sessions.begin() as session:
        dataset = await find_dataset(session, version.dataset_id, version.project_id)
        frozen = await asyncio.to_thread(load_dataset, dataset, workplace.store)
        prompts = prompts_of(frozen.test_pairs, frozen.test_rated, frozen.test_prompts)
        known = {reference(prompt, workplace.secret): prompt for prompt in prompts}
        found = [
            ReadSample(one, report.rows[one.row], *_opened(one.sealed, prompt, workplace.secret))
            for one in report.samples
            for prompt in [known.get(report.rows[one.row].prompt)]
        ]
        audit(
            session,
            "policy.samples.read",
            actor=person_name(),
            target=f"model:{version.id}",
            project_id=version.project_id,
            detail={"dataset": dataset.id, "samples": sum(one.prompt is not None for one in found)},
        )
    return found


def _opened(sealed: str, prompt: str | None, secret: bytes) -> tuple[str | None, str, str]:
    if prompt is None or not sealed:
        return None, "", ""
    before, after = unseal(sealed, prompt, secret)
    return prompt, before, after
