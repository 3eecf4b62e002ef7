"""A field that "works" is read by code that does something: naming it in the table is not enough."""

import ast
from pathlib import Path

import tzrec
from tests.config.field_table import reachable, rows
from tzrec.config.bind import is_map

# What only checks a configuration does nothing with it.
CHECKS_ONLY = {"supported.py", "validate.py", "rules.py"}
# Read field by field through the descriptor, as arguments of an optimizer.
OPTIMIZERS = "Optimizer"
# Fields whose work is done without reading them there, and where.
ELSEWHERE = {
    "DataConfig.fg_encoded": "becomes fg_mode while the configuration is checked",
    "GradClipping.enable_global_grad_clip": "gives the same number either way: see build_clip",
}


def words_of_the_code() -> set[str]:
    """Attributes and texts in the source, docstrings left out."""
    found: set[str] = set()
    root = Path(tzrec.__file__).parent
    for path in root.rglob("*.py"):
        if "protos" in path.parts or (path.parent.name == "config" and _only_checks(path.name)):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        sentences = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in sentences:
                found.update(node.value.replace('"', " ").replace(",", " ").split())
    return found


def _only_checks(name: str) -> bool:
    return name in CHECKS_ONLY or name.endswith("_rules.py")


def test_what_works_is_read() -> None:
    words = words_of_the_code()
    leaves = {
        (kind.name, field.name)
        for kind, _ in reachable()
        for field in kind.fields
        if field.message_type is None or is_map(field)
    }
    unread = {
        f"{message}.{field}"
        for message, field, said in rows()
        if said == "works"
        and (message, field) in leaves
        and field not in words
        and not message.endswith(OPTIMIZERS)
    }
    assert unread == set(ELSEWHERE)


def test_the_test_sees_what_is_not_read() -> None:
    assert "zch_size" not in words_of_the_code()
