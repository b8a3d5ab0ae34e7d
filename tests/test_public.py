"""The public surface: the names in it, the docs that use it, and that importing it costs nothing."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import videozoo

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
API_PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
NEED_TORCH = {"Task", "VideoModel"}  # they are torch modules

PACKAGE = ast.parse(Path(videozoo.__file__).read_text(encoding="utf-8"))


def declared() -> dict[str, str]:
    """The module of each name that the package imports for type checkers."""
    (block,) = (node for node in PACKAGE.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def without_torch(code: str) -> None:
    """Runs code in a process in which torch cannot be imported."""
    blocked = "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None; sys.modules['timm'] = None\n"
    subprocess.run([sys.executable, "-c", blocked + code], check=True)


def python_of(page: Path) -> ast.Module:
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return ast.parse("\n".join(blocks), filename=str(page))


def public_names_of(page: Path) -> set[str]:
    """The objects that an API page shows, as `module.name`."""
    return set(re.findall(r"^::: (videozoo[\w.]*)$", page.read_text(encoding="utf-8"), re.MULTILINE))


def test_exported_members():
    assert set(videozoo.__all__) == {*declared(), "__version__"}
    assert len(set(videozoo.__all__)) == len(videozoo.__all__)
    assert dir(videozoo) == sorted(videozoo.__all__)


@pytest.mark.parametrize("name", sorted(set(videozoo.__all__) - {"__version__"}))
def test_a_name_is_the_object_of_its_module(name):
    module = importlib.import_module(declared()[name])
    assert getattr(videozoo, name) is getattr(module, name)
    assert name in module.__all__
    assert getattr(videozoo, name).__doc__


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'videozoo' has no attribute 'Labls'"):
        _ = videozoo.Labls


def test_import_is_cheap():
    code = (
        "import sys, videozoo; videozoo.list_models(); videozoo.DataError; videozoo.register_model\n"
        "assert not {'torch', 'numpy', 'av'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_without_torch():
    names = sorted(set(videozoo.__all__) - NEED_TORCH)
    without_torch(f"import videozoo\nfor name in {names}: getattr(videozoo, name)")


@pytest.mark.parametrize("call", ["Task", "VideoModel", "load('a.pt')", "create_model('tsm')", "load_card('tsm.k400')"])
def test_calls_that_need_torch_say_so(call):
    without_torch(
        f"import videozoo\n"
        f"try: videozoo.{call}\n"
        f"except videozoo.MissingPackageError as error: assert \"pip install 'videozoo[torch]'\" in str(error), error\n"
        f"else: raise AssertionError('no error')"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docs_import_public_names_only(page):
    tree = python_of(page)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "videozoo":
            assert node.module == "videozoo", f"{page}: imports from {node.module}, which is not public"
            assert {alias.name for alias in node.names} <= set(videozoo.__all__)
        elif isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("videozoo.")], page
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "videozoo":
            assert node.attr in videozoo.__all__, f"{page}: videozoo.{node.attr} is not public"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docs_call_with_known_arguments(page):
    for node in ast.walk(python_of(page)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).removeprefix("videozoo.")
        if name in videozoo.__all__:
            keywords = {k.arg: None for k in node.keywords if k.arg}
            inspect.signature(getattr(videozoo, name)).bind(*node.args, **keywords)


def test_every_public_name_has_its_place_on_one_api_page():
    shown = [name for page in API_PAGES for name in public_names_of(page)]
    assert sorted(shown) == sorted(f"videozoo.{name}" for name in set(videozoo.__all__) - {"__version__"})


def test_every_page_is_linked_from_the_home_page():
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w/.-]+\.md)", (docs / "index.md").read_text(encoding="utf-8")))
    assert linked == {str(page.relative_to(docs)) for page in docs.rglob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_pages_outside_the_site(page):  # `make docs` checks those of the site
    targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert "://" in target or (ROOT / target).exists(), f"{page}: there is no {target}"
