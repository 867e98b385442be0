"""The rules of the house that no linter knows: imports, sizes, words, edges."""

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import heed_cli
import heed_client
import services
import shared

ROOT = Path(__file__).parents[1]
PACKAGES = [services, shared, heed_cli, heed_client]
SOURCES = [path for package in PACKAGES for path in Path(package.__path__[0]).rglob("*.py")]
TESTS = list((ROOT / "tests").rglob("*.py"))
# Where others' words are spoken.
BORDERS = {"recipes", "grouped.py", "sample", "exchange", "rewards.py"}
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not module.name.endswith("__main__")
]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines, docstring left out, of every function in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str):
    assert importlib.import_module(name)


@pytest.mark.parametrize(
    "module", ["services.feedback_api.app", "heed_cli.main", "shared.web", "shared.keys"]
)
def test_no_machine_learning_is_imported_by(module: str):
    heavy = {"torch", "transformers", "trl", "datasets", "sklearn", "onnxruntime", "numpy"}
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.split() == []


def test_no_other_distribution_ships_our_import_names():
    owners = importlib.metadata.packages_distributions()

    for name in ("services", "shared", "heed_cli"):
        assert set(owners.get(name, ["heed-rlhf"])) == {"heed-rlhf"}


def test_all_that_is_installed_runs_on_the_oldest_python_that_is_promised():
    """A pin that needs a later release of 3.11 cannot be installed with a distribution's own."""
    wanted = {
        dist.name: dist.metadata["Requires-Python"] for dist in importlib.metadata.distributions()
    }

    too_new = {
        name: versions
        for name, versions in wanted.items()
        if versions and not SpecifierSet(versions).contains("3.11.0")
    }
    assert too_new == {}


def test_no_module_is_named_like_the_standard_library_or_says_nothing():
    vague = {"utils", "util", "helpers", "common", "base", "manager", "misc"}

    assert [str(p) for p in SOURCES if p.stem in vague] == []


def test_the_median_file_is_short():
    assert statistics.median(len(path.read_text().splitlines()) for path in SOURCES) <= 100


def test_files_stay_under_400_lines():
    lengths = {str(path): len(path.read_text().splitlines()) for path in SOURCES + TESTS}

    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_functions_stay_short():
    lengths = dict(entry for path in SOURCES for entry in functions(path))
    long = {name: lines for name, lines in lengths.items() if lines > 50}
    ranked = sorted(lengths.values())

    assert long == {}
    assert statistics.median(ranked) <= 8
    assert ranked[int(len(ranked) * 0.9)] <= 25


def test_nothing_is_left_for_later():
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

    assert [
        str(p) for p in SOURCES + TESTS if p != Path(__file__) and marker.search(p.read_text())
    ] == []


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        (r"completions?", "response"),
        (r"labell?ers?|annotators?", "rater"),
        (r"ground[- ]truth", "rating or preference"),
    ],
)
def test_the_words_of_the_glossary_are_kept(word: str, instead: str):
    """TRL's border in the recipes and in the client's rewards, other tools' formats and the
    sample's texts are excepted."""
    found = re.compile(rf"\b({word})\b", re.IGNORECASE)
    ours = [path for path in SOURCES if not BORDERS & set(path.parts)]

    assert [str(path) for path in ours if found.search(path.read_text())] == [], f"say {instead}"


def test_no_code_is_loaded_from_stored_bytes():
    unsafe = re.compile(
        r"^\s*(import|from) (pickle|joblib|dill|shelve)\b|torch\.load\(", re.MULTILINE
    )

    assert [str(p) for p in SOURCES if unsafe.search(p.read_text())] == []


def test_only_edges_commit():
    """A route's session and a job's step commit where they open; nobody in between does."""
    assert [str(p) for p in SOURCES if ".commit(" in p.read_text()] == []


@pytest.mark.parametrize("service", ["feedback_api", "reward_service"])
def test_no_page_loads_anything_from_elsewhere(service: str):
    """FastAPI's own pages take their scripts from a CDN; Heed works offline."""
    app = importlib.import_module(f"services.{service}.app").create_app()

    assert (app.docs_url, app.redoc_url) == (None, None)
