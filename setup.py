"""Installs tzrec; compiles protos/*.proto into tzrec/protos on the way."""

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


def requirements() -> list[str]:
    text = (HERE / "requirements.txt").read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    # A folder cannot stand in a package's metadata; requirements.txt brings it.
    return [line for line in lines if line and not line.startswith("./")]


compile_protos()
setup(
    name="tzrec",
    version="0.1.0",
    description="Vector recall: two-tower training, export, vectors, index and hit rate",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["tzrec", "tzrec.*"]),
    package_data={"tzrec.protos": ["*.pyi"]},
    install_requires=requirements(),
)
