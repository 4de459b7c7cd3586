"""The process that runs a model's code: reads requests line by line, answers each with one line.

Flow: {"source", "function", "cases"} → parse → allow-list → run each case under limits → {"error"} or
{"results"}.

Started by `sandbox.py` as `python -I -S`: only the standard library is available.
**The code can reach nothing.** Imports, attributes, dunder names, `global`, `try`, decorators, lambdas and
classes are refused, and only pure builtins exist: the code cannot touch this process, catch its own alarm or
affect later requests.
**The code can exhaust nothing.** Address space, CPU time and recursion are limited. An alarm ends loops. A
long C call, which no alarm can interrupt, ends this process by its CPU limit or by the parent.
**Limits count CPU time**, so that a busy machine does not change a result.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import resource
import signal
import sys
from types import FrameType
from typing import Any

MEMORY_SIZE_BYTES_MAX = 256 * 2**20
CODE_CPU_S_MAX = 0.25
PROCESS_CPU_S_MAX = 2
RECURSION_DEPTH_MAX = 150
SOURCE_CHARACTERS_MAX = 4000
VALUE_CHARACTERS_MAX = 60
HARD_CPU_LIMIT = resource.getrlimit(resource.RLIMIT_CPU)[1]
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
BUILTIN_NAMES = (
    *(
        "abs",
        "all",
        "any",
        "bool",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "int",
        "isinstance",
        "len",
        "list",
    ),
    *("map", "max", "min", "range", "reversed", "round", "sorted", "str", "sum", "tuple", "zip"),
)
ALLOWED_NODES = (
    *(
        ast.Module,
        ast.FunctionDef,
        ast.arguments,
        ast.arg,
        ast.Return,
        ast.Assign,
        ast.AugAssign,
        ast.Expr,
        ast.Pass,
    ),
    *(
        ast.If,
        ast.For,
        ast.While,
        ast.Break,
        ast.Continue,
        ast.IfExp,
        ast.GeneratorExp,
        ast.ListComp,
        ast.comprehension,
    ),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript, ast.Slice, ast.Starred),
    *(ast.Name, ast.Constant, ast.List, ast.Tuple, ast.expr_context),
    *(ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.keyword),
)


class CaseTimeout(BaseException):
    """The alarm. Not an Exception, so that it is never mistaken for an error of the code."""


class Refused(Exception):
    """The code is not run; the arguments are an error class and a short text."""


def forbidden_part(tree: ast.Module, function: str) -> str | None:
    """The first construct that is not on the allow-list, named for the model; None if the code may run."""
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED_NODES):
            return type(node).__name__
        if isinstance(node, ast.Name) and "__" in node.id:
            return node.id
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.returns or "__" in node.name):
            return "FunctionDef"
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in (*BUILTIN_NAMES, function)
        ):
            return "Call"
    return None


def compiled(source: str, function: str) -> Any:
    """The code object. Raises Refused."""
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise Refused("source_too_long", f"{len(source)} characters")
    try:
        tree = ast.parse(source)
        part = forbidden_part(tree, function)
        if part is not None:
            raise Refused("forbidden_code", part)
        return compile(tree, "solution", "exec")
    except SyntaxError as error:
        raise Refused("syntax_error", f"line {error.lineno}") from error
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise Refused("syntax_error", type(error).__name__) from error


def value_text(value: object) -> str:
    """`repr` without memory addresses, truncated; never raises, although the value comes from a model."""
    try:
        text = ADDRESS.sub("", repr(value))
    except Exception as error:  # noqa: BLE001  any exception of a model's code is its result
        return f"<{type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 3] + "..."


def case_result(function: Any, arguments: list[Any], expected: Any) -> dict[str, Any]:
    """One test: whether it passed, and the returned value. Raises Refused if a resource was exhausted."""
    try:
        returned = function(*arguments)
        passed = returned == expected and isinstance(returned, bool) == isinstance(expected, bool)
        return {"passed": bool(passed), "returned": value_text(returned)}
    except (MemoryError, RecursionError) as error:
        raise Refused("memory" if isinstance(error, MemoryError) else "recursion", "") from error
    except Exception as error:  # noqa: BLE001  any exception of a model's code is its result
        return {"passed": False, "raised": type(error).__name__}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request; the alarm is set before any of the model's code runs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent_s + PROCESS_CPU_S_MAX, HARD_CPU_LIMIT))
    namespace: dict[str, Any] = {"__builtins__": {name: getattr(builtins, name) for name in BUILTIN_NAMES}}
    try:
        code = compiled(request["source"], request["function"])
        signal.setitimer(signal.ITIMER_PROF, CODE_CPU_S_MAX)
        exec(code, namespace)
        function = namespace.get(request["function"])
        if function is None:
            raise Refused("function_missing", request["function"])
        return {"results": [case_result(function, *case) for case in request["cases"]]}
    except Refused as refusal:
        return {"error": refusal.args[0], "detail": refusal.args[1]}
    except CaseTimeout:
        return {"error": "timeout", "detail": ""}
    except (MemoryError, RecursionError) as error:
        return {"error": "memory" if isinstance(error, MemoryError) else "recursion", "detail": ""}
    except Exception as error:  # noqa: BLE001  any exception of a model's code is its result
        return {"error": "import_failed", "detail": type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise CaseTimeout


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_SIZE_BYTES_MAX, MEMORY_SIZE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(RECURSION_DEPTH_MAX)
    signal.signal(signal.SIGPROF, _ring)


def main() -> None:
    _limit_process()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
