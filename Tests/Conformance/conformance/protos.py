"""Generates python code from the interop tests' .proto files into a temporary folder, as any user of grpcio would."""

import importlib.resources
import os
import pathlib
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "proto"


def generate():
    """Puts the generated modules on this process's path and on that of its children; the folder is the answer."""
    from grpc_tools import protoc

    folder = tempfile.mkdtemp(prefix="footfall-interop-")
    include = importlib.resources.files("grpc_tools") / "_proto"
    files = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.proto"))
    # Not under grpc/: grpcio has a module of that name.
    moved = pathlib.Path(folder) / "source"
    for file in files:
        target = moved / file.replace("grpc/testing", "interop")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((FOLDER / file).read_text().replace('"grpc/testing/', '"interop/'))
    sources = [file.replace("grpc/testing", "interop") for file in files]
    status = protoc.main(
        ["protoc", f"-I{moved}", f"-I{include}", f"--python_out={folder}", f"--grpc_python_out={folder}"] + sources)
    if status != 0:
        raise RuntimeError(f"grpcio-tools does not take {FOLDER}: status {status}")
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
    return folder
