"""Frames of utterances: an intent with slots, which may hold frames themselves, and tags of words that express them.

MTOP (Li et al. 2021) writes a frame as `[IN:CREATE_CALL [SL:CONTACT [IN:GET_CONTACT [SL:TYPE_RELATION brother ] ] ] ]`.
A tagger gives a tag to each word. So that it can express frames within frames, the label of a word is the path of the
innermost slot that holds it: `B-CONTACT>GET_CONTACT>TYPE_RELATION`. A frame comes back from its tags unless words of a
slot do not stand together, slots do not stand in the order of the words, or a slot has no words: see `is_expressible`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OUTSIDE = "O"
"""Tag of a word in no slot."""

_BELOW = ">"
"""Separator of a path: slot > intent > slot."""

_INTENT, _SLOT = "IN:", "SL:"


@dataclass(frozen=True, slots=True)
class Span:
    """Words of a slot: those from `start` up to, and without, `stop`."""

    label: str
    start: int
    stop: int


@dataclass(slots=True)
class Node:
    """Intent or slot of a frame.

    Attributes:
        label: Its name, without `IN:` or `SL:`.
        text: Text of a slot without white space; empty for intents and for slots that hold an intent.
        children: Slots of an intent, or the intents in a slot.
    """

    label: str
    text: str = ""
    children: list[Node] = field(default_factory=list)


def parse_frame(text: str) -> Node:
    """Read a frame as MTOP writes it.

    Raises:
        ValueError: It is not one; the message says why.
    """
    root = Node("")
    path = [root]
    for token in text.split():
        if token.startswith("["):
            prefix = _SLOT if len(path) % 2 == 0 else _INTENT
            if not token.startswith(f"[{prefix}"):
                raise ValueError(f"got {token}, expected [{prefix}NAME")
            node = Node(token[1 + len(prefix) :])
            path[-1].children.append(node)
            path.append(node)
        elif token == "]":
            path.pop()
            if not path:
                raise ValueError("got one ] too many")
        elif len(path) % 2 == 0:
            raise ValueError(f"got {token!r} outside a slot")
        else:
            path[-1].text += token
    if len(path) != 1 or len(root.children) != 1:
        raise ValueError(f"got {len(root.children)} frames and {len(path) - 1} missing ], expected one whole frame")
    return root.children[0]


def frame_text(frame: Node) -> str:
    """Return a frame in the notation of MTOP, without white space within texts: equal frames have equal texts."""
    return _written(frame, _INTENT)


def frame_of(intent: str, words: Sequence[str], tags: Sequence[str]) -> str:
    """Return the frame that an intent and tags of words express, as `frame_text` writes it."""
    root = Node(intent)
    for span in spans_of(tags):
        *above, label = span.label.split(_BELOW)
        node = root
        for slot, inner in zip(above[::2], above[1::2], strict=False):
            node = _entered(node, slot, inner)
        node.children.append(Node(label, "".join(words[span.start : span.stop])))
    return frame_text(root)


def tags_of(frame: Node, words: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of the words that express a frame as far as tags can; slots that are not found have none."""
    tags, last = [OUTSIDE] * len(words), 0
    for label, text in _leaves(frame, ""):
        found = _found(text, words, tags, last) or _found(text, words, tags, 0)
        if found is not None:
            start, last = found
            tags[start:last] = [f"B-{label}", *[f"I-{label}"] * (last - start - 1)]
    return tuple(tags)


def is_nested(frame: Node) -> bool:
    """Return whether a slot of the frame holds a frame."""
    return any(slot.children for slot in frame.children)


def is_expressible(frame: Node, words: Sequence[str]) -> bool:
    """Return whether tags of the words can express the frame."""
    return frame_of(frame.label, words, tags_of(frame, words)) == frame_text(frame)


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of BIO tags, in order. As for conlleval, an I that continues nothing begins a span."""
    spans: list[Span] = []
    for number, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        prefix, _, label = tag.partition("-")
        before = spans[-1] if spans else None
        if prefix == "I" and before is not None and (before.label, before.stop) == (label, number):
            spans[-1] = Span(label, before.start, number + 1)
        else:
            spans.append(Span(label, number, number + 1))
    return spans


def _written(node: Node, prefix: str) -> str:
    inner = "".join(f"{_written(child, _SLOT if prefix == _INTENT else _INTENT)} " for child in node.children)
    text = f"{node.text} " if node.text else ""
    return f"[{prefix}{node.label} {text}{inner}]"


def _entered(node: Node, slot: str, intent: str) -> Node:
    """Return the frame of an intent in the last slot of a node, or in a new one."""
    last = node.children[-1] if node.children else None
    if last is None or last.label != slot or not last.children or last.children[0].label != intent:
        node.children.append(Node(slot, children=[Node(intent)]))
    return node.children[-1].children[0]


def _leaves(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of the slots with text, in their order."""
    for slot in node.children:
        label = f"{path}{slot.label}"
        if slot.text:
            yield label, slot.text
        for inner in slot.children:
            yield from _leaves(inner, f"{label}{_BELOW}{inner.label}{_BELOW}")


def _found(text: str, words: Sequence[str], tags: Sequence[str], first: int) -> tuple[int, int] | None:
    """Return the first words without tags, (start, stop), that make a text without white space."""
    for start in range(first, len(words)):
        joined = ""
        for stop in range(start, len(words)):
            joined += words[stop]
            if tags[stop] != OUTSIDE or not text.startswith(joined):
                break
            if joined == text:
                return start, stop + 1
    return None
