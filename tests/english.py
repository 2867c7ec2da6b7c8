"""The word list: rules of plain English, and where the project's prose is found.

Each `Rule` is a regular expression with the plain word, a sentence that it catches and one that it must not.
`tests/test_english.py` applies them. To look at some files: `python -m tests.english docs/train.md`.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyserini_tasb"
LONGEST_SENTENCE = 45  # words
FEWEST_WORDS = 3  # a literal of fewer is no prose


@dataclass(frozen=True)
class Text:
    """A piece of prose.

    Args:
        where: file and line, or the verb and its option.
        text: a paragraph, with `CODE` where code stood.
        kind: `markdown`, `docstring` (its first paragraph), `argument` (in a docstring), `prose`, `help` or `message`.
    """

    where: str
    text: str
    kind: str


@dataclass(frozen=True)
class Rule:
    """A way of writing that a newcomer has to read twice.

    Args:
        pattern: what it looks like.
        instead: the plain way.
        caught: a sentence with it.
        allowed: a sentence like it that is plain.
        kinds: kinds of text that it is for; by default all.
    """

    pattern: str
    instead: str
    caught: str
    allowed: str
    kinds: tuple[str, ...] = ()
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re.compile(self.pattern, re.IGNORECASE))

    def found_in(self, text: Text) -> str | None:
        """The words that break the rule."""
        if self.kinds and text.kind not in self.kinds:
            return None
        match = self.compiled.search(text.text)
        return match and match[0]


@dataclass(frozen=True)
class SentenceRule:
    """Something that a sentence may have only so often.

    Args:
        pattern: what is counted.
        most: how often a sentence may have it.
        instead: the plain way.
        caught: a sentence with too much of it.
        allowed: plain sentences.
        kinds: kinds of text that it is for; by default all.
    """

    pattern: str
    most: int
    instead: str
    caught: str
    allowed: str
    kinds: tuple[str, ...] = ()

    def found_in(self, text: Text) -> str | None:
        """The first sentence that breaks the rule."""
        sentences = re.split(r"(?<=[.!?])[)\"']*\s+", text.text)
        return next((each for each in sentences if len(re.findall(self.pattern, each)) > self.most), None)


PREPOSITIONS = "With|Without|By|For|In|Into|Of|On|At|From|To|Under|Over|After|Before|Between|Among|Through|As"
WORDS = (
    Rule(r"\bmend(?:s|ed|ing)?\b", "fix", "The command mends the file.", "Amend the recipe."),
    Rule(r"\balone\b(?! to\b)", "only, or by itself", "BM25 alone finds it.", "Only BM25 finds it."),
    Rule(
        r"\bleaves? (?:\w+ ){1,4}alone\b",
        "does not change",
        "It leaves the rest alone.",
        "It does not change the rest.",
    ),
    Rule(r"\bno(?:body|\s+one)\b", "no user, or say it in the positive", "Nobody knows it.", "It is unknown."),
    Rule(r"\bwhoever\b|\bwhomever\b", "users who", "Whoever asks gets it.", "Users who ask get it."),
    Rule(
        r"\b(?:there (?:is|are|was|were)|(?:is|are|was|were) there)(?=[.;)?!]|\s*$)",
        "exists",
        "It reads what files there are.",
        "There are two files.",
    ),
    Rule(
        r"\b(?:whence|thence|thereby|therein|thereof|thereupon|herein|hereby|whereby|wherein|whereupon|hitherto"
        r"|henceforth|heretofore|theretofore|notwithstanding|inasmuch|insofar|lest|forthwith|hither|thither)\b",
        "a sentence of its own, or so, here, which",
        "A card, whereby it pools.",
        "A card, which says how it pools.",
    ),
    Rule(
        r"\basunder\b|\btell(?:s)? (?:\w+ )?apart\b|\bkeeps? apart\b",
        "distinguish",
        "It tells them apart.",
        "The two parts differ.",
    ),
    Rule(r"\bat hand\b", "current", "The batch at hand is done.", "The current batch is done."),
    Rule(
        r"\b(?:befall|befell|befalls|betide|beget|bespeak|behold|beckon)\b",
        "happen to",
        "It may befall a file.",
        "It may happen to a file.",
    ),
    Rule(
        r"\bwhat (?:it|they|each) (?:is|are) worth\b",
        "how good it is",
        "It says what it is worth.",
        "It says how good it is.",
    ),
    Rule(
        r"\b(?:amidst|amongst|whilst|betwixt|upon|unto|thus|hence|albeit|nay|ere|oft)\b",
        "among, while, on, so",
        "Thus it stops.",
        "So it stops.",
    ),
    Rule(r"\bsees? to (?:it|that|this)\b", "makes sure", "The lock sees to that.", "The lock makes sure of that."),
    Rule(
        r"\bhow far (?:it|they|this|that|the \w+) (?:is|are|was|were|got|has|have)\b",
        "the progress",
        "It shows how far it is.",
        "It shows the progress.",
    ),
    Rule(
        r"\b(?:keep|kept|keeps|write|read|search|use|take|draw|score) so many\b",
        "at most N",
        "Keep so many tokens.",
        "Keep at most N tokens.",
    ),
    Rule(
        r"\b(?:that|which|whose|what) (?:stands?|lies|lie) (?:here|there|in|on|behind|beside|before|under)\b",
        "is in, comes after",
        "It reads what stands behind it.",
        "It reads what comes after it.",
    ),
    Rule(r"\bsay(?:s)? what they find\b", "reports", "It says what they find.", "It reports recall."),
)
GRAMMAR = (
    Rule(
        r"\b(?:not|never|cannot|nothing|(?-i:none))\b(?:\s\w+){0,3}\s"
        r"(?:without|nothing|(?-i:none)|nowhere|never|nor|no)\b(?! longer)",
        "a positive statement",
        "It does not run without a file.",
        "It needs a file. It does not run yet.",
    ),
    Rule(
        r"^(?:Of|As|For|What|Whether|Those|That|Only)\b",
        "what the thing is",
        "Whether the file is whole.",
        "True if the file is whole.",
        kinds=("docstring",),
    ),
    Rule(
        rf"^(?:{PREPOSITIONS}|That|Those|Beside)\b(?!-)",
        "what the argument is",
        "of the passages.",
        "the number of the passages.",
        kinds=("argument",),
    ),
    Rule(
        rf"^(?:{PREPOSITIONS})\b",
        "what the option is",
        "With --qrels: compare by this measure.",
        "The measure that compares queries (with --qrels).",
        kinds=("help",),
    ),
)
SENTENCES = (
    SentenceRule(
        r"\b(?:is|are|was|were|be|been|being)\s+(?:\w+ly\s+)?(?!need\b|indeed\b)\w+(?:ed|en|own)\b",
        2,
        "an active verb: who does it",
        "The file is locked, is written by it and was checked before.",
        "The file is locked. It is written by it, and it checks it.",
    ),
    SentenceRule(
        r"\S+",
        LONGEST_SENTENCE,
        f"at most {LONGEST_SENTENCE} words a sentence",
        "It reads " + "a file and " * 15 + "a file.",
        "It reads a file. " * 15,
    ),
)
RULES = WORDS + GRAMMAR + SENTENCES


def faults(texts: list[Text]) -> list[str]:
    """A line for each text and rule that it breaks."""
    return [
        f"{text.where}: {shortened(found)!r} → {rule.instead}\n      {shortened(text.text, 200)}"
        for text in texts
        for rule in RULES
        if (found := rule.found_in(text)) is not None
    ]


def shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# Where prose is found


# Code in fences, formulas on lines of their own, comments.
NO_PROSE = (
    re.compile(r"^[> \t]*(`{3,}|~{3,}).*?^[> \t]*\1[`~]*[ \t]*$", re.DOTALL | re.MULTILINE),
    re.compile(r"\$\$.*?\$\$|<!--.*?-->", re.DOTALL),
)


def markdown_texts(path: Path) -> list[Text]:
    """Paragraphs, headings, list items and cells of tables, without what is no prose."""
    text = path.read_text()
    for pattern in NO_PROSE:
        text = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
    name = path.relative_to(ROOT).as_posix()
    blocks: list[tuple[int, str]] = []
    goes_on = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"^[> \t]*", "", line).strip()
        begins = re.match(r"(?:[-*+]|\d+[.)])\s+|#+\s+", bare)
        if bare.startswith("|"):
            blocks += [(number, cell) for cell in re.split(r"(?<!\\)\|", bare)]
        elif goes_on and bare and not begins:
            blocks[-1] = (blocks[-1][0], f"{blocks[-1][1]} {bare}")
        else:
            blocks.append((number, bare[begins.end() :] if begins else bare))
        goes_on = bool(bare) and bare[0] not in "#|"
    return [Text(f"{name}:{number}", prose, "markdown") for number, block in blocks if (prose := without_code(block))]


def without_code(text: str) -> str:
    """The text with `CODE` for inline code, formulas and a template's values, and links without their addresses."""
    text = re.sub(r"\{([{%]).*?[%}]\}", "CODE", text)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "CODE", text)
    text = re.sub(r"\$[^$\s][^$]*\$", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^<>\s][^<>]*>|https?://\S+", " ", text)
    return re.sub(r"\s+", " ", text.replace("**", "")).strip()


