"""Reward model folders: written aside, signed, and verified before they score anything."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import EngineChoice
from shared.errors import ArtifactError
from shared.ml.backbones import default_encoder_folder, is_default_encoder
from shared.ml.domain import read_domain
from shared.ml.encoder import Encoder, open_encoder
from shared.ml.folders import refuse_unsafe_folder, sha256_of_file
from shared.ml.golden import check_golden, write_golden
from shared.ml.head import read_head
from shared.ml.posterior import read_posterior
from shared.ml.scorer import EmbeddingScorer, Scorer
from shared.ml.staging import staged_folder
from shared.ml.steps import ProcessScorer

Wrap = Callable[[Encoder], Encoder]

MANIFEST_FILE = "reward_model.json"


def load_scorer(
    folder: Path,
    *,
    secret: bytes,
    threads: int = 1,
    engine: EngineChoice = "fitted",
    verify: bool = True,
    wrap: Wrap | None = None,
) -> Scorer:
    """A scorer whose manifest, files, backbone and golden rows have been checked.

    Args:
        folder: an artifact folder as `write_artifact` leaves it.
        secret: the deployment's signing secret.
        threads: torch threads of this process.
        engine: what computes the rewards; golden rows may differ by what it is known to be off.
        verify: also score a sample of the golden rows; signature and hashes are always checked.
        wrap: what the scorer uses in place of its encoder, such as one that remembers.

    Raises:
        ArtifactError: something is missing, changed, unsafe or scores differently; one line.
    """
    refuse_unsafe_folder(folder)
    manifest = read_manifest(folder, secret=secret)
    _check_files(folder, manifest)
    scorer = open_scorer(folder, manifest, threads=threads, engine=engine, wrap=wrap)
    if verify:
        check_golden(folder, scorer)
    return scorer


def read_manifest(folder: Path, *, secret: bytes) -> RewardManifest:
    """The manifest of an artifact folder, its signature checked.

    Raises:
        ArtifactError: it is missing, malformed, or signed with another secret.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = RewardManifest.model_validate_json(path.read_bytes())
    except OSError:
        raise ArtifactError(f"{path} is missing or unreadable; restore the artifact.") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file"
        raise ArtifactError(f"{path} is not a reward model manifest: {where} is wrong.") from None
    if not hmac.compare_digest(manifest.signature, _signature(manifest, secret)):
        raise ArtifactError(
            f"{path} is not signed with this deployment's secret; "
            "it was changed or comes from elsewhere."
        )
    return manifest


def write_artifact(
    folder: Path,
    draft: RewardManifest,
    *,
    fill: Callable[[Path], None],
    secret: bytes,
    threads: int = 1,
) -> RewardManifest:
    """Write an artifact folder whole or not at all; gives the signed manifest.

    Args:
        folder: the final folder, which must not exist.
        draft: everything but the hashes of the files and the signature.
        fill: writes weights, card and plots into the folder it is given.
        secret: the deployment's signing secret.
        threads: torch threads for scoring the golden rows.

    Raises:
        ArtifactError: the folder exists, cannot be written, or holds unsafe files.
    """
    with staged_folder(folder) as stage:
        fill(stage)
        refuse_unsafe_folder(stage)
        rows = write_golden(stage, open_scorer(stage, draft, threads=threads))
        golden = draft.golden.model_copy(update={"rows": rows})
        named = draft.model_copy(update={"golden": golden, "files": _hash_files(stage)})
        return _write_signed(stage / MANIFEST_FILE, named, secret)


def amend_manifest(folder: Path, changes: Mapping[str, object], *, secret: bytes) -> RewardManifest:
    """The manifest of a folder that is not registered yet, with other values for some fields.

    Raises:
        ArtifactError: the manifest is missing, malformed, or signed with another secret.
    """
    amended = read_manifest(folder, secret=secret).model_copy(update=changes)
    aside = folder.with_name(f"{folder.name}.{MANIFEST_FILE}")  # not among the signed files
    signed = _write_signed(aside, amended, secret)
    aside.replace(folder / MANIFEST_FILE)
    return signed


