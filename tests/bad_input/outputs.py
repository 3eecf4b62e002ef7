"""Places for what a command writes: taken, no folder, a URL, not to be written, too long, inside another, full."""

# ruff: noqa: E501 (tables: a row an attack)

from tests.bad_input.row import Desk, row

LONG = "x" * 300
# command -> flags of folders that it writes
FOLDERS = {
    "export": ("--export_dir",),
    "predict": ("--predict_output_path",),
    "hitrate": ("--total_hitrate_output", "--hitrate_details_output"),
    "index": ("--index_output_dir",),
    "prepare": ("--output_dir",),
    "tutorial": ("--work_dir",),
    "train": ("--model_dir",),
}
FIRST = {"prepare": "demo --users 50 --items 20 --train_rows 100 --eval_users 5 "}
# These write among what is there.
MIXED = {"index", "train"}


def taken(desk: Desk) -> None:
    (desk / "taken").mkdir()
    (desk / "taken" / "mine.txt").write_text("keep")


def file(desk: Desk) -> None:
    (desk / "file").write_text("keep")


ROWS = [
    *(
        row(command, f"{flag} {attack}", (flag, *says), step, f"{FIRST.get(command, '')}{flag} {value}", spoil=spoil)
        for command, flags in FOLDERS.items()
        for flag in flags
        for attack, value, spoil, says, step in (
            ("a folder that holds something", "taken", taken, ("taken",), "another"),
            ("a file", "file", file, ("file",), "give"),
            ("below a file", "file/out", file, ("file",), "give"),
            ("a URL", "s3://bucket/out", None, ("s3://bucket/out",), "local" if command in ("export", "predict", "prepare") else "folder"),
            ("empty", "''", None, (), "give"),
            ("a place that nobody can write", "/sys/out", None, ("/sys",), "can"),
            ("too long", LONG, None, (LONG[:40],), "shorter"),
            ("the root", "/", None, ("/",), "give"),
            ("this very folder", ".", None, (".",), "give"),
        )
        # Nor is a faulty version to write into the root of whoever runs the tests.
        if not (command in MIXED and attack in ("a folder that holds something", "this very folder", "the root"))
        and not (command == "train" and attack == "a place that nobody can write")
    ),
    row("train", "--model_dir a place that nobody can write", "/sys/out", "give", "--model_dir /sys/out"),
    row("hitrate", "details within the total", ("--hitrate_details_output", "--total_hitrate_output"), "lies within", "--hitrate_details_output out/details"),
    row("hitrate", "one folder for both", ("--hitrate_details_output", "--total_hitrate_output"), "lies within", "--hitrate_details_output out"),
    row("hitrate", "the report within the details", ("--report", "details"), "lies within", "--report details/page.html"),
    row("hitrate", "the report is there", ("--report", "file"), "does not exist yet", "--report file", spoil=file),
    row("hitrate", "the report is a folder", ("--report", "taken"), "does not exist yet", "--report taken", spoil=taken),
    row("hitrate", "the report below a file", ("--report", "file"), "give a path of folders", "--report file/page.html", spoil=file),
    row("hitrate", "the report is a URL", ("--report", "s3://bucket/page.html"), "give", "--report s3://bucket/page.html"),
    row("hitrate", "the report has an empty name", "--report", "--help", "--report ''"),
    row("hitrate", "the report has a name too long", ("--report", LONG[:40]), "shorter", f"--report {LONG}.html"),
    row("hitrate", "the total is the item vectors", ("--total_hitrate_output", "item_emb"), "another", "--total_hitrate_output item_emb"),
    row("index", "a folder where the index goes", "faiss_index", "give", spoil=lambda desk: (desk / "out/faiss_index").mkdir(parents=True)),
    row("index", "a folder where the ids go", "id_mapping", "give", spoil=lambda desk: (desk / "out/id_mapping").mkdir(parents=True)),
    row("predict", "the output is the input", ("--predict_output_path", "eval"), "another", "--predict_output_path eval"),
    row("predict", "the output is the exported model", ("--predict_output_path", "export/user"), "another", "--predict_output_path export/user"),
    row("export", "the export into its own model_dir", ("--export_dir", "trained"), "another", "--export_dir trained"),
    row("export", "an asset that would replace the model", ("--asset_files", "scripted_model.pt"), "name", "--asset_files assets/scripted_model.pt", spoil=lambda desk: ((desk / "assets").mkdir(), (desk / "assets/scripted_model.pt").write_text("x"))[0]),
    row("export", "an asset that would replace the configuration", ("--asset_files", "pipeline.config"), "name", "--asset_files pipeline.config"),
    row("export", "an asset that would replace fg.json", ("--asset_files", "fg.json"), "name", "--asset_files export/user/fg.json"),
    row("export", "two assets of one name", ("--asset_files", "a.parquet"), "name", "--asset_files train/a.parquet,eval/a.parquet"),
    row("export", "an asset named as the index", ("--asset_files", "faiss_index"), "name", "--asset_files faiss_index", spoil=lambda desk: (desk / "faiss_index").write_text("x") and None),
    row("eval", "a folder where the measures go", "trained", "give", spoil=lambda desk: (desk / "trained/eval_result.txt").mkdir()),
    row("train", "a folder where the measures go", "train_eval_result.txt", "give", spoil=lambda desk: (desk / "model/train_eval_result.txt").mkdir(parents=True), leaves=("model/model.ckpt-*", "model/model.ckpt-*/*")),
    row("train", "a model_dir of a URL in the configuration", ("model_dir", "s3://bucket/model"), "folder", spoil=lambda desk: desk.replace("pipeline.config", 'model_dir: "model"', 'model_dir: "s3://bucket/model"')),
    row("train", "an empty model_dir in the configuration", "model_dir", "give", spoil=lambda desk: desk.replace("pipeline.config", 'model_dir: "model"', 'model_dir: ""')),
    row("tutorial", "a folder that holds something else", ("--work_dir", "taken"), "give another folder", "--work_dir taken", spoil=taken),
    # Disks: no file may grow beyond some bytes, as on one that is full.
    row("train", "no room for a checkpoint", ("model/model.ckpt-8", "cannot be saved", "File too large"), "--continue_train", file_limit=8000, leaves=("model/train_eval_result.txt",)),
    row("train", "no room for the arrays of the pool", ("cache", "File too large"), "TZREC_CACHE_DIR", file_limit=1500),
    row("export", "no room for the model", ("out", "File too large"), "again", file_limit=9000),
    row("predict", "no room for the vectors", ("out", "File too large"), "again", file_limit=5000),
    row("hitrate", "no room for the vectors to search", "File too large", "TMPDIR", file_limit=5000),
    row("index", "no room for the index", ("out", "File too large"), "again", file_limit=5000),
    row("prepare", "no room for the tables", ("out", "File too large"), "again", "demo --output_dir out --users 500 --items 200 --train_rows 1000 --eval_users 50", file_limit=4000),
]  # fmt: skip