def source_texts(path: Path) -> list[Text]:
    """Docstrings, the strings below fields, and every other literal of some words, such as a message or a help."""
    tree = ast.parse(path.read_text())
    name = path.relative_to(ROOT).as_posix()
    texts, seen = [], set()
    for node in ast.walk(tree):
        for number, statement in enumerate(body if isinstance(body := getattr(node, "body", None), list) else []):
            if isinstance(statement, ast.Expr) and (docstring := literal_of(statement.value)):
                seen.add(statement.value)
                texts += docstring_texts(f"{name}:{statement.lineno}", docstring, first=number == 0)
        if isinstance(node, ast.JoinedStr):
            seen.update(part for part in ast.walk(node) if part is not node)
        # Patterns, and long texts that are code.
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            seen.update(ast.walk(node))
    for node in ast.walk(tree):
        literal = None if node in seen else literal_of(node)
        if literal and len(re.findall(r"[A-Za-z]{2,}", literal)) >= FEWEST_WORDS:
            texts += [
                Text(f"{name}:{node.lineno}", without_code(part), "message")
                for part in re.split(r"\n\s*", literal)
                if part
            ]
    return texts


def literal_of(node: ast.AST) -> str | None:
    """A string literal, with `CODE` for the values that an f-string takes in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "CODE" for part in node.values)
    return None


def docstring_texts(where: str, docstring: str, *, first: bool) -> Iterator[Text]:
    """The paragraphs of a docstring, and its arguments without their names; indented programs are left out."""
    for number, block in enumerate(re.split(r"\n\s*\n", docstring.strip())):
        if number and re.match(r" {8}", block) and not re.search(r"^\s*(?:Args|Returns|Raises|Attributes):", block):
            continue
        for part in re.split(r"\n\s+(?=\w+: |\* )|(?:Args|Returns|Raises|Attributes|Yields):\n\s+", block):
            text = without_code(re.sub(r"^\s*\w+: ", "", part))
            kind = "docstring" if first and number == 0 else "argument" if re.match(r"\s*[a-z_]+: ", part) else "prose"
            if text:
                yield Text(where, text, kind)


def help_texts(tree: argparse.ArgumentParser, name: str = "tasb") -> list[Text]:
    """The help of each verb and option."""
    texts = [Text(name, without_code(tree.description), "help")] if tree.description else []
    for action in tree._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, parser in action.choices.items():
                texts += help_texts(parser, f"{name} {verb}")
        elif action.help and action.help != argparse.SUPPRESS:
            option = (action.option_strings or [action.metavar or action.dest])[-1]
            texts.append(Text(f"{name} {option}", without_code(action.help), "help"))
    return texts


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        file = Path(argument).resolve()
        print("\n".join(faults(markdown_texts(file) if file.suffix == ".md" else source_texts(file))))
