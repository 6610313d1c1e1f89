"""What bytes are, by their first bytes. Names and claims of a model are never believed."""

from __future__ import annotations

from pathlib import PurePosixPath

HEAD_BYTES = 4096

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"\x93NUMPY", "application/x-npy"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_TEXT_SUFFIXES = {".csv": "text/csv", ".json": "application/json", ".md": "text/markdown"}
BINARY = "application/octet-stream"


def sniff(head: bytes, name: str = "") -> str:
    """Return the media type of a file that begins with `head`.

    Text is `text/plain` whatever it holds (markup must not be shown as markup); `name` only tells apart
    kinds of text that are harmless to show.
    """
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], BINARY)
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if _is_text(head):
        return _TEXT_SUFFIXES.get(PurePosixPath(name).suffix.lower(), "text/plain")
    return BINARY


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character that the end of the head cuts in two is no fault.
        return len(head) == HEAD_BYTES and error.start >= HEAD_BYTES - 3
    return True
