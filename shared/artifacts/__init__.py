"""Where datasets and models lie: in a folder, or in a bucket that several machines share."""

from shared.artifacts.folder import FolderStore
from shared.artifacts.hashing import file_sha256, folder_sha256
from shared.artifacts.opening import open_store
from shared.artifacts.store import ArtifactStore

__all__ = ["ArtifactStore", "FolderStore", "file_sha256", "folder_sha256", "open_store"]
