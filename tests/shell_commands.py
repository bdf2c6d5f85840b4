"""Command lines in shell text, and what click says of their arguments; nothing is run."""

from __future__ import annotations

import re
import shlex

import click

OPERATORS = set("();<>|&\n")
KEYWORDS = {"do", "then", "else", "if", "while", "until", "!", "{"}


def commands(text, program):
    """The arguments of each `program …` in shell text, quotes removed; `python -m` counts too."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="".join(OPERATORS))
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    found, words = [], []
    for word in [*lexer, "\n"]:
        if word and set(word) <= OPERATORS:
            if ">" in word and words[-1:] == ["2"]:  # of a redirection
                words.pop()
            found.extend(_commands_in(words, program))
            words = []
        else:
            words.append(word)
    return found


def _commands_in(words, program):
    while words and (words[0] in KEYWORDS or re.match(r"\w+=", words[0])):
        words = words[1:]
    for start in [0, *(i + 1 for i, word in enumerate(words) if word == "--")]:
        rest = words[start:]
        if rest[:2] == ["python", "-m"]:
            rest = rest[2:]
        if rest[:1] == [program]:
            yield rest[1:]


def parses(group, name, arguments):
    """Complaints of click about the arguments of a command; nothing is run."""
    if name not in group.commands:
        return [f"there is no command {name}"]
    try:
        group.commands[name].make_context(name, list(arguments))
    except click.exceptions.ClickException as error:
        return [f"{name} {' '.join(arguments)}: {error.format_message()}"]
    except click.exceptions.Exit:
        pass  # --help
    return []
