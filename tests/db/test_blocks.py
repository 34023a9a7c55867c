import ast
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

import ipam_operator
from ipam_operator.store.database import connect
from ipam_operator.store.queries import blocks

PACKAGE = Path(ipam_operator.__file__).parent
STORE = PACKAGE / "store"
CALLS = {"rows", "value"}
"""Methods whose first argument is a block's name."""
SQL = re.compile(r"^\s*(select|insert|update|delete|with|merge|truncate|create|alter|drop)\s+\S+", re.IGNORECASE)
KEYWORDS = re.compile(r"\b(from|into|set|values|table|schema|as|function|returning)\b|ipam\.", re.IGNORECASE)


def strings(node: ast.AST) -> Iterator[str]:
    """The literals of a string expression; an f-string's gaps become `*`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(value.value) if isinstance(value, ast.Constant) else "*" for value in node.values)


def used() -> set[str]:
    """Names of blocks as the store's code gives them, a `*` for what is only known when it runs."""
    found: set[str] = set()
    for file in STORE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                found.update(text for argument in node.args[:1] for text in strings(argument))
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "blocks()":
                found.update(strings(node.slice))
    return found


def matching(name: str) -> set[str]:
    pattern = re.compile(re.escape(name).replace(r"\*", r"\w+"))
    return {block for block in blocks() if pattern.fullmatch(block)}


@pytest.mark.parametrize("name", sorted(blocks()))
async def test_block_prepares(name: str, database_url: str) -> None:
    """PostgreSQL can plan the block on the migrated schema, and every parameter's type is written out."""
    connection = await connect(database_url)
    try:
        statement = await connection.prepare(blocks()[name])
        parameters = [int(number) for number in re.findall(r"\$(\d+)::", blocks()[name])]
        assert parameters == list(range(1, len(statement.get_parameters()) + 1))
    finally:
        await connection.close()


async def test_array_types_are_met_beforehand(database_url: str) -> None:
    """Every array type that a block takes or gives is one that a connection learns as it is opened."""
    connection = await connect(database_url)
    try:
        types: dict[str, set[str]] = {}
        for name, text in blocks().items():
            statement = await connection.prepare(text)
            given = [attribute.type for attribute in statement.get_attributes()]
            types[name] = {one.name for one in (*statement.get_parameters(), *given) if one.kind == "array"}
    finally:
        await connection.close()
    met = types.pop("array_types")
    assert set.union(*types.values()) == met


def test_every_file_is_read() -> None:
    """No text in store/sql is lost between two blocks."""
    folder = resources.files("ipam_operator.store.sql")
    text = "".join(file.read_text() for file in folder.iterdir() if file.name.endswith(".sql"))
    assert text.count(";") == text.count("-- name: ") == len(blocks())


def test_every_block_is_used() -> None:
    """No block outlives the code that called it."""
    assert set(blocks()) == {block for name in used() for block in matching(name)}


def test_every_used_block_exists() -> None:
    """The code names no block that store/sql lacks."""
    assert {name for name in used() if not matching(name)} == set()


def test_names_are_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of one name are refused, whichever files they are in."""
    for file in ("one.sql", "two.sql"):
        (tmp_path / file).write_text("-- name: twice\nselect 1;\n")
    with monkeypatch.context() as patch:
        patch.setattr(resources, "files", lambda _package: tmp_path)
        with pytest.raises(ValueError, match="two SQL blocks are called twice"):
            blocks.__wrapped__()


def test_no_sql_outside_the_store() -> None:
    """No string outside of store/ reads like a statement; docstrings are prose."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        if file.is_relative_to(STORE):
            continue
        tree = ast.parse(file.read_text())
        prose = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{file.relative_to(PACKAGE)}:{node.lineno}: {text}"
            for node in ast.walk(tree)
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in prose
            for text in strings(node)
            if SQL.match(text) and KEYWORDS.search(text)
        ]
    assert found == []


def test_the_store_writes_sql_in_blocks() -> None:
    """Within the store only the migrator, which runs before there is a schema, has statements in its code."""
    found = {
        file.name
        for file in STORE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
        for text in strings(node)
        if SQL.match(text) and KEYWORDS.search(text)
    }
    assert found <= {"migrate.py"}
