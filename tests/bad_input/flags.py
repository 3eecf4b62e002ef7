"""Flags: missing, unknown, misspelt, empty, of another type, out of range, at odds with one another."""

# ruff: noqa: E501 (tables: a row an attack)

from tests.bad_input.row import MODULES, row

HELP = "--help"

# A flag that each command must be given.
REQUIRED = {
    "train": ("--pipeline_config_path",),
    "eval": ("--pipeline_config_path",),
    "export": ("--pipeline_config_path", "--export_dir"),
    "predict": ("--scripted_model_path", "--predict_input_path", "--predict_output_path"),
    "hitrate": ("--user_gt_input", "--item_embedding_input"),
    "index": ("--embedding_input_path", "--index_output_dir"),
    "tutorial": ("--work_dir",),
}

# A misspelt flag and the one that was meant.
MISSPELT = {
    "train": ("--model_dirr x", "--model_dir"),
    "eval": ("--checkpoint-path x", "--checkpoint_path"),
    "export": ("--asset_file x", "--asset_files"),
    "predict": ("--reserve_columns x", "--reserved_columns"),
    "hitrate": ("--topk 5", "--top_k"),
    "index": ("--nlist 5", "--ivf_nlist"),
    "tutorial": ("--procesess 5", "--processes"),
}

