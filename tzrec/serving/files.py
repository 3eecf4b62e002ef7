"""The files of an exported folder: their names, and those of others that are copied into it. No torch."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from tzrec.config.walk import features
from tzrec.features.operators import vocab_path
from tzrec.protos.pipeline_pb2 import EasyRecConfig
from tzrec.runtime.errors import UserError

MODEL, CONFIG, FEATURES, ACCELERATION, CHECKSUMS = (
    "scripted_model.pt",
    "pipeline.config",
    "fg.json",
    "model_acc.json",
    "checksums.json",
)
# Written into the folder of the user tower later, by tzrec.tools.create_faiss_index.
LATER = ("faiss_index", "id_mapping")
RESERVED = (MODEL, CONFIG, FEATURES, ACCELERATION, CHECKSUMS, *LATER)

# The next step where a file of an exported folder is not what it was.
AGAIN = "copy the folder again from where it was exported, or export it again"

# Bytes that a copy reads at a time.
BLOCK = 1 << 20
# Bytes of a copied file's name, which file systems limit to 255.
LONGEST = 200


def carry(pipeline: EasyRecConfig) -> tuple[EasyRecConfig, dict[str, Path]]:
    """The configuration as it stands in an exported folder, and the files that features read there.

    Returns:
        a copy that names each file by its name in the folder, and that name -> the file to copy.
    """
    carried = EasyRecConfig()
    carried.CopyFrom(pipeline)
    files: dict[str, Path] = {}
    for _, feature, name in features(carried):
        if getattr(feature, "vocab_file", ""):
            path = vocab_path(feature)
            feature.vocab_file = _name(name, path, files)
            feature.ClearField("asset_dir")
            files[feature.vocab_file] = path
        normalizer = getattr(feature, "text_normalizer", None)
        if normalizer is not None and normalizer.stop_char_file:
            path = Path(normalizer.stop_char_file)
            normalizer.stop_char_file = _name(name, path, files)
            files[normalizer.stop_char_file] = path
    return carried, files


def _name(feature: str, path: Path, taken: Mapping[str, Path]) -> str:
    """A name of its own for the copy of a feature's file: ASCII, without a path.

    Names of features are free text: they may hold a slash, or what a locale cannot write.
    """
    given = f"{feature}.{path.name}".encode("utf-8", "surrogateescape")
    plain = quote(given, safe=" !#$&'()+,;=@[]^{}")[-LONGEST:]
    if plain.startswith("."):  # Hidden files are those of work under way.
        plain = f"%2E{plain[1:]}"
    name, number = plain, 2
    while name in taken or name in RESERVED:
        name, number = f"{number}.{plain}", number + 1
    return name


def check_inside(pipeline: EasyRecConfig, folder: Path) -> None:
    """Holds the configuration of an exported folder to the files of this folder.

    Raises:
        UserError: it names a file elsewhere, by a path or by a link, or one that is not there.
    """
    for _, feature, name in features(pipeline):
        normalizer = getattr(feature, "text_normalizer", None)
        for field, given in (
            ("vocab_file", getattr(feature, "vocab_file", "")),
            ("stop_char_file", normalizer.stop_char_file if normalizer is not None else ""),
        ):
            if not given:
                continue
            where = f'{folder / CONFIG}: feature "{name}", {field} "{given}"'
            if not is_plain(given) or not (folder / given).resolve().is_relative_to(folder.resolve()):
                raise UserError(
                    f"{where}: an exported folder reads its own files only, by their names without a path; "
                    "take the folder from who exported it, or export again"
                )
            if not (folder / given).is_file():
                raise UserError(f"{where}: the folder has no such file; {AGAIN}")


def is_plain(name: str) -> bool:
    """Whether a name is that of an entry of the folder itself."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\0"}


def find_assets(text: str | None, pipeline: EasyRecConfig) -> list[Path]:
    """The files of --asset_files, which are copied into each exported folder under their own names.

    Raises:
        UserError: a name that is empty, no file that can be read, given twice, or that the folder uses.
    """
    if not (text or "").strip():
        return []
    words = [word.strip() for word in (text or "").split(",")]
    if "" in words:
        raise UserError(
            f'--asset_files: "{text}" has an empty name between its commas; give names of files, such as a,b'
        )
    carried = carry(pipeline)[1]
    assets: dict[str, Path] = {}
    for word in words:
        path = Path(word)
        name = path.name
        if path.is_dir():
            raise UserError(f"--asset_files: {word} is a folder; give the files in it")
        if not path.is_file():
            raise UserError(f"--asset_files: {word} is no file; give names of files, comma separated")
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            raise UserError(
                f"--asset_files: {word}: {error.strerror}; give a file that can be read"
            ) from None
        if name in RESERVED or name in carried:
            raise UserError(
                f'--asset_files: {word}: the exported folder has a file "{name}" of its own; '
                "rename yours or leave it out"
            )
        for other in assets.values():
            if os.path.samefile(other, path):
                raise UserError(f"--asset_files: {other} and {word} are one file; give it once")
        if name in assets:
            raise UserError(
                f'--asset_files: {assets[name]} and {word} are both named "{name}"; rename one of them'
            )
        assets[name] = path
    return list(assets.values())


def write_file(path: Path, data: bytes) -> str:
    """Writes a new file and syncs it to the disk; returns its CRC-32 as `runtime.checksum` gives it.

    Raises:
        OSError: the file cannot be written; it names the file.
    """
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    return f"{zlib.crc32(data):08x}"


def copy_file(source: Path, path: Path) -> str:
    """Copies a file with its times and permissions to a new one; returns the CRC-32 of what was read.

    Raises:
        OSError: which of the two cannot be read or written.
    """
    value, at = 0, path
    try:
        with open(path, "xb") as target:
            at = source
            with open(source, "rb") as file:
                while block := file.read(BLOCK):
                    at, value = path, zlib.crc32(block, value)
                    target.write(block)
                    at = source
            at = path
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(at)) from None
    # Some file systems keep neither; the content is what counts.
    with contextlib.suppress(OSError):
        shutil.copystat(source, path)
    return f"{value:08x}"
