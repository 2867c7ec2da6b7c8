"""The fields of a record: which of them are its docid and its text, in Pyserini's and BEIR's JSON or by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pyserini_tasb.errors import argument
from pyserini_tasb.formats.lines import FIX_LINES

if TYPE_CHECKING:
    from collections.abc import Sequence


Row: TypeAlias = dict[str, Any]
"""Field → value: a JSON object, or the columns of a line by their names."""

ID_FIELDS = ("id", "_id", "docid")  # in the order in which Pyserini looks
_MOST_NAMES = 12  # shown in a message


@dataclass(frozen=True)
class Fields:
    """Which fields of a record are its docid and its text, as `--fields` and `--docid-field` of Pyserini say.

    Args:
        names: the fields that form the text, joined by spaces in this order, without empty ones. By default `text`,
            after `title` if the record has one; without `text`, only `contents`; without both, `title`.
        docid: the field of the docid; by default the first of `id`, `_id` and `docid`.
    """

    names: tuple[str, ...] = ()
    docid: str | None = None

    @classmethod
    def named(cls, fields: str | Sequence[str], docid_field: str | None) -> Fields:
        """The fields that a caller's arguments `fields` and `docid_field` name."""
        return cls((fields,) if isinstance(fields, str) else tuple(fields), docid_field)

    @property
    def given(self) -> bool:
        """True if a caller named any."""
        return bool(self.names or self.docid)

    @property
    def expected(self) -> str:
        """A line of a file that has them, for messages."""
        if not self.given:
            return (
                "id TAB text, or of JSON with an id (id, _id, docid) and a text (text, with or without title; or "
                "contents; or title)"
            )
        texts = f"the fields {', '.join(self.names)}" if self.names else "a text (text, contents or title)"
        return f"JSON with the id {self.docid or ' or '.join(ID_FIELDS)} and {texts}"

    @property
    def advice(self) -> str:
        """The advice about lines that do not have them."""
        if self.given:
            return f"name fields that every line has, in {argument('fields')} and {argument('docid_field')}"
        both = f"{argument('fields')} and {argument('docid_field')}"
        return f"{FIX_LINES}, or name the fields of other JSON in {both} where the file is a corpus"

    def docid_of(self, row: Row) -> str:
        """The docid of a record.

        Raises:
            ValueError: it has none, or none that a TREC file could hold.
        """
        names = (self.docid,) if self.docid else ID_FIELDS
        docid = next((row[name] for name in names if row.get(name) is not None), None)
        if isinstance(docid, bool) or not isinstance(docid, str | int):
            raise ValueError(f"no id in {', '.join(names)}, a string or an integer: {_fields_of(row)}")  # noqa: TRY004
        require_id(str(docid))
        return str(docid)

    def text_of(self, row: Row) -> str:
        """The text of a record, in one piece.

        Raises:
            ValueError: the record lacks a field, or what is in it is no text.
        """
        if self.names:
            return " ".join(filter(None, self.values(row)))
        if "text" in row:
            return f"{_field(row, 'title')} {_field(row, 'text')}".strip()
        if "contents" in row:
            return join_lines(_field(row, "contents")) or _field(row, "title")
        if "title" in row:
            return _field(row, "title")
        raise ValueError(f"neither text nor contents nor title: {_fields_of(row)}")

    def values(self, row: Row) -> list[str]:
        """The values of a record in the fields that were named, in their order; empty for null.

        Where one of them is missing, `contents` may hold all of them, one a line, as Pyserini's collections do.

        Raises:
            ValueError: the record lacks a field, or what is in it is no text.
        """
        missing = [name for name in self.names if name not in row]
        if not missing:
            values = (_field(row, name) for name in self.names)
            return [
                join_lines(value) if name == "contents" else value
                for name, value in zip(self.names, values, strict=True)
            ]
        if "contents" in row:
            contents = _string(row, "contents")
            lines = (contents[:-1] if contents.count("\n") == len(self.names) else contents).split("\n")
            if len(lines) == len(self.names):
                return [line.strip() for line in lines]
        raise ValueError(f"no {', '.join(missing)}: {_fields_of(row)}")

    def id_and_text(self, row: Row) -> tuple[str, str]:
        """The docid and the text of a record; what is raised is what `docid_of` and `text_of` raise."""
        if len(row) == 2 and not self.given:
            docid, text = row.get("id"), row.get("text")
            if isinstance(docid, str) and isinstance(text, str):
                # A line of TSV: this way a collection of millions is read in 2/3 of the time.
                require_id(docid)
                _require_encodable("text", text)
                return docid, text.strip()
        return self.docid_of(row), self.text_of(row)


def join_lines(contents: str) -> str:
    """Pyserini's `contents`, where a line end separates title and text, as one line."""
    return " ".join(filter(None, (line.strip() for line in contents.split("\n"))))


def require_id(id_: str) -> None:
    """Refuse an id that no TREC file could hold.

    Raises:
        ValueError: saying so.
    """
    if id_.split() != [id_]:
        raise ValueError(f"the id {id_!r} is empty or has white space in it")
    _require_encodable("the id", id_)


def _field(row: Row, name: str) -> str:
    return _string(row, name).strip()


def _string(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:  # how Pyserini writes an empty field
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004
    _require_encodable(name, value)
    return value


def _fields_of(row: Row) -> str:
    more = ", …" if len(row) > _MOST_NAMES else ""
    return f"the record has {', '.join(list(row)[:_MOST_NAMES])}{more}" if row else "the record is empty"


def _require_encodable(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} contains a lone surrogate") from error
