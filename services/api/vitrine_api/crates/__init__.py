"""A version as one archive for the long term: an RO-Crate (Research Object Crate 1.1) in a zip file."""

from vitrine_api.crates.archive import archive
from vitrine_api.crates.contents import Contents, File, Stored, contents_of

__all__ = ["Contents", "File", "Stored", "archive", "contents_of"]
