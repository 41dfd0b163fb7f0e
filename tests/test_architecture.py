"""Style that matters is a test: who imports whom, what the core may touch, how long a file is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recorder_worker"
PRODUCT = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "core").rglob("*.py"))

# What would make the core's output depend on more than its input. Not here: concurrent.futures,
# for a map over threads gives what a loop gives.
IMPURE_MODULES = {
    "asyncio",
    "glob",
    "importlib",
    "io",
    "locale",
    "logging",
    "multiprocessing",
    "os",
    "platform",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
}
IMPURE_CALLS = {
    "open",
    "input",
    "print",
    "exec",
    "eval",
    "now",
    "utcnow",
    "today",
    "uuid1",
    "uuid4",
}
FILE_LINES_MAX = 300


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_depends_on_its_input_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        module
        for module in imported(tree)
        if module in IMPURE_MODULES or module.split(".")[0] in IMPURE_MODULES
    }
    assert not modules, "the core takes values and returns values; see the first lines of DESIGN"
    assert not IMPURE_CALLS & set(called(tree))


@pytest.mark.parametrize(
    "module",
    [
        "core.verify",
        "core.reading.picture_finder",
        "adapters.folder",
        "cli.verify",
        "cli.export",
        "cli.frame",
    ],
    ids=lambda module: module,
)
def test_verifying_loads_neither_nats_nor_opencv_nor_pyav(module: str) -> None:
    # What import-linter reads, Python proves: lazy and dynamic imports included.
    script = (
        f"import sys, recorder_worker.{module}\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.split())
    heavy = {"av", "aiohttp", "cv2", "dynaconf", "faststream", "nats", "sysv_ipc", "xcffib"}
    assert not loaded & heavy


def environment_reads(tree: ast.AST) -> Iterator[int]:
    # `environ.setdefault` or `.update` as a statement tells a library something, and reads nothing.
    told = {
        id(node.value.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in {"setdefault", "update"}
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in told:
            yield from [node.lineno] if node.attr in {"environ", "getenv"} else []


LOOK_AT_THE_ENVIRONMENT = {
    "layers.py": "the settings",
    "c_heap.py": "variables of the C library, which are not overruled",
}


def test_only_the_settings_look_at_the_environment() -> None:
    offenders = [
        f"{name(path)}:{line}"
        for path in PRODUCT
        if path.name not in LOOK_AT_THE_ENVIRONMENT
        for line in environment_reads(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert offenders == []


def test_types_are_decoded_by_decoders_that_are_made_once() -> None:
    """Of two threads that first decode a type at once, msgspec 0.22 lets one crash."""
    offenders = [
        f"{name(path)}:{call.lineno}"
        for path in PRODUCT
        if "cli" not in path.parts
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "msgspec.json.decode"
        for keyword in call.keywords
        if keyword.arg == "type" and not ast.unparse(keyword.value).startswith("dict[str, list[")
    ]
    assert offenders == []


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_file_is_one_concept(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES_MAX, f"{lines} lines: this is two files"
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common", "base"}


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_file_says_in_its_first_line_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_every_rule_that_is_off_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line == "[tool.ruff.lint]")
    end = next(n for n, line in enumerate(lines) if line == "[tool.ruff.lint.pydocstyle]")
    rules = [line for line in lines[begin:end] if re.match(r'\s+"[A-Z]+\d*"', line)]
    assert len(rules) > 5
    for line in rules:
        assert re.search(r'^\s+"[A-Z]+\d*",\s+# \w+', line), f"no reason: {line}"


@pytest.mark.parametrize("path", [*PRODUCT, *sorted((ROOT / "tests").rglob("*.py"))], ids=name)
def test_every_check_that_is_off_for_a_line_has_its_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.search(r"#\s*(noqa|type: ignore)(?![\"'\\|)])", line) and path != Path(__file__):
            assert re.search(r"# noqa: [A-Z0-9, ]+\s+\(\w|# type: ignore\[[a-z,-]+\]", line), line
