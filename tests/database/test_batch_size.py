"""The size of a batch adapts to the time that its statements take."""

from app.database.batch_size import BatchSize


def test_slow_statement_halves_and_quick_one_doubles() -> None:
    size = BatchSize(100, 1.0)
    size.took(1.5)
    assert size.rows == 50
    size.took(0.5)
    assert size.rows == 50
    size.took(0.1)
    assert size.rows == 100
    size.took(0.1)
    assert size.rows == 100


def test_timeout_quarters_down_to_one_row() -> None:
    size = BatchSize(20, 1.0)
    sizes = []
    while not size.is_least:
        size.timed_out()
        sizes.append(size.rows)
    assert sizes == [5, 1]
    size.timed_out()
    assert size.rows == 1
