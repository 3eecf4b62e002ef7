"""Flags of the tutorial that are out of range: told before anything is made, and before a stage has run."""

import pytest

from tzrec.runtime.errors import UserError
from tzrec.tools.tutorial import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "0"], '"0" is no number from 1 to'),
        (["--processes", "-1"], '"-1" is no number from 1 to'),
        (["--processes", "two"], '"two" is no number from 1 to'),
        (["--processes", "nan"], '"nan" is no number from 1 to'),
        (["--processes", "99999"], '"99999" is no number from 1 to'),
        (["--prepare_flags", "'"], "--prepare_flags: ': No closing quotation"),
        (["--prepare_flags", "--users many"], '"many" is no integer'),
        (["--prepare_flags", "--sed 1"], 'unknown flag --sed; did you mean "--seed"?'),
        (["--prepare_flags", "--output_dir other"], "--output_dir is given by this command"),
        (["--input_dir", "somewhere"], "unknown flag --input_dir"),
        (["--edit_config_json", "{oops"], "--edit_config_json: not a JSON object"),
    ],
)
def test_flags_out_of_range_are_told_first(tmp_path, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        main(["demo", "--work_dir", str(tmp_path / "run"), *words])
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []
