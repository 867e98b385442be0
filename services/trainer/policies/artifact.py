"""Policy folders: weights and tokenizer as any engine serves them, with a report, signed."""

import hashlib
import hmac
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.trainer.policies.opening import Opened
from shared.contracts.policy import PolicyManifest
from shared.errors import ArtifactError
from shared.ml.folders import refuse_unsafe_folder, sha256_of_file
from shared.ml.staging import staged_folder

MANIFEST_FILE = "policy.json"


def write_policy(
    folder: Path,
    draft: PolicyManifest,
    model: Any,
    opened: Opened,
    *,
    fill: Callable[[Path], None],
    secret: bytes,
) -> PolicyManifest:
    """Write a policy's folder whole or not at all; gives the signed manifest.

    Args:
        folder: the final folder, which must not exist.
        draft: everything but the hashes of the files and the signature.
        model: the trained policy.
        opened: its tokenizer, with the chat template that it was trained with.
        fill: writes the report into the folder it is given.
        secret: the deployment's signing secret.

    Raises:
        ArtifactError: the folder exists or cannot be written.
    """
    with staged_folder(folder) as stage:
        model.generation_config.eos_token_id = opened.text.end
        model.save_pretrained(stage)
        shutil.copytree(opened.folder, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)
        fill(stage)
        refuse_unsafe_folder(stage)
        signed = _signed(draft.model_copy(update={"files": _hashes(stage)}), secret)
        (stage / MANIFEST_FILE).write_text(signed.model_dump_json(indent=2), encoding="utf-8")
    return signed


def read_policy(folder: Path, *, secret: bytes) -> PolicyManifest:
    """The manifest of a policy's folder, its signature and every file checked.

    Raises:
        ArtifactError: something is missing, changed, unsafe or signed elsewhere.
    """
    refuse_unsafe_folder(folder)
    try:
        found = PolicyManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError):
        raise ArtifactError(f"{folder} is no policy: {MANIFEST_FILE} is not as it was.") from None
    if not hmac.compare_digest(found.signature, _signed(found, secret).signature):
        raise ArtifactError(f"{folder} is not signed with this deployment's secret.")
    hashes = _hashes(folder)
    changed = [
        name for name in {*hashes, *found.files} if hashes.get(name) != found.files.get(name)
    ]
    if changed:
        raise ArtifactError(f"{folder / min(changed)} was changed after training; restore it.")
    return found


def is_policy(folder: Path) -> bool:
    """Whether a folder is one of ours, and no plain model."""
    return (folder / MANIFEST_FILE).is_file()


def _signed(manifest: PolicyManifest, secret: bytes) -> PolicyManifest:
    content = manifest.model_copy(update={"signature": ""}).model_dump_json()
    told = b"heed policy manifest v1\0" + content.encode()
    signature = hmac.new(secret, told, hashlib.sha256).hexdigest()
    return manifest.model_copy(update={"signature": signature})


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_FILE
    }
