"""The client is a distribution of its own, which needs nothing from the rest of the repository."""

import ast
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

import heed_client

SOURCES = list(Path(heed_client.__file__).parent.rglob("*.py"))
FOLDER = Path(heed_client.__file__).parents[1]


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_imports_the_standard_library_httpx_and_pydantic_only():
    trees = [ast.parse(path.read_text()) for path in SOURCES]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}

    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign == {"heed_client", "httpx", "pydantic"}


@pytest.mark.slow
def test_a_wheel_made_of_the_sdist_works_in_an_empty_environment(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-d", tmp_path]
    run(*build, "-t", "sdist", cwd=FOLDER)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    run(*build, "-t", "wheel", cwd=packed.with_name(packed.name.removesuffix(".tar.gz")))
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run(*pip, wheel, cwd=tmp_path, PIP_DISABLE_PIP_VERSION_CHECK="1")

    code = (
        "import heed_client, heed_client.rerank, pathlib, sys; "
        "folder = pathlib.Path(heed_client.__file__).parent; "
        "print(folder.is_relative_to(sys.prefix), (folder / 'py.typed').exists()); "
        "print(heed_client.Heed(api_key='k'))"
    )
    # httpx and pydantic come from here; an editable heed-client is not found this way.
    found = run(python, "-c", code, cwd=tmp_path, PYTHONPATH=sysconfig.get_path("purelib"))
    assert found == "True True\nHeed('http://127.0.0.1:8000')"
