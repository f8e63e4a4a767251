"""Batch inference on a pool of Ray actors; rows come by ranges, answers leave in order.

The only module that imports ray.data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from cvflow.config import Compute
from cvflow.dataset.row_sources import RowSource
from cvflow.engine.export import read_model
from cvflow.engine.infer import ROW, Predictor, batches
from cvflow.errors import CvflowError
from cvflow.plugins import load_texts, loaded_plugins
from cvflow.registry import Component
from cvflow.runtime.cluster import check_resources, connect, uses_gpu
from cvflow.runtime.cores import compute_on, threads
from cvflow.runtime.local import pick_device
from cvflow.runtime.ray_faults import own_error

BLOCK_ROWS = 512
MAX_TASKS = 1000
READER_CPUS = 0.25
"""A worker is an actor and a reader: with whole CPUs for the actors alone, nothing would be left to
read with.
"""


class RowRanges(Datasource):
    """The rows of a RowSource from ``first`` on, as blocks of at most BLOCK_ROWS rows; a task reads
    one or several.
    """

    def __init__(self, source: RowSource, first: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        size = max(BLOCK_ROWS, len(source) // MAX_TASKS)
        self._ranges = [(max(start, first), stop) for start, stop in source.ranges(size) if stop > first]
        self._source = ray.put(source)  # once: a folder's is a list of all its files

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        return [self._task(start, stop) for start, stop in self._ranges]

    def _task(self, start: int, stop: int) -> ReadTask:
        reference = self._source

        def read() -> Iterator[pa.Table]:
            source: RowSource = ray.get(reference)
            numbered = ({ROW: number, **row} for number, row in enumerate(source.rows(start, stop), start))
            yield from map(pa.Table.from_pylist, batches(numbered, BLOCK_ROWS))

        metadata = BlockMetadata(num_rows=stop - start, size_bytes=None, input_files=None, exec_stats=None)
        return ReadTask(read, metadata)


class PredictorActor:
    """Holds the model; called with one batch as an Arrow table."""

    def __init__(
        self, model: str, compute: dict[str, Any], plugins: dict[str, str], views: Sequence[Component]
    ) -> None:
        load_texts(plugins)
        settings = Compute.model_validate(compute)
        compute_on(threads(settings))
        device = pick_device(settings)
        self.predictor = Predictor(read_model(Path(model), device), device, views=views)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        return self.predictor.table(self.predictor.decode(rows), [row[ROW] for row in rows])


def predict(
    source: RowSource,
    model: Path,
    compute: Compute,
    batch_size: int,
    first: int = 0,
    views: Sequence[Component] = (),
) -> Iterator[pa.Table]:
    """The answers of a model directory to the rows of the source from ``first`` on, in their order:
    tables of ``answer_schema``.
    """
    connect(compute)
    check_resources(compute)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    answers = ray.data.read_datasource(RowRanges(source, first), num_cpus=READER_CPUS).map_batches(
        PredictorActor,
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=compute.least, max_size=compute.most),
        fn_constructor_args=(str(model.absolute()), compute.model_dump(mode="json"), loaded_plugins(), views),
        num_cpus=1 - READER_CPUS,
        num_gpus=1 if uses_gpu(compute) else 0,
    )
    try:
        yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
    except Exception as error:  # RayError, or Ray Data's own
        raise own_error(reversed(list(causes(error)))) or CvflowError(
            f"Ray Data failed: {str(error).splitlines()[-1]}"
        ) from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it wraps; Ray's own are of the class of what they wrap as well, so
    the last is the plain one.
    """
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__
