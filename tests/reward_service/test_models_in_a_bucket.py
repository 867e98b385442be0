"""Models trained on one machine into a bucket, and served on another."""

import asyncio
from pathlib import Path

from services.trainer.config import TrainerSettings
from services.trainer.execution import train_here
from shared.artifacts import open_store
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import Outcome
from shared.db.tables import Preference
from shared.registry import NewVersion, register_version
from tests.support.s3 import Place

TOPICS = ["tea", "fever", "neurons", "rain", "trains", "poems", "salt", "bridges"]


def comparison(number: int) -> Preference:
    """One in which the polite response beats the rude one."""
    topic = TOPICS[number % len(TOPICS)]
    return Preference(
        preference_id=f"pref_{number}",
        target=f"target {number}",
        clinician_id=f"r_{number}",
        prompt=f"What about {topic}, case {number}?",
        response_a=f"Gladly: here is {topic}.",
        response_b="Nobody cares, go away.",
        outcome=Outcome.A,
        preferred="a",
        consent_training=True,
    )


async def test_a_model_trained_into_a_bucket_is_served_and_outlives_the_bucket(
    deployment, sessions, serve, s3: Place, tmp_path: Path
):
    async with sessions.begin() as session:
        session.add_all(map(comparison, range(120)))
    url = deployment.settings.database_url.get_secret_value()
    settings = TrainerSettings(
        data_dir=tmp_path / "trainer",
        database_url=url,
        secret_key=deployment.settings.secret_key,
        min_rated=10,
        **s3.settings,
    )
    request = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, command="heed train")

    finished = await asyncio.to_thread(train_here, settings, url, request)
    await deployment.promote(finished.version)
    async with serve(**s3.settings) as client:
        await client.until_live(1)
        card = await client.get("/models/reward/1/card")
    async with serve(**s3.settings | {"artifact_endpoint": "http://127.0.0.1:9"}) as client:
        await client.until_live(1)
        reply = await client.rerank("Nobody cares, go away.", "Gladly: here is tea.")

    assert card.status_code == 200
    assert reply.json()["results"][0]["index"] == 1
    assert reply.json()["model"]["version"] == 1
    copy = deployment.settings.data_dir / "artifact-cache" / "1" / "models"
    assert [path.name for path in copy.iterdir()] == [finished.version.sha256]
    assert not settings.artifacts.exists()


async def test_a_version_that_cannot_be_fetched_leaves_the_old_one_serving(
    deployment, serve, s3: Place, tmp_path: Path, both_models
):
    store = s3.store(tmp_path / "trainer")
    versions = []
    for folder in both_models:
        uri, sha256 = await asyncio.to_thread(store.put_folder, folder)
        async with deployment.sessions.begin() as session:
            new = NewVersion(kind="embedding", sha256=sha256, uri=uri, metrics={}, name="reward")
            versions.append(await register_version(session, new))
    await deployment.promote(versions[0])
    here = deployment.settings.model_copy(update=s3.settings)
    await asyncio.to_thread(open_store(here).path, versions[0].uri)

    away = {"artifact_endpoint": "http://127.0.0.1:9", "artifact_patience_s": 0.2}
    async with serve(**s3.settings | away) as client:
        await client.until_live(1)
        await deployment.promote(versions[1])
        async with asyncio.timeout(20):
            while not (await client.get("/models/live")).json()["last_error"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        told = (await client.get("/models/live")).json()["last_error"]
        reply = await client.rerank("a", "b")
        pinned = await client.rerank("a", model="reward@2")

    assert "cannot be reached at http://127.0.0.1:9" in told
    assert reply.json()["model"]["version"] == 1
    assert (pinned.status_code, pinned.json()["code"]) == (503, "artifact_store_unavailable")
