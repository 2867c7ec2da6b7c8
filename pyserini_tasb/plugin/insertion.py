"""Put the call of an adapter into a module's code, behind its definitions and before its main block.

runpy executes the code object of a module that runs as `__main__` itself: there is no "after import" to wait for.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType


def code_with_adapter(loader: Any, name: str) -> CodeType | None:
    """The code of the module `name`, adapting itself before its main block; None where there is no source.

    Lines and file stay those of the source, for tracebacks and debuggers.
    """
    source = loader.get_source(name)
    if source is None:
        return None
    tree = ast.parse(source)
    main_blocks = [at for at, node in enumerate(tree.body) if _is_main_block(node)]
    place = main_blocks[-1] if main_blocks else len(tree.body)
    startup = "__import__('pyserini_tasb.plugin.startup', fromlist=['adapt'])"
    call = ast.parse(f"{startup}.adapt({name!r}, globals())").body[0]
    for node in ast.walk(call):
        ast.copy_location(node, tree.body[min(place, len(tree.body) - 1)])
    tree.body.insert(place, call)
    code: CodeType = compile(tree, loader.get_filename(name), "exec", dont_inherit=True)
    return code


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )
