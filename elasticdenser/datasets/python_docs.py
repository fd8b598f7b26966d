"""Corpus that every machine has: the documentation inside the Python standard library.

Source files are parsed, never imported. Only C modules, which have no source, are imported and inspected.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elasticdenser.datasets.passages import Passage

MAX_WORDS = 200
# Jokes, tools with a window, the test suite, and modules without useful documentation.
_SKIPPED = frozenset(
    {"antigravity", "this", "idlelib", "lib2to3", "turtledemo", "test", "pydoc_data", "ensurepip", "encodings"}
)
# Importing them warns or changes the terminal, or they exist for tests of the interpreter.
_NOT_IMPORTED = frozenset({"readline", "nis", "nt", "ossaudiodev", "spwd", "xxlimited", "xxlimited_35", "xxsubtype"})
# The modules behind os.path, and those of other platforms.
_OS_PATH = {os.path.__name__: "os.path", "genericpath": "os.path"}
_OTHER_PATHS = frozenset({"posixpath", "ntpath", "posix"}) - set(_OS_PATH)
_SKIPPED_PARTS = frozenset({"test", "tests", "idle_test"})
_SELF = re.compile(r"^\(\$\w+(, /)?(, )?")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class _Module(NamedTuple):
    name: str
    tree: ast.Module
    is_package: bool


_MIN_WORDS = 4
"""A shorter docstring only repeats the name."""


def python_docs() -> Iterator[Passage]:
    """Stream a passage for every documented public module, class, function and method, always in the same order.

    The id and title are the qualified name (`threading.Thread.join`, `builtins.sorted`), the text is the signature,
    if it is known, and the docstring, cut to 200 words.
    """
    seen: set[str] = set()
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in _SKIPPED | _OTHER_PATHS:
            continue
        for passage in _module_passages(name):
            if passage.doc_id not in seen and len(passage.text.split()) >= _MIN_WORDS:
                seen.add(passage.doc_id)
                yield passage


def _module_passages(name: str) -> Iterator[Passage]:
    root = Path(sysconfig.get_path("stdlib"))
    modules = list(_parsed(root, name))
    owners = _reexported_names(modules)
    for module in modules:
        shown = _OS_PATH.get(module.name, module.name)
        yield from _documented(shown, "", ast.get_docstring(module.tree))
        exported = frozenset(_exports(module.tree))
        for passage in _body_passages(module.tree.body, module.name, exported):
            yield _renamed(passage, module.name, shown, owners)
        for passage in _reexported(module, root):
            yield _renamed(passage, module.name, shown, owners)
    if not modules and _is_compiled(name):
        yield from _inspected_module(name, name, None)


def _renamed(passage: Passage, module: str, shown: str, owners: dict[str, str]) -> Passage:
    """Return a passage under its public name: `asyncio.run` for `asyncio.runners.run`."""
    local, _, rest = passage.doc_id.removeprefix(f"{module}.").partition(".")
    owner = owners.get(f"{module}.{local}") or owners.get(f"{module}.*") or shown
    name = ".".join(filter(None, (owner, local, rest)))
    return passage if name == passage.doc_id else Passage(name, passage.text, name)


def _parsed(root: Path, name: str) -> Iterator[_Module]:
    """Parse a module, or a package with its public submodules."""
    relative = Path(*name.split("."))
    package = root / relative
    file = package / "__init__.py"
    is_package = file.is_file()
    if not is_package:
        file = package.with_suffix(".py")
    if not file.is_file():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield _Module(name, ast.parse(file.read_bytes(), str(file)), is_package)
    if is_package:
        for child in sorted({path.stem for path in package.iterdir() if _holds_module(path)}):
            yield from _parsed(root, f"{name}.{child}")


def _holds_module(path: Path) -> bool:
    if path.name.startswith("_") or path.stem in _SKIPPED_PARTS:
        return False
    return path.suffix == ".py" or (path / "__init__.py").is_file()


def _reexported_names(modules: list[_Module]) -> dict[str, str]:
    """Map `asyncio.runners.run` to `asyncio`, where a package re-exports names of its submodules."""
    exports = {module.name: _exports(module.tree) for module in modules}
    owners: dict[str, str] = {}
    for package in (module for module in modules if module.is_package):
        for node in ast.walk(package.tree):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            source = f"{package.name}.{node.module}" if node.level == 1 else node.module
            if source in exports and source != package.name:
                names = [alias.name for alias in node.names if alias.asname in (None, alias.name)]
                for name in exports[source] or ["*"] if names == ["*"] else names:
                    owners.setdefault(f"{source}.{name}", package.name)
        # In packages that import their submodules lazily, only __all__ lists the names.
        for module in modules:
            if module.name.startswith(f"{package.name}."):
                for name in _defined(module.tree) & set(exports[package.name]):
                    owners.setdefault(f"{module.name}.{name}", package.name)
    return owners


def _defined(tree: ast.Module) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, _Definition)}


def _exports(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return [
                element.value
                for element in ast.walk(node.value)
                if isinstance(element, ast.Constant) and isinstance(element.value, str)
            ]
    return []


def _body_passages(body: list[ast.stmt], owner: str, exported: frozenset[str]) -> Iterator[Passage]:
    for node in body:
        if isinstance(node, _Definition) and not node.name.startswith("_"):
            name = f"{owner}.{node.name}"
            yield from _documented(name, _signature(node), _docstring(node, node.name in exported))
            if isinstance(node, ast.ClassDef):
                yield from _body_passages(node.body, name, frozenset())
        elif isinstance(node, ast.If | ast.Try):
            handlers = [statement for handler in getattr(node, "handlers", []) for statement in handler.body]
            yield from _body_passages([*node.body, *handlers, *node.orelse], owner, exported)


def _docstring(node: _Definition, exported: bool) -> str | None:
    """Return the docstring, of a class also that of `__init__`; else the names of the methods of an exported class."""
    doc = ast.get_docstring(node)
    if doc or not isinstance(node, ast.ClassDef):
        return doc
    methods = [member for member in node.body if isinstance(member, ast.FunctionDef)]
    for method in methods:
        if method.name == "__init__" and (doc := ast.get_docstring(method)):
            return doc
    names = [method.name for method in methods if not method.name.startswith("_")]
    return f"Methods: {', '.join(names)}." if exported and names else None


def _signature(node: _Definition) -> str:
    if not isinstance(node, ast.ClassDef):
        prefix = "async def " if isinstance(node, ast.AsyncFunctionDef) else ""
        return f"{prefix}{node.name}({ast.unparse(node.args)})"
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            arguments = ast.unparse(member.args).partition(",")[2].strip()
            return f"class {node.name}({arguments})"
    return f"class {node.name}"


def _reexported(module: _Module, root: Path) -> Iterator[Passage]:
    """Yield passages for what a module imports from a private one, such as `csv.reader` from `_csv`."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        source = node.module
        names = {alias.name: alias.asname or alias.name for alias in node.names}
        selected = None if "*" in names else names
        if (source.startswith("_") or source == "posix") and _is_compiled(source):
            yield from _inspected_module(source, module.name, selected)
        elif source.startswith("_") and not source.startswith("__") and "." not in source:
            yield from _private_source(root, source, module.name, selected)


