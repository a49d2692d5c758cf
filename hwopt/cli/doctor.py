"""``hwopt doctor``: is everything there, and what to do if not."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from hwopt.cli import options

#: Pairs that were found to work together; other versions of the second crash all tuning.
_TVM_PAIR = ("0.27.0.post1", "0.1.14.post1")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do if it is not well."""

    what: str
    state: str
    well: bool
    advice: str = ""


@click.command("doctor")
@options.json_option
def command(as_json: bool) -> None:
    """Check versions, compiler, cores, threads and data, and say what to do."""
    findings = list(_findings())
    if as_json:
        options.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            advice = f"; {finding.advice}" if not finding.well else ""
            click.echo(f"{'ok' if finding.well else '!!'}  {finding.what}: {finding.state}{advice}")
    sys.exit(0 if all(finding.well for finding in findings) else 2)


def _findings() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", version, sys.version_info >= (3, 11), "use Python 3.11 or newer")
    yield _package("torch")
    yield _tvm()
    compiler = shutil.which("g++") or shutil.which("c++")
    yield Finding(
        "C++ compiler for linking", compiler or "missing", bool(compiler), "apt-get install g++"
    )
    yield from _host()
    yield _data()
    yield _peer()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(package: str) -> Finding:
    version = _version(package)
    advice = f"pip install -c constraints.txt {package}"
    return Finding(package, version or "missing", version is not None, advice)


def _tvm() -> Finding:
    """apache-tvm and apache-tvm-ffi must fit together."""
    found = (_version("apache-tvm"), _version("apache-tvm-ffi"))
    packages = f"apache-tvm=={_TVM_PAIR[0]} apache-tvm-ffi=={_TVM_PAIR[1]}"
    return Finding(
        "apache-tvm / apache-tvm-ffi",
        " / ".join(version or "missing" for version in found),
        found == _TVM_PAIR,
        f"this pair crashes while tuning or is untested: pip install {packages}",
    )


def _host() -> Iterator[Finding]:
    from hwopt import targets
    from hwopt.targets.threads import use_threads

    host = targets.get("host")
    yield Finding("this machine", f"{host.cpu}, {host.isa}, {host.cores} cores", True)
    granted = use_threads(host.threads)
    yield Finding(
        "threads",
        f"{granted} of {host.threads}",
        granted == host.threads,
        "unset TVM_NUM_THREADS, or set it to the number of cores",
    )
    problems = targets.check(host)
    yield Finding("compiling for it", problems[0] if problems else "works", not problems)


def _data() -> Finding:
    from hwopt.data import fashion_mnist
    from hwopt.files import user_folder

    found = fashion_mnist.installed(user_folder() / "data")
    advice = "apt-get install dataset-fashion-mnist, or let the first run download it"
    return Finding("data fashion-mnist", str(found or "missing"), found is not None, advice)


def _peer() -> Finding:
    version = _version("onnxruntime")
    # Not needed for anything but comparisons: absent is well.
    return Finding("onnxruntime (for comparisons)", version or "not installed", True)
