"""docs/fields.md says of every field what the program says."""

from tests.config.field_table import DOCUMENT, document, rows
from tzrec.protos.feature_pb2 import FeatureConfig


def test_the_document_is_what_the_program_says() -> None:
    # After a change of what is built: python -m tests.config.field_table
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_every_feature_type_works() -> None:
    said = {field: outcome for message, field, outcome in rows() if message == "FeatureConfig"}
    assert set(said) == {field.name for field in FeatureConfig.DESCRIPTOR.fields}
    assert set(said.values()) == {"works"}