def _private_source(root: Path, source: str, owner: str, names: dict[str, str] | None) -> Iterator[Passage]:
    for module in _parsed(root, source):
        exported = names if names is not None else dict.fromkeys(_exports(module.tree), "")
        body = [node for node in module.tree.body if getattr(node, "name", None) in exported]
        yield from _body_passages(body, owner, frozenset(exported))


def _is_compiled(name: str) -> bool:
    """Tell whether a module of the standard library is written in C and safe to import."""
    if name not in sys.stdlib_module_names or name in _NOT_IMPORTED:
        return False
    if name.startswith(("_test", "_xx", "_tkinter", "_curses")):
        return False
    spec = importlib.util.find_spec(name)
    extension = importlib.machinery.ExtensionFileLoader
    return spec is not None and (spec.origin == "built-in" or isinstance(spec.loader, extension))


def _inspected_module(source: str, owner: str, names: dict[str, str] | None) -> Iterator[Passage]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(source)
    except ImportError:
        return
    if source == owner:
        yield from _documented(owner, "", inspect.getdoc(module))
    for name in sorted(names if names is not None else vars(module)):
        shown = name if names is None else names[name]
        member = vars(module).get(name)
        if not shown.startswith("_") and _is_documentable(member):
            yield from _inspected(member, f"{owner}.{shown}")


def _is_documentable(member: object) -> bool:
    # The module `site` adds exit, help, license, ... to builtins: instances, not routines.
    return isinstance(member, type) or inspect.isroutine(member)


def _inspected(member: object, name: str) -> Iterator[Passage]:
    short = name.rpartition(".")[2]
    signature = getattr(member, "__text_signature__", None)
    shown = f"{short}{_SELF.sub('(', signature)}" if isinstance(signature, str) else ""
    yield from _documented(name, shown, _own_doc(member))
    if isinstance(member, type):
        for child in sorted(vars(member)):
            value = vars(member)[child]
            descriptor = isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType)
            if not child.startswith("_") and (descriptor or inspect.isroutine(value)):
                yield from _inspected(value, f"{name}.{child}")


def _own_doc(member: object) -> str | None:
    doc = getattr(member, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else None


def _documented(name: str, signature: str, doc: str | None) -> Iterator[Passage]:
    words = (doc or "").split()
    if words:
        yield Passage(name, " ".join([*signature.split(), *words][:MAX_WORDS]), name)
