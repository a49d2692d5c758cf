"""The generic search, TVM's MetaSchedule, for kernels that no template covers."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import logging
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import meta_schedule as ms

from hwopt import logs
from hwopt.files import atomic_file
from hwopt.targets import boards, tvm_build
from hwopt.targets.address import parse_address
from hwopt.targets.host import usable_cores
from hwopt.targets.target import Target
from hwopt.targets.threads import environment, granted
from hwopt.targets.tracker import Tracker

MS_LOG = "tvm.s_tir.meta_schedule"
# TVM's modules of tensor intrinsics by instruction set.
_INTRINSICS = {"avx512": "x86", "avx2": "x86", "sse": "x86", "neon": "arm_cpu", "rvv": "riscv_cpu"}
# Recorded by MetaSchedule in place of the time of a candidate that failed.
FAILED_SECONDS = 1e9
LARGEST_ROUND = 16
# With fewer candidates the cost model has nothing to learn from.
MODEL_FROM = 64
# Generous: the first candidate also waits for its process to import TVM.
BUILD_SECONDS, RUN_SECONDS = 120, 60


class Found(NamedTuple):
    """The best schedule found: the kernel, its time, and the candidates measured just now."""

    func: tirx.PrimFunc | None
    median_us: float | None
    measured: int


def search(
    func: tirx.PrimFunc, name: str, target: Target, folder: Path, *, kernel_trials: int, seed: int
) -> Found:
    """Search a schedule for ``func``, or take the best of an earlier search.

    Args:
        func: An unscheduled kernel.
        name: Its name, for TVM's log.
        target: The device; its threads are set for TVM's measuring processes.
        folder: Where MetaSchedule's records are kept. TVM looks them up by the kernel alone, so
            the folder must belong to this target.
        kernel_trials: Most candidates to measure; 0 measures none.
        seed: Seed of the search.

    Returns:
        The best of the valid records; without one, no kernel and no time.
    """
    module = tvm.IRModule({"main": _plain(func)})
    folder.mkdir(parents=True, exist_ok=True)
    with logs.at_least(MS_LOG, logging.ERROR), _threads(target.threads):
        workloads, tuning_records = folder / "workloads.json", folder / "tuning_records.json"
        _mend(workloads, tuning_records)
        database = ms.database.JSONDatabase(str(workloads), str(tuning_records))
        known = _records(database, module)
        missing = max(0, kernel_trials - len(known))
        if missing or known:
            _import_intrinsics(target)
        if missing:
            # TVM writes its logs into files there, and fails if somebody else's handler listens.
            with tempfile.TemporaryDirectory() as scratch, logs.own_handlers(MS_LOG):
                ms.tune_tir(
                    module,
                    tvm_build.tvm_target(target),
                    scratch,
                    max_trials_global=missing,
                    num_trials_per_iter=min(missing, LARGEST_ROUND),
                    builder=ms.builder.LocalBuilder(
                        max_workers=usable_cores(),
                        timeout_sec=BUILD_SECONDS,
                        f_build=_build,
                        f_export=functools.partial(_export, target.compiler),
                    ),
                    runner=_runner(target),
                    cost_model="xgb" if missing >= MODEL_FROM else "random",
                    database=database,
                    seed=seed,
                )
        records = _records(database, module)
        best = min(_valid(records), key=_seconds, default=None)
        if best is None:
            return Found(None, None, len(records) - len(known))
        schedule = tvm.s_tir.Schedule(module)
        best.trace.apply_to_schedule(schedule, remove_postproc=False)
    scheduled = tvm_build.mark_scheduled(schedule).without_attr("global_symbol")
    return Found(scheduled, _seconds(best) * 1e6, len(records) - len(known))


def _mend(workloads: Path, records: Path) -> None:
    """Drop what a killed process, or a full disk, left of lines: TVM would read none of the rest.

    A record begins with the number of its workload, so workloads behind a torn one go, too.
    """
    whole = list(itertools.takewhile(_is_json, _lines(workloads)))
    known = [
        line for line in _lines(records) if _is_json(line) and json.loads(line)[0] < len(whole)
    ]
    for path, lines in ((workloads, whole), (records, known)):
        text = "".join(f"{line}\n" for line in lines)
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            with atomic_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _import_intrinsics(target: Target) -> None:
    """Register TVM's tensor intrinsics for a target, and none of other processors.

    MetaSchedule imports all of them, and parsing the text of those for CUDA takes the better part
    of a minute. The package is entered by hand, so that its own list of imports does not run.
    """
    name = "tvm.s_tir.tensor_intrin"
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(Path(tvm.s_tir.__file__).parent / "tensor_intrin")]
        sys.modules[name] = package
    if target.isa in _INTRINSICS:
        importlib.import_module(f"{name}.{_INTRINSICS[target.isa]}")


def _build(module: tvm.IRModule, target: Any, _params: Any) -> Any:
    """Build a candidate in a process of MetaSchedule's, without importing any intrinsics."""
    plain = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    return tvm.tirx.build(plain, target=target, pipeline="s_tir")


def _export(compiler: str, module: Any) -> str:
    """Link a candidate in a process of MetaSchedule's; return its file, in a folder of its own."""
    from tvm.support import cc

    path = str(Path(tempfile.mkdtemp()) / "candidate.so")
    module.export_library(path, fcompile=cc.cross_compiler(compiler) if compiler else None)
    return path


def _runner(target: Target) -> Any:
    """Return what times candidates: processes here, or boards."""
    if target.runner == "local":
        return ms.runner.LocalRunner(timeout_sec=RUN_SECONDS)
    boards.release()
    with Tracker(target.tracker) as tracker:
        tracker.wait_for(target.key)
        known = [one for one in tracker.listings() if one.key == target.key]
    host, port = parse_address(target.tracker)
    config = ms.runner.RPCConfig(
        tracker_host=host,
        tracker_port=port,
        tracker_key=target.key,
        session_timeout_sec=RUN_SECONDS,
    )
    return ms.runner.RPCRunner(
        config,
        f_create_session=functools.partial(_session, target.threads),
        max_workers=sum(len(one.addresses) for one in known),
    )


def _session(threads: int, config: Any) -> Any:
    """Return a session whose kernels run with so many threads, in a process of MetaSchedule's."""
    session = config.connect_server()
    granted(session.get_function, threads)
    return session


def _plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return the kernel under one name for all models, so that its records are found again."""
    return func.without_attr("op_pattern").with_attr("global_symbol", "main")


def _records(database: Any, module: tvm.IRModule) -> list[Any]:
    if not database.has_workload(module):
        return []
    workload = database.commit_workload(module)
    return [
        record
        for record in database.get_all_tuning_records()
        if record.workload.same_as(workload)
        or tvm_ffi.structural_equal(record.workload.mod, workload.mod)
    ]


def _valid(records: list[Any]) -> list[Any]:
    return [record for record in records if record.run_secs and _seconds(record) < FAILED_SECONDS]


def _seconds(record: Any) -> float:
    times = sorted(float(value) for value in record.run_secs)
    return times[len(times) // 2]


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the threads of the processes that TVM starts for measuring."""
    wanted = environment(count)
    before = {name: os.environ[name] for name in wanted if name in os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]
        os.environ.update(before)
