"""Bytes of an event stream into the data of its events, wherever the network cut them.

Knows the event stream format of the HTML standard. Must not know JSON or what the events mean. It works on bytes, so
that a character cut in two is whole again before anybody decodes it.
"""

from __future__ import annotations

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """The data of each event, as soon as the blank line after it has come."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._after_return = False
        self._first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that this piece of the stream completes."""
        if not piece:
            return []
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]  # the second half of a CRLF
        self._after_return = piece.endswith(b"\r")
        if not self._rest and not self._data and piece.endswith(b"\n\n") and b"\r" not in piece:
            quick = _whole_events(piece)
            if quick is not None:
                self._first = False
                return quick
        lines = (self._rest + piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
        self._rest = lines.pop()
        return [event for line in lines if (event := self._line(line)) is not None]

    def end(self) -> list[bytes]:
        """The stream is over: an event that lacks its blank line counts all the same, as some servers leave it out."""
        rest, self._rest = self._rest, b""
        events = [self._line(rest), self._line(b"")] if rest else [self._line(b"")]
        return [event for event in events if event is not None]

    def _line(self, line: bytes) -> bytes | None:
        if self._first and line:
            line, self._first = line.removeprefix(BYTE_ORDER_MARK), False
        if not line:
            data, self._data = self._data, []
            return b"\n".join(data) if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"error":  # llama.cpp once had such a field
            self._data.append(b'{"error":' + (value or b"null") + b"}")
        return None


def _whole_events(piece: bytes) -> list[bytes] | None:
    """The usual case, several whole events of one `data: ` line each; None: it is not that."""
    events = piece[:-2].split(b"\n\n")
    if all(event.startswith(b"data: ") and b"\n" not in event for event in events):
        return [event[6:] for event in events]
    return None
