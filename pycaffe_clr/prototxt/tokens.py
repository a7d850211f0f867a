"""The words of prototxt text: names, numbers, strings and punctuation, with their offsets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pycaffe_clr.errors import ConfigError
from pycaffe_clr.prototxt.source import Source

# Kinds are the group numbers of the pattern below.
WORD, NUMBER, STRING, PUNCTUATION, BROKEN, END = 1, 2, 3, 4, 5, 6
Token = tuple[int, str, int]

_TOKEN = re.compile(
    r"""[ \t\r\n\f\v]+
      | \#[^\n]*
      | ([A-Za-z_]\w*)
      | ( (?:0[xX][0-9a-fA-F]+ | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)
          (?![\w.]) )
      | ( "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
      | ( [{}<>\[\]:;,\-] )
      | (.)""",
    re.VERBOSE | re.ASCII,
)
_NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


def tokenize(source: Source, defines: Mapping[str, str]) -> list[Token]:
    """Split text into (kind, text, offset), ending with an END token.

    defines: replacements for whole words, in names, values and strings, never in comments.
    Raises ConfigError at the first character that starts no token.
    """
    tokens: list[Token] = []
    append = tokens.append
    for match in _TOKEN.finditer(source.text):
        kind = match.lastindex
        if kind is None:
            continue  # white space or a comment
        append((kind, match[kind], match.start(kind)))
        if kind == BROKEN:
            raise _broken(source, match[kind], match.start(kind))
    append((END, "end of file", len(source.text.rstrip())))
    return list(_substitute(tokens, source, defines)) if defines else tokens


def check_define_names(defines: Mapping[str, str]) -> None:
    """Raise ConfigError for a name that could not be a placeholder."""
    for name in defines:
        if not _NAME.match(name):
            raise ConfigError(
                f"-D {name}={defines[name]}: {name!r} is not a word; write -D xBS=128"
            )


def undefined_placeholders(tokens: list[Token]) -> list[str]:
    """Names in the place of a value that look like the report's placeholders (xBS, xLR1, xwd)."""
    found: dict[str, None] = {}
    for (_, before, _), (kind, text, _) in zip(tokens, tokens[1:], strict=False):
        if kind == WORD and text.startswith("x") and before in (":", "[", ",", "-"):
            found[text] = None
    return list(found)


def _substitute(tokens: list[Token], source: Source, defines: Mapping[str, str]) -> Iterable[Token]:
    inside = re.compile(r"\b(" + "|".join(map(re.escape, defines)) + r")\b", re.ASCII)

    def replace(match: re.Match[str]) -> str:
        source.used_defines.add(match[1])
        return defines[match[1]].replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")

    for token in tokens:
        kind, text, offset = token
        if kind == WORD and text in defines:
            source.used_defines.add(text)
            value = Source(f"-D {text}={defines[text]}", defines[text])
            replacement = tokenize(value, {})[:-1]
            if not replacement:
                raise ConfigError(f"{source.at(offset)}: -D {text}= gives the placeholder no value")
            yield from ((kind, word, offset) for kind, word, _ in replacement)
        elif kind == STRING:
            yield kind, inside.sub(replace, text), offset
        else:
            yield token


def _broken(source: Source, character: str, offset: int) -> ConfigError:
    where = source.at(offset)
    if character in "\"'":
        return ConfigError(f"{where}: the string that starts here has no closing {character}")
    if character.isdigit() or character == ".":
        word = re.match(r"[^\s{}<>\[\]:;,#]*", source.text[offset : offset + 40])
        return ConfigError(f"{where}: {word[0] if word else character!r} is not a number")
    if character == "/" and source.text[offset + 1 : offset + 2] in ("/", "*"):
        return ConfigError(f"{where}: comments start with # in prototxt")
    if not character.isprintable():
        return ConfigError(
            f"{where}: character {ord(character):#04x} does not belong in text; is this a "
            "binary file (.caffemodel, .solverstate)?"
        )
    return ConfigError(f"{where}: unexpected character {character!r}")