ROWS = [
    *(
        row(command, f"no {flag}", flag, HELP, drop=flag)
        for command, wanted in REQUIRED.items()
        for flag in wanted
    ),
    *(
        row(command, f"the misspelt flag {words}", (f"unknown flag {words.split()[0]}", f'"{meant}"'), HELP, words)
        for command, (words, meant) in MISSPELT.items()
    ),
    *(
        row(command, "a flag that nobody has", "unknown flag --frobnicate", HELP, "--frobnicate=1")
        for command in sorted(set(MODULES) - {"prepare"})
    ),
    *(
        row(command, "a word that a shell made of a glob", ('"b.parquet"', "glob"), "quotes", "b.parquet")
        for command in ("train", "eval", "export", "predict", "hitrate", "index")
    ),
    row("train", "a flag without its value", "--model_dir", HELP, "--model_dir"),
    row("predict", "a flag without its value", "--batch_size", HELP, "--batch_size"),
    row("train", "a value for a switch", "--continue_train", HELP, "--continue_train=yes"),
    # Numbers of predict.
    *(
        row("predict", f"--{flag} {value}", (f"--{flag}", value), "1 or more", f"--{flag} {value}")
        for flag in ("batch_size", "predict_threads", "predict_steps")
        for value in ("0", "-3")
    ),
    *(
        row("predict", f"--{flag} {value}", (f"--{flag}", value), HELP, f"--{flag} {value}")
        for flag, value in (("batch_size", "many"), ("predict_threads", "1.5"), ("predict_steps", "1e3"))
    ),
    row("predict", "--batch_size ''", "--batch_size", HELP, "--batch_size ''"),
    row("predict", "--debug_level high", ("--debug_level", "high"), HELP, "--debug_level high"),
    row("predict", "--dataset_type CsvDataset", ("--dataset_type", "CsvDataset"), "ParquetDataset", "--dataset_type CsvDataset"),
    row("predict", "--writer_type OdpsWriter", ("--writer_type", "OdpsWriter"), "ParquetWriter", "--writer_type OdpsWriter"),
    row("predict", "an output that is not there", ("--output_columns", '"user_tower_em"'), 'did you mean "user_tower_emb"', "--output_columns user_tower_em"),
    row("predict", "the output of the other tower", ("--output_columns", '"item_tower_emb"'), "user_tower_emb", "--output_columns item_tower_emb"),
    row("predict", "a kept column that is not there", 'no column "user_idd"', 'did you mean "user_id"', "--reserved_columns user_idd"),
    row("predict", "edits that are no JSON", "--edit_config_json", "JSON", "--edit_config_json '{oops'"),
    row("predict", "an edit of a field that is not there", ("--edit_config_json", "batchsize"), "batch_size", """--edit_config_json '{"data_config.batchsize": 5}'"""),
    # Numbers of hitrate.
    *(
        row("hitrate", f"--{flag} {value}", (f"--{flag}", f'"{value}"'), "at least 1", f"--{flag}={value}")
        for flag in ("batch_size", "top_k", "ivf_nlist", "ivf_nprobe", "num_interests", "shard_items")
        for value in ("0", "-1", "x")
    ),
    row("hitrate", "--top_k 5,", ("--top_k", '""'), "at least 1", "--top_k 5,"),
    row("hitrate", "--top_k ''", ("--top_k", '""'), "at least 1", "--top_k ''"),
    row("hitrate", "an index type that is not there", ("--index_type", "IVFFlatCosine"), "IVFFlatIP", "--index_type IVFFlatCosine"),
    row("hitrate", "a measure that is not there", ("--metrics", '"recal"'), "ndcg", "--metrics recal"),
    row("hitrate", "most popular items of no table", "--metrics popular", "give --popularity_input", "--metrics popular"),
    row("hitrate", "a field of no table", "--popularity_field", "--popularity_input", "--popularity_field item_id"),
    row("hitrate", "a table that nothing uses", "--popularity_input", "--report", "--popularity_input train", drop="--report"),
    row("hitrate", "what is popular in a table that is not there", ("--popularity_input", "nowhere"), "give", "--metrics popular --popularity_input nowhere"),
    row("hitrate", "what is popular by a column that is not there", 'no column "itemid"', "item_id", "--metrics popular --popularity_input train --popularity_field itemid"),
    row("hitrate", "ranked measures of several lists", ("--metrics", "mrr"), "--topk_across_interests", "--num_interests 2 --metrics mrr"),
    row("hitrate", "--reader_type OdpsReader", ("--reader_type", "OdpsReader"), "ParquetReader", "--reader_type OdpsReader"),
    row("hitrate", "--writer_type CsvWriter", ("--writer_type", "CsvWriter"), "ParquetWriter", "--writer_type CsvWriter"),
    *(
        row("hitrate", f"--{flag} that the table lacks", ('no column "nothing"', file), "the table has", f"--{flag} nothing")
        for flag, file in (
            ("item_id_field", "item_emb/"),
            ("item_embedding_field", "item_emb/"),
            ("request_id_field", "user_emb/"),
            ("gt_items_field", "user_emb/"),
            ("user_embedding_field", "user_emb/"),
            ("exclude_items_field", "user_emb/"),
            ("num_interests_field", "user_emb/"),
        )
    ),
    # Numbers of the index.
    *(
        row("index", f"--{flag} {value}", (f"--{flag}", f'"{value}"'), "at least 1", f"--{flag}={value}")
        for flag in ("batch_size", "ivf_nlist", "hnsw_M", "hnsw_efConstruction")
        for value in ("0", "-7", "2.5")
    ),
    row("index", "an index type misspelt", ("--index_type", "IVFFlatIPP"), "IVFFlatIP", "--index_type IVFFlatIPP"),
    row("index", "an index type that faiss does not know", ("--index_type", "NOPE"), "IVFFlatIP", "--index_type NOPE"),
    row("index", "an empty index type", "--index_type", "IVFFlatIP", "--index_type ''"),
    row("index", "codes that do not divide the vectors", ("--index_type", "PQ3"), "IVFFlatIP", "--index_type PQ3"),
    row("index", "a metric beside a type that has one", ("--metric", "FlatIP"), "leave the flag out", "--index_type FlatIP --metric L2"),
    row("index", "a metric that is not there", ("--metric", "COSINE"), HELP, "--metric COSINE"),
    row("index", "--reader_type OdpsReader", ("--reader_type", "OdpsReader"), "ParquetReader", "--reader_type OdpsReader"),
    row("index", "links beyond measure", "memory", "ask for less", "--index_type HNSWFlatIP --hnsw_M 100000000"),
    row("index", "an id column that is not there", 'no column "itemid"', 'did you mean "item_id"', "--id_field itemid"),
    row("index", "a column of vectors that is not there", 'no column "emb"', "the table has", "--embedding_field emb"),
    row("index", "ids taken for vectors", ('"item_id"', "--embedding_input_path"), "list", "--embedding_field item_id"),
    row("index", "vectors taken for ids", ('"item_tower_emb"', "--embedding_input_path"), "id", "--id_field item_tower_emb"),
    # Inputs.
    row("train", "a training table that is not there", ("train_input_path", "nowhere.parquet", "matches no file"), "give a file", "--train_input_path nowhere.parquet"),
    row("train", "an evaluation table that is not there", ("eval_input_path", "none/*.parquet", "matches no file"), "give a file", "--eval_input_path 'none/*.parquet'"),
    row("train", "an empty path", "train_input_path", "--help", "--train_input_path ''"),
    row("train", "a configuration that is not there", "nowhere.config", "give", "--pipeline_config_path nowhere.config"),
    row("train", "a folder for a configuration", "train", "give", "--pipeline_config_path train"),
    row("train", "an empty path for a configuration", "--pipeline_config_path", "--help", "--pipeline_config_path ''"),
    row("train", "a parquet file for a configuration", "train/a.parquet", "UTF-8", "--pipeline_config_path train/a.parquet"),
    row("train", "a checkpoint to fine-tune that is not there", "nowhere", "checkpoint", "--fine_tune_checkpoint nowhere"),
    row("eval", "an evaluation table that is not there", ("eval_input_path", "nowhere"), "give a file", "--eval_input_path nowhere"),
    row("eval", "a checkpoint that is not there", "trained/model.ckpt-7", "model.ckpt-16", "--checkpoint_path trained/model.ckpt-7"),
    row("eval", "an empty checkpoint path", "--checkpoint_path", "--help", "--checkpoint_path ''"),
    row("eval", "a file for a checkpoint", "negatives.txt", "model.ckpt-16", "--checkpoint_path negatives.txt"),
    row("export", "a checkpoint that is not there", "trained/model.ckpt-7", "model.ckpt-16", "--checkpoint_path trained/model.ckpt-7"),
    row("export", "a model_dir without checkpoints", ("model", "holds no checkpoint"), "train first", "--pipeline_config_path pipeline.config"),
    row("export", "an asset that is not there", ("--asset_files", "nowhere.txt"), "give", "--asset_files nowhere.txt"),
    row("export", "a folder for an asset", ("--asset_files", "train"), "give", "--asset_files train"),
    row("predict", "a table that is not there", ("--predict_input_path", "nowhere"), "give a file", "--predict_input_path nowhere"),
    row("predict", "an empty path of the table", "--predict_input_path", "--help", "--predict_input_path ''"),
    row("predict", "a model that is not there", ("--scripted_model_path", "nowhere"), "give a folder", "--scripted_model_path nowhere"),
    row("predict", "the folder above the model", ("--scripted_model_path", "export"), "export/user", "--scripted_model_path export"),
    row("predict", "a checkpoint for a model", ("--scripted_model_path", "trained/model.ckpt-16"), "tzrec.export", "--scripted_model_path trained/model.ckpt-16"),
    row("predict", "a file for a model", "--scripted_model_path", "give", "--scripted_model_path export/user/scripted_model.pt"),
    row("predict", "an empty path of the model", "--scripted_model_path", "--help", "--scripted_model_path ''"),
    row("hitrate", "user vectors that are not there", ("--user_gt_input", "nowhere"), "give a file", "--user_gt_input nowhere"),
    row("hitrate", "item vectors that are not there", ("--item_embedding_input", "nowhere"), "give a file", "--item_embedding_input nowhere"),
    row("hitrate", "a folder without parquet", ("--item_embedding_input", "trained"), "give a file", "--item_embedding_input trained"),
    row("index", "vectors that are not there", ("--embedding_input_path", "nowhere"), "give a file", "--embedding_input_path nowhere"),
    row("index", "a kind of URL that nobody has", "gopher://x/y", "not known", "--embedding_input_path gopher://x/y"),
]  # fmt: skip
