"""verl's parquet schema, and the check of a data file that preparation and the trainer's preflight share.

verl's ``RLHFDataset`` takes ``prompt`` (chat messages) and ``extra_info.index``; its reward loop takes
``data_source`` and ``reward_model.ground_truth``. pyarrow is imported where it is used, so that the command
line's help does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tr_grpo.data_prep.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

REQUIRED_COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info")

Row = dict[str, Any]


def arrow_schema(
    extra_info: Sequence[tuple[str, pa.DataType]] = (),
    ground_truth: pa.DataType | None = None,
    columns: Sequence[tuple[str, pa.DataType]] = (),
) -> pa.Schema:
    """Schema of a data file.

    extra_info: a task's own fields beside ``index`` and ``split``.
    ground_truth: its type where it is not text.
    columns: further columns, such as the ``agent_name`` by which verl picks an agent loop.
    """
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("data_source", text),
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("ability", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", ground_truth or text)])),
            ("extra_info", pa.struct([("index", pa.int64()), ("split", text), *extra_info])),
            *columns,
        ]
    )


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Write ``rows`` to ``path``: the same rows give the same bytes under the same pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def read_rows(path: Path) -> list[Row]:
    """All rows of a parquet file; ``InputError`` if it is missing or is not parquet."""
    with _opened(path) as file:
        return file.read().to_pylist()


def validate_parquet(path: Path | str) -> int:
    """Number of rows of a data file that verl and the reward can use.

    Raises ``InputError`` for a missing or unreadable file, a missing column (named), no rows, and for a row
    (numbered from 0) without a prompt of chat messages or without a ground truth.
    """
    path = Path(path)
    number = 0
    with _opened(path, REQUIRED_COLUMNS) as file:
        # In batches: a million rows as Python objects take gigabytes.
        for batch in file.iter_batches(batch_size=4096, columns=["prompt", "reward_model"]):
            for row in batch.to_pylist():
                _check_row(path, number, row)
                number += 1
    if number == 0:
        raise InputError(f"{path}: no rows; prepare the file again")
    return number


def _check_row(path: Path, number: int, row: Row) -> None:
    _check_prompt(path, number, row["prompt"])
    reward = row["reward_model"]
    if not isinstance(reward, dict) or _empty(reward.get("ground_truth")):
        raise InputError(f"{path}: row {number} has no reward_model.ground_truth; give each row its solution")


def _empty(truth: object) -> bool:
    if isinstance(truth, dict):
        return all(map(_empty, truth.values()))
    return truth in (None, "", [])


def _check_prompt(path: Path, number: int, prompt: object) -> None:
    messages = prompt if isinstance(prompt, list) else []
    if not messages or not all(isinstance(m, dict) and m.get("role") and m.get("content") for m in messages):
        raise InputError(f'{path}: row {number}: prompt is not a list of {{"role", "content"}} messages')


@contextmanager
def _opened(path: Path, columns: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """The file, which has ``columns``; what goes wrong while it is read becomes an ``InputError`` too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise InputError(f"{path}: a folder, which may hold test data too; name the parquet file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; write it with `tr-grpo prep` or correct the path")
    try:
        # ParquetFile, not read_table: a folder named like a partition (x=1/) must not add columns.
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise InputError(f"{path}: no column {', '.join(missing)}; verl needs {', '.join(columns)}")
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable parquet file ({reason}); prepare it again") from error
