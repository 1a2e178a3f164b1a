"""The reference of hooks, contracts and checks, made from the code: ``python -m suffuse.testing.reference``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import suffuse
from suffuse.plugins import API, KINDS, Trial, hookspecs
from suffuse.testing.catalogue import CHECKS

__all__ = ["reference"]

_GIVEN = (
    "suffuse.data:Split",
    "suffuse.data:Item",
    "suffuse.data:Batch",
    "suffuse.data:Measurement",
    "suffuse.data:Gap",
    "suffuse.data:Evaluation",
    "suffuse.data:Score",
    "suffuse.data:InMemory",
    "suffuse.state:State",
    "suffuse.fields:Field",
    "suffuse.sampling.plan:Leg",
    "suffuse.sampling.plan:Point",
    "suffuse.sampling.plan:Stage",
    "suffuse.processes:Level",
    "suffuse.guidance.wrapper:Wrapper",
    "suffuse.training.callbacks:Written",
)
"""What contracts speak of, beside the kinds of components."""
_SPECIAL = ("__call__", "__getitem__")

_PUBLIC = (
    "suffuse.data", "suffuse.state", "suffuse.fields", "suffuse.spaces", "suffuse.layouts", "suffuse.conditions",
    "suffuse.layers", "suffuse.backbones", "suffuse.samples", "suffuse.files", "suffuse.tables", "suffuse.splits",
    "suffuse.metrics", "suffuse.bias", "suffuse.fitting", "suffuse.progress", "suffuse.errors", "suffuse.posterior",
    "suffuse.schedules", "suffuse.parameterizations", "suffuse.plugins", "suffuse.testing",
)  # fmt: skip
"""Modules whose names plugins may build on."""

_HEAD = f"""# Reference of hooks, contracts and checks

Made from the code by `make reference`; a test compares the two. The number of the plugin API is {API}: a registration
module that needs a newer one says `SUFFUSE_API = N`, and an older core then refuses it with the command that upgrades.
"""


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join(_page()).rstrip() + "\n"


def _page() -> Iterator[str]:
    yield _HEAD
    yield "## Hooks\n"
    yield "A plugin implements them in its registration module, marked with `@hookimpl`. All are optional.\n"
    for name, hook in vars(hookspecs).items():
        if name.startswith(f"{hookspecs.PROJECT}_"):
            yield f"### {name}\n"
            yield f"```python\ndef {name}{_signature(hook)}: ...\n```\n"
            yield from _prose(hook)
    yield "### Trial\n"
    yield from _prose(Trial)
    yield "## Kinds of components\n"
    yield "A component is called with what the program gives it and with its settings, which are checked first.\n"
    yield "| kind | named in | what it is | is given | contract |\n|---|---|---|---|---|"
    for name, kind in KINDS.items():
        given = ", ".join(f"`{each}`" for each in (*kind.given, *(f"{each}=" for each in kind.named)))
        contract = kind.contract.partition(":")[2]
        yield f"| `{name}` | `{kind.where}` | {kind.about} | {given} | [`{contract}`](#{contract.lower()}) |"
    yield "\n## Contracts\n"
    for path in dict.fromkeys((*(kind.contract for kind in KINDS.values()), *_GIVEN)):
        yield from _contract(path)
    yield "## What to build with\n"
    yield "Public are these modules and whatever `suffuse` itself exports; all else may change at any time.\n"
    for module in map(importlib.import_module, _PUBLIC):
        yield f"### {module.__name__}\n"
        yield f"{_first(module)}\n"
        yield "\n".join(_entry_of(name, getattr(module, name)) for name in module.__all__) + "\n"
    names = ", ".join(f"`{name}`" for name in suffuse.__all__)
    yield f"### suffuse\n\n{names}.\n"
    yield "## Checks\n"
    yield "`suffuse plugins check NAME`, and `parametrize_with_checks` of `suffuse.testing` under pytest.\n"
    yield "| check | what holds | for plugins that bring |\n|---|---|---|"
    for check in CHECKS:
        kinds = [name for name in KINDS if name in check.kinds]
        yield f"| `{check.name}` | {_inline(check.about)} | {', '.join(kinds) or 'anything'} |"


def _contract(path: str) -> Iterator[str]:
    module, _, name = path.partition(":")
    contract = getattr(importlib.import_module(module), name)
    yield f"### {name}\n"
    yield f"In `{'suffuse' if name in suffuse.__all__ else module}`.\n"
    yield from _prose(contract)
    if not inspect.isclass(contract):
        yield f"`{name}{_signature(contract)}`\n"
        return
    attributes = {} if "Args:" in (contract.__doc__ or "") else vars(contract).get("__annotations__", {})
    if shown := [f"- `{key}: {_type(kind)}`" for key, kind in attributes.items() if not key.startswith("_")]:
        yield "\n".join(shown) + "\n"
    for key, member in vars(contract).items():
        method = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(method) and (key in _SPECIAL or (method.__doc__ and not key.startswith("_"))):
            duty = " (to be written)" if getattr(method, "__isabstractmethod__", False) else ""
            shown_as = key if isinstance(member, property) else f"{key}{_signature(method)}"
            yield f"**`{shown_as}`**{duty}\n"
            yield from _prose(method)


def _entry_of(name: str, thing: Any) -> str:
    """A public name in a line: how it is called and what it is; the name alone where it is a constant or a type."""
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return f"- `{name}`"
    about = re.sub(r"^(Args|Raises):.*", "", _first(thing))
    contract = inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)
    error = inspect.isclass(thing) and issubclass(thing, Exception)
    call = "" if contract or error else _signature(thing).removesuffix(" -> None")
    return f"- `{name}{call}`" + (f": {about}" if about else "")


def _first(thing: Any) -> str:
    return _inline(inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[0])


def _type(annotation: Any) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))


def _signature(function: Any) -> str:
    own = inspect.signature(function)
    parameters = [each for each in own.parameters.values() if each.name not in ("self", "cls")]
    text = str(own.replace(parameters=parameters)).replace("<factory>", "...").replace("''", '""')
    text = re.sub(r"ForwardRef\('(.+?)'\)", r"\1", text)
    return re.sub(r"<function (\w+) at \w+>", r"\1", text).replace("'", "")


def _prose(thing: Any) -> Iterator[str]:
    """Documentation in Google's style as Markdown."""
    paragraphs = inspect.cleandoc(thing.__doc__ or "").split("\n\n")
    while paragraphs:
        paragraph = paragraphs.pop(0)
        lines = paragraph.splitlines()
        if lines and re.fullmatch(r"(Args|Returns|Raises|References):", lines[0]):
            yield f"{lines[0]}\n"
            yield "\n".join(_entries(lines)) + "\n"
        elif paragraph:
            yield _inline(re.sub(r"::$", ":", paragraph.strip())) + "\n"
        if paragraph.endswith("::"):
            code = []
            while paragraphs and paragraphs[0].lstrip("\n").startswith("    "):
                code.append(paragraphs.pop(0))
            yield "```python\n" + inspect.cleandoc("\n\n".join(code)) + "\n```\n"


def _entries(lines: list[str]) -> Iterator[str]:
    """The items of a section, each in a line."""
    entries: list[str] = []
    for line in lines[1:]:
        if line.startswith("        ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    named = lines[0] in ("Args:", "Raises:")
    return (f"- {_entry(each) if named else _inline(each)}" for each in entries)


def _entry(text: str) -> str:
    names, _, rest = text.partition(": ")
    return f"`{names}`: {_inline(rest)}"


def _inline(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


if __name__ == "__main__":
    print(reference(), end="")
