"""Reading what others wrote: JSON and YAML within limits, and one error for whatever a parser raises.

A parser raises its documented errors, and on broken input others: a RecursionError, an AttributeError, a MemoryError.
`explained` makes one error of them all. JSON and YAML are read by the functions below only, so that limits and messages
are the same everywhere.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from pyserini_tasb.errors import CONTROLS, TasbError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import yaml

CHECK_FILE = "check that the file is whole and of this kind"


@contextlib.contextmanager
def explained(where: Path | str, *, expected: str, do: str = CHECK_FILE) -> Iterator[None]:
    """A block that reads a file: whatever goes wrong in it becomes a TasbError, whose cause is the original error.

    Args:
        where: the file.
        expected: what it should have been.
        do: what to do about it.
    """
    try:
        yield
    except TasbError:
        raise
    except Exception as error:
        raise TasbError(where=str(where), expected=expected, found=said_by(error), do=do) from error


def said_by(error: Exception) -> str:
    """An error of a parser or of the operating system in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are not UTF-8 (after {error.start:,} bytes)"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    first = str(error).strip().partition("\n")[0]
    # These say what is wrong in words; the others often say no more than a name.
    return first if first and isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: {first}"


def json_object(text: str | bytes) -> dict[str, Any]:
    """The object that a text in JSON holds.

    Raises:
        ValueError: it is not JSON, nested too deeply, or not an object.
    """
    value = _from_json(text)
    if not isinstance(value, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004 - the text is wrong, not the caller
    return value


def _from_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {said_by(error)}") from error


def read_json(path: Path, *, expected: str = "an object in JSON", do: str = CHECK_FILE) -> dict[str, Any]:
    """The object that a file in JSON holds.

    Raises:
        TasbError: the file cannot be read, or holds something else.
    """
    with explained(path, expected=expected, do=do):
        return json_object(path.read_bytes())


def read_json_list(path: Path, *, expected: str, do: str = CHECK_FILE) -> list[Any]:
    """The array that a file in JSON holds; errors as of `read_json`."""
    with explained(path, expected=expected, do=do):
        value = _from_json(path.read_bytes())
        if not isinstance(value, list):
            raise ValueError("JSON, but not an array")  # noqa: TRY004 - the file is wrong, not the caller
        return value


# A recipe has some hundred lines; Pyserini's largest file of conditions has 57 KB.
MOST_BYTES, MOST_NODES, MOST_LEVELS = 4 << 20, 100_000, 50
YAML, FIX = "YAML", "fix that line"


def read_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """The mapping that a YAML file holds, and the tree of its nodes, which know their lines.

    Raises:
        TasbError: no such file, not UTF-8, not YAML, no mapping, a key that is given twice, or more than `yaml_value`
            reads.
    """
    with explained(path, expected="a YAML file", do="check the path"):
        if path.stat().st_size > MOST_BYTES:
            raise TasbError(
                where=str(path),
                expected=f"a YAML file of at most {MOST_BYTES >> 20} MiB",
                found=f"{path.stat().st_size:,} bytes",
                do="check the path",
            )
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(path, content.count(b"\n", 0, error.start) + 1, "bytes that are not UTF-8") from error
    values, node = _loaded(text, path)
    if not isinstance(values, dict):
        raise TasbError(
            where=str(path),
            expected="`key: value` lines",
            found="nothing" if values is None else shown(values),
            do="see the folder's README.md",
        )
    return values, node


def yaml_value(text: str) -> Any:
    """The value of a short text in YAML, such as `[1, 2]` or `2.0e-5`.

    Raises:
        TasbError: it is not YAML, has more than 50 levels or, with what its aliases stand for, more than 100,000 nodes,
            gives a key twice, or has characters that control a terminal.
    """
    return _loaded(text, None)[0]


def _loaded(text: str, path: Path | None) -> tuple[Any, yaml.Node]:
    import yaml

    line: int | None = None
    try:
        loader = _loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, yaml.ScalarNode("tag:yaml.org,2002:null", "")
            _require_limits(node)
            return loader.construct_document(node), node
        finally:
            line = loader.line + 1
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _fault(path, line, f"the character {chr(error.character)!a}, which YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _fault(path, mark.line + 1 if mark else line, error.problem or str(error)) from error
    except Exception as error:  # a \U escape without a character, for example
        raise _fault(path, line, said_by(error)) from error


def _fault(path: Path | None, line: int | None, found: str) -> TasbError:
    where = (f"{path}:{line}" if line else str(path)) if path else None
    return TasbError(where=where, expected=YAML, found=found, do=FIX)


# What moves a cursor or turns text around; a name or a path has no use for it, nor for half a character.
_CONTROLS = re.compile(f"[{re.escape(''.join(map(chr, CONTROLS)))}\ud800-\udfff]")


def _loader(text: str) -> yaml.SafeLoader:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's loader, which stops where nesting is deep, and gives the line of a value that is impossible."""

        levels = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            self.levels += 1
            if self.levels > MOST_LEVELS:
                _refuse(f"more than {MOST_LEVELS} levels", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
            node: yaml.Node | None = super().compose_node(parent, index)
            self.levels -= 1
            return node

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                _require_each_once(node)
            try:
                value = super().construct_object(node, deep)
                if isinstance(value, int):
                    str(value)  # Python reads hexadecimal digits that it refuses to write as decimal ones
            except yaml.YAMLError:
                raise
            except Exception as error:  # noqa: BLE001 - a date that does not exist, a number of 6,000 digits, …
                reason = f" ({error})" if isinstance(error, ValueError) and "sys." not in str(error) else ""
                _refuse(f"{shown(node.value)}, which is no {node.tag.rpartition(':')[2]}{reason}", node.start_mark)
            if isinstance(value, str) and (control := _CONTROLS.search(value)):
                _refuse(f"the character {control[0]!a} in a text", node.start_mark)
            return value

    return Loader(text)


def _refuse(problem: str, mark: yaml.Mark) -> NoReturn:
    import yaml

    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _require_each_once(node: yaml.MappingNode) -> None:
    import yaml

    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if before := lines.get((key.tag, key.value)):
                _refuse(f"the key {shown(key.value)} a second time (first in line {before})", key.start_mark)
            lines[key.tag, key.value] = key.start_mark.line + 1


def _require_limits(root: yaml.Node) -> None:
    """Refuse a tree that is small in the file and large in memory, because aliases stand for aliases."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known == 0:
            _refuse("an alias that contains itself", node.start_mark)
        if known is not None:
            return known
        sizes[id(node)] = 0
        total = 1 + sum(map(size, _children(node)))
        if total > MOST_NODES:
            _refuse(f"more than {MOST_NODES:,} values, with those that aliases stand for", node.start_mark)
        sizes[id(node)] = total
        return total

    size(root)


def scalars(node: yaml.Node) -> Iterator[str]:
    """Every key and value of a tree of nodes, as it is written."""
    if isinstance(node.value, str):
        yield node.value
    for child in _children(node):
        yield from scalars(child)


def _children(node: yaml.Node) -> Sequence[yaml.Node]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else ()
