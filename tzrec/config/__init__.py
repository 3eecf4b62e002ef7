"""Configurations: load, override, validate. Everything wrong is said at once, before any data is opened."""

from tzrec.config.edit import apply_edits
from tzrec.config.load import Loaded, load_pipeline, to_text
from tzrec.config.prepare import prepare
from tzrec.config.supported import check_device
from tzrec.config.validate import check_required, validate

__all__ = [
    "Loaded",
    "apply_edits",
    "check_device",
    "check_required",
    "load_pipeline",
    "prepare",
    "to_text",
    "validate",
]