def open_scorer(
    folder: Path,
    manifest: RewardManifest,
    *,
    threads: int = 1,
    engine: EngineChoice = "fitted",
    wrap: Wrap | None = None,
) -> Scorer:
    """The scorer a trusted manifest describes; its backbone is checked against the pinned hash.

    Raises:
        ArtifactError: the backbone or the head is missing or is not what the manifest names.
    """
    _refuse_engine(folder, manifest, engine)
    if manifest.kind == "transformer":
        from shared.ml.transformer_scorer import open_transformer_scorer

        found: Scorer = open_transformer_scorer(folder, manifest, threads=threads, engine=engine)
    else:
        encoder = _open_encoder(folder, manifest, threads, engine)
        found = _open_embedding(folder, manifest, encoder, wrap)
    return ProcessScorer(found) if manifest.process else found


def _open_encoder(
    folder: Path, manifest: RewardManifest, threads: int, engine: EngineChoice
) -> Encoder:
    from shared.ml.quantised import read_ranges

    home, is_int8 = _backbone_folder(folder, manifest), _is_int8(manifest)
    ranges = read_ranges(folder) if is_int8 else None
    return open_encoder(home, threads=threads, engine=engine, ranges=ranges)


def _refuse_engine(folder: Path, manifest: RewardManifest, engine: EngineChoice) -> None:
    asked = {"fitted", "auto", "int8"} if _is_int8(manifest) else {"fitted", "auto", "fp32", "bf16"}
    if engine not in asked:
        raise ArtifactError(
            f"{folder} was fitted on {manifest.backbone.engine} and cannot be served on {engine}; "
            f"choose {' or '.join(sorted(asked))}, or train an embedding model with that engine."
        )


def _is_int8(manifest: RewardManifest) -> bool:
    return manifest.backbone.engine.endswith("int8")


def _open_embedding(
    folder: Path, manifest: RewardManifest, encoder: Encoder, wrap: Wrap | None
) -> Scorer:
    backbone = manifest.backbone
    if encoder.sha256 != backbone.sha256:
        raise ArtifactError(
            f"The encoder {backbone.name} of {folder} is not the one this model was trained on."
        )
    head = read_head(folder, manifest.features, dim=encoder.dim)
    domain = read_domain(folder, manifest.domain, dim=encoder.dim) if manifest.domain else None
    posterior = read_posterior(folder, width=len(head.weights))
    wrapped = wrap(encoder) if wrap else encoder
    return EmbeddingScorer(manifest, wrapped, head, domain, posterior)


def _backbone_folder(folder: Path, manifest: RewardManifest) -> Path:
    backbone = manifest.backbone
    if backbone.path is not None:
        return folder / backbone.path
    if is_default_encoder(backbone.name):
        return default_encoder_folder()
    raise ArtifactError(f"The encoder {backbone.name} is neither installed nor in {folder}.")


def _check_files(folder: Path, manifest: RewardManifest) -> None:
    present = _hash_files(folder)
    for name, expected in manifest.files.items():
        if name not in present:
            raise ArtifactError(f"{folder / name} is missing; restore the artifact.")
        if present[name] != expected:
            raise ArtifactError(
                f"{folder / name} was changed after training; restore the artifact."
            )
    extra = sorted(set(present) - set(manifest.files))
    if extra:
        raise ArtifactError(f"{folder / extra[0]} is not in the manifest; remove it.")


def _hash_files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_FILE
    }


def _write_signed(path: Path, manifest: RewardManifest, secret: bytes) -> RewardManifest:
    signed = manifest.model_copy(update={"signature": _signature(manifest, secret)})
    path.write_text(signed.model_dump_json(indent=2), encoding="utf-8")
    return signed


def _signature(manifest: RewardManifest, secret: bytes) -> str:
    content = manifest.model_copy(update={"signature": ""}).model_dump_json()
    return hmac.new(
        secret, b"heed reward manifest v1\0" + content.encode(), hashlib.sha256
    ).hexdigest()
