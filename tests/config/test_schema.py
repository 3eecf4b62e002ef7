"""The schema files against the contract: a sample written by hand, and every row where there is one."""

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from tzrec.protos.pipeline_pb2 import EasyRecConfig

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "spec" / "config_schema.md"
POOL = descriptor_pool.Default()

# message, number, field, kind, type, default: one of every sort, and those that are easy to get wrong.
SAMPLE = """
EasyRecConfig 1 train_input_path req string
EasyRecConfig 8 feature_configs rep FeatureConfig
TrainConfig 5 save_checkpoints_steps opt uint32 1000
TrainConfig 22 save_checkpoints_timestamps rep uint64
GradClipping 1 clipping_type opt string none
SparseOptimizer 103 manual_step_learning_rate oneof:learning_rate ManualStepLR
FusedRowWiseAdagradOptimizer 3 weight_decay_mode opt WeightDecayMode NONE
AdagradOptimizer 4 eps opt float 1e-10
PartOptimizer 5 regex_pattern req string
FeatureConfig 113 sequence_combine_feature oneof:feature CombineFeature
IdFeature 4 embedding_dim req uint32
IdFeature 8 vocab_dict map map<string,uint64>
IdFeature 12 separator opt string \\x1d
IdFeature 102 sequence_delim opt string ;
RawFeature 6 value_dim opt uint32 1
LookupFeature 2 map req string
CombineFeature 6 value_map map map<string,float>
SequenceFeature 3 sequence_delim req string ;
DataConfig 2 dataset_type req DatasetType OdpsDataset
DataConfig 4 fg_encoded_multival_sep opt string \\x03
DataConfig 20 fg_mode opt FgMode FG_NONE
DataConfig 104 hard_negative_sampler_v2 oneof:sampler HardNegativeSamplerV2
NegativeSampler 5 attr_delimiter opt string :
ModelConfig 301 dssm oneof:model DSSM
ModelConfig 12 kernel opt Kernel PYTORCH
STU 13 contextual_seq_len opt int32 -1
DSSM 4 similarity opt Similarity INNER_PRODUCT
HSTUMatch 6 item_tower req Tower
MINDUserTower 5 user_seq_combine opt UserSeqCombineMethod SUM
NormalizedEntropy 1 eta opt float 1e-12
"""

ENUMS = {
    "DatasetType": "OdpsDataset=1, ParquetDataset=2, CsvDataset=3, OdpsDatasetV1=4, KafkaDataset=5",
    "FgMode": "FG_NONE=1, FG_NORMAL=2, FG_DAG=3, FG_BUCKETIZE=4",
    "Similarity": "COSINE=0, INNER_PRODUCT=1, EUCLID=2",
    "WeightDecayMode": "NONE=0, L2=1, DECOUPLE=2",
    "MINDUserTower.UserSeqCombineMethod": "CONCAT=0, SUM=1",
}

SCALARS = {3: "int64", 4: "uint64", 5: "int32", 13: "uint32", 2: "float", 1: "double", 8: "bool", 9: "string"}


def kind_of(field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "map"
    if field.containing_oneof is not None:
        return f"oneof:{field.containing_oneof.name}"
    return "rep" if field.is_repeated else "req" if field.is_required else "opt"


def type_of(field):
    if kind_of(field) == "map":
        key, value = (type_of(field.message_type.fields_by_name[n]) for n in ("key", "value"))
        return f"map<{key},{value}>"
    named = field.message_type or field.enum_type
    return named.name if named else SCALARS[field.type]


def default_of(field, wanted):
    """The default as the contract spells it."""
    if not field.has_default_value:
        return ""
    value = field.default_value
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return wanted if abs(value - float(wanted or "nan")) <= 1e-6 * abs(value) else str(value)
    return re.sub(r"[\x00-\x1f]", lambda m: f"\\x{ord(m[0]):02x}", str(value))


def check_row(message, number, name, kind, kind_of_value, default):
    field = POOL.FindMessageTypeByName(f"tzrec.protos.{message}").fields_by_name[name]
    found = (field.number, kind_of(field), type_of(field), default_of(field, default))
    assert found == (number, kind, kind_of_value, default), f"{message}.{name}"


def check_enum(name, values):
    enum = POOL.FindEnumTypeByName(f"tzrec.protos.{name}")
    assert ", ".join(f"{v.name}={v.number}" for v in enum.values) == values, name


@pytest.mark.parametrize("row", SAMPLE.strip().splitlines())
def test_sample(row):
    message, number, name, kind, kind_of_value, *default = row.split()
    check_row(
        message, int(number), name, kind, kind_of_value, default[0].replace("\\\\", "\\") if default else ""
    )


@pytest.mark.parametrize("name", ENUMS)
def test_enums(name):
    check_enum(name, ENUMS[name])


def test_default_separators_are_control_characters():
    config = EasyRecConfig()
    assert config.data_config.fg_encoded_multival_sep == "\x03"
    assert config.feature_configs.add().id_feature.separator == "\x1d"


@pytest.mark.skipif(not CONTRACT.exists(), reason="skipped: no real data")
def test_every_row_of_the_contract():
    message, file, wanted, messages = "", "", {}, {}
    for line in CONTRACT.read_text().splitlines():
        if line.startswith("## "):
            file = line[3:].strip()
        elif found := re.match(r"\*\*enum (\w+)\*\*: (.*)$", line):
            check_enum(found[1], found[2])
        elif found := re.match(r"\*\*(\w+)\*\*$", line):
            message = found[1]
            wanted[message] = set()
            messages[message] = file
        elif found := re.match(r"\| (\d+) \| (\w+) \| (.*?) \| (.*?) \| ?(.*?) ?\|$", line):
            number, name, kind, kind_of_value, default = found.groups()
            nested = re.match(r"(\w+) \{(.*)\}", kind_of_value)
            if nested:
                check_enum(f"{message}.{nested[1]}", nested[2])
                kind_of_value = nested[1]
            check_row(message, int(number), name, kind.replace(" ", ":"), kind_of_value, default.strip("`"))
            wanted[message].add(name)
    for message, fields in wanted.items():
        descriptor = POOL.FindMessageTypeByName(f"tzrec.protos.{message}")
        # Fields of our own have numbers from 1001 on.
        assert {f.name for f in descriptor.fields if f.number < 1000} == fields, message
        assert descriptor.file.name == f"tzrec/protos/{messages[message]}"
    assert len(wanted) > 100
