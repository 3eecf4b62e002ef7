"""What a row of the tables is, and the folder it spoils."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MODULES = {
    "train": "tzrec.train_eval",
    "eval": "tzrec.eval",
    "export": "tzrec.export",
    "predict": "tzrec.predict",
    "hitrate": "tzrec.tools.hitrate",
    "index": "tzrec.tools.create_faiss_index",
    "prepare": "tzrec.tools.prepare_data",
    "tutorial": "tzrec.tools.tutorial",
}

# Words of each command that succeed in an unspoilt desk; a row adds its own behind them.
GOOD = {
    "train": "--pipeline_config_path pipeline.config",
    "eval": "--pipeline_config_path trained/pipeline.config",
    "export": "--pipeline_config_path trained/pipeline.config --export_dir out",
    "predict": (
        "--scripted_model_path export/user --predict_input_path eval/*.parquet --predict_output_path out "
        "--reserved_columns user_id,item_id --output_columns user_tower_emb"
    ),
    "hitrate": (
        "--user_gt_input user_emb/*.parquet --item_embedding_input item_emb/*.parquet "
        "--item_id_field item_id --request_id_field user_id --gt_items_field item_id --top_k 5 --ivf_nlist 4 "
        "--total_hitrate_output out --hitrate_details_output details --report page.html"
    ),
    "index": (
        "--embedding_input_path item_emb/*.parquet --index_output_dir out --id_field item_id "
        "--embedding_field item_tower_emb --ivf_nlist 4"
    ),
    "prepare": "",
    "tutorial": "demo --work_dir out",
}


class Desk:
    """The folder that a row spoils and its command runs in; every path of a row is relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces the first `old` in a text file; it must be there."""
        text = (self / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (self / name).write_text(text.replace(old, new, 1))

    def remove(self, name: str) -> None:
        """Removes files (a glob) or a folder."""
        found = list(self.root.glob(name))
        assert found, f"no {name}"
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


Spoil = Callable[[Desk], None]


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        command: of MODULES.
        attack: what is wrong, as a person would say it; unique among the rows of a command.
        says: texts that the line must hold: the file, field, flag or value, and what was found.
        step: a text of the line that says what to do next.
        words: put behind the good words of the command (the last of a doubled flag counts).
        drop: flags of the good words, with their values, that are left out.
        spoil: what is done to the desk.
        ranks: processes.
        environment: variables of the run.
        leaves: globs of what may be there afterwards and was not before, such as checkpoints that were
            whole before a fault showed.
        file_limit: bytes that no file of the run may exceed; 0 for no limit.
    """

    command: str
    attack: str
    says: tuple[str, ...]
    step: str
    words: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    spoil: Spoil | None = None
    ranks: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    file_limit: int = 0

    @property
    def name(self) -> str:
        ranks = f", {self.ranks} processes" if self.ranks > 1 else ""
        return f"{self.command}: {self.attack}{ranks}"

    def argv(self) -> list[str]:
        """All words of the run."""
        words = shlex.split(GOOD[self.command])
        for flag in self.drop:
            at = words.index(flag)
            stop = at + 1
            while stop < len(words) and not words[stop].startswith("--"):
                stop += 1
            del words[at:stop]
        return words + list(self.words)


def row(
    command: str,
    attack: str,
    says: str | tuple[str, ...],
    step: str,
    words: str | tuple[str, ...] = (),
    spoil: Spoil | None = None,
    drop: str = "",
    **more: object,
) -> Row:
    """A row, with its words as a shell would split them."""
    return Row(
        command,
        attack,
        (says,) if isinstance(says, str) else says,
        step,
        tuple(shlex.split(words)) if isinstance(words, str) else words,
        tuple(drop.split()),
        spoil,
        **more,  # type: ignore[arg-type]
    )
