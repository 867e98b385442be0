"""The store that the settings name."""

from shared.artifacts.folder import FolderStore
from shared.artifacts.store import ArtifactStore
from shared.config import Settings


def open_store(settings: Settings, project_id: int = 1) -> ArtifactStore:
    """The store of one project's artifacts; a bucket is reached when something needs it first."""
    if settings.artifact_url is None:
        return FolderStore(settings.artifacts, project_id)
    from shared.artifacts.bucket import BucketStore
    from shared.artifacts.objects import Bucket, BucketAddress

    address = BucketAddress(
        settings.artifact_url,
        settings.artifact_endpoint.rstrip("/") if settings.artifact_endpoint else None,
        settings.artifact_region,
        settings.artifact_access_key_id,
        settings.artifact_secret_access_key,
        settings.artifact_patience_s,
    )
    copies = FolderStore(settings.artifact_cache, project_id, setting="HEED_ARTIFACT_CACHE_DIR")
    return BucketStore(Bucket(address), copies, most_bytes=settings.artifact_cache_bytes)
