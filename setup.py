"""Compiles protos/*.proto into tzrec/protos when tzrec is installed; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent


def compile_protos() -> None:
    """protos/x.proto -> tzrec/protos/x_pb2.py and x_pb2.pyi."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "protos").rglob("*.proto"))
    out = str(HERE)
    words = ["protoc", f"-Itzrec/protos={HERE / 'protos'}", f"--python_out={out}", f"--pyi_out={out}"]
    status = protoc.main([*words, *(f"tzrec/{source}" for source in sources)])
    if status:
        raise SystemExit(f"protoc ended with status {status}")


compile_protos()
setup(
    packages=find_namespace_packages(include=["tzrec", "tzrec.*"]),
    package_data={"tzrec": ["py.typed"], "tzrec.protos": ["*.pyi"]},
)
