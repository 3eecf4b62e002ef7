"""Bad inputs as rows of tables, one an attack; `row.py` says what a row is, `test_rows.py` what must hold."""
