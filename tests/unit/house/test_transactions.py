"""A transaction keeps all other writers waiting: what may take long stands outside of it."""

import ast
import pathlib

SOURCE = pathlib.Path(__file__).parents[3] / "src"

# By the name that is called: files and trees of any size, other programs, the kernel, time itself.
LONG = {
    "remove_tree", "rmtree", "unlink", "fsync", "sync_directory", "copy_tree", "read", "write_all", "sleep", "run",
    "Popen", "wait", "await_end", "kill", "freeze", "thaw", "apply", "_apply", "commit", "prepare", "mount", "unmount",
    "pull", "put", "print", "unpublish",
}  # fmt: skip
# A few netlink messages, about addresses that must not be given to a container that starts meanwhile.
KNOWN = {("estiva.network.bridge", "unpublish")}


def transactions():
    """(module, with-block) of all that are transactions of the state database."""
    for path in sorted((SOURCE / "estiva").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".write" in text else ():
            if isinstance(node, ast.With):
                opened = [ast.unparse(item.context_expr) for item in node.items]
                if any(call.partition("(")[0].endswith(".write") for call in opened):
                    yield name, node


def test_nothing_in_a_transaction_takes_long():
    wrong, count = [], 0
    for module, block in transactions():
        count += 1
        for node in (inner for statement in block.body for inner in ast.walk(statement)):
            if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
                wrong.append(f"{module}:{node.lineno} gives way to its caller")
            elif isinstance(node, ast.Call):
                words = ast.unparse(node.func).split(".")
                database = words[0] in ("transaction", "db") or words[-2:-1] == ["db"]
                if words[-1] in LONG and not database and (module, words[-1]) not in KNOWN:
                    wrong.append(f"{module}:{node.lineno} calls {'.'.join(words)}")
    assert count > 30
    assert not wrong, "\n".join(wrong)
