"""Overrides of text keys as they were typed: Hydra's grammar would read `2026_11_29` as the number 20261129."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.grammar.gen.OverrideLexer import CommonTokenStream, InputStream, OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

SWEEPS = ("choice", "shuffle", "sort", "tag")  # functions that hand their arguments on as they are


def quoted(argument: str) -> str:
    """An override in which every number and truth value stands in quotes: `a=1_0,b` -> `a="1_0",b`.

    `null` stays what it is, except in a list.
    """
    for start, stop in reversed(list(_numbers(_parsed(argument), in_list=False))):
        argument = f'{argument[:start]}"{argument[start:stop].strip()}"{argument[stop:]}'
    return argument


def _parsed(argument: str) -> Any:
    """The tree of Hydra's own grammar; whoever parses it for its value complains of errors."""
    lexer = OverrideLexer(InputStream(argument))
    parser = OverrideParser(CommonTokenStream(lexer))
    for silent in (lexer, parser):
        silent.removeErrorListeners()
    return parser.override()


def _numbers(node: Any, in_list: bool) -> Iterator[tuple[int, int]]:
    """Where in the argument something is that is read as a number, a truth value or null."""
    if isinstance(node, OverrideParser.PrimitiveContext):
        words = [child.symbol.type for child in node.getChildren() if child.symbol.type != OverrideLexer.WS]
        null = [OverrideLexer.NULL] if in_list else []
        if len(words) == 1 and words[0] in (OverrideLexer.INT, OverrideLexer.FLOAT, OverrideLexer.BOOL, *null):
            yield node.start.start, node.stop.stop + 1
        return
    if isinstance(node, OverrideParser.FunctionContext) and node.getChild(0).getText() not in SWEEPS:
        return  # range(3) needs its numbers
    for child in node.getChildren() if hasattr(node, "getChildren") else ():
        yield from _numbers(child, in_list or isinstance(node, OverrideParser.ListContainerContext))
