from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.preparation.support import config, negatives, read, rows
from tzrec.preparation import ads, taobao
from tzrec.runtime.errors import UserError

SHANGHAI = timezone(timedelta(hours=8))
PROFILE_HEADER = (
    "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
    "new_user_class_level "
)


def seconds(day: int, hour: int, minute: int = 0, second: int = 0) -> int:
    return int(datetime(2017, 5, day, hour, minute, second, tzinfo=SHANGHAI).timestamp())


SAMPLE = [
    "user,time_stamp,adgroup_id,pid,nonclk,clk",
    f"1,{seconds(12, 23, 59, 59)},10,430548_1007,0,1",
    f"1,{seconds(13, 0)},11,430539_1007,0,1",
    f"2,{seconds(6, 0)},10,430548_1007,0,1",
    f"2,{seconds(5, 23, 59, 59)},10,430548_1007,0,1",
    f"3,{seconds(13, 23, 59, 59)},10,430548_1007,0,1",
    f"3,{seconds(14, 0)},10,430548_1007,0,1",
    f"3,{seconds(8, 12)},12,430548_1007,1,0",
    f"3,{seconds(8, 12)},99,430548_1007,0,1",
    f"9,{seconds(7, 1)},12,430539_1007,0,1",
]
ADS = [
    "adgroup_id,cate_id,campaign_id,customer,brand,price",
    "12,3,30,300,NULL,99.5",
    "10,1,10,100,7,170.0",
    "11,2,20,200,,100000000.0",
]
PROFILES = [PROFILE_HEADER, "2,0,5,2,5,,3,0,3", "1,97,12,1,6,2,1,1,", "3,1,1,2,1,1,1,0,4"]


def write_source(folder: Path, **changed: list[str]) -> Path:
    folder.mkdir()
    files = {"raw_sample": SAMPLE, "ad_feature": ADS, "user_profile": PROFILES} | changed
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def prepare(tmp_path: Path, **changed: list[str]) -> Path:
    source = write_source(tmp_path / "in", **changed)
    (tmp_path / "out").mkdir()
    taobao.write(tmp_path / "out", "data/taobao", str(source), 1.0)
    return tmp_path / "out"


@pytest.fixture
def written(tmp_path):
    return prepare(tmp_path)


def test_days_are_those_of_shanghai(written, capsys):
    columns = ("user_id", "adgroup_id", "time_stamp")
    assert rows(read(written / "train"), *columns) == [
        (2, 10, seconds(6, 0)),
        (9, 12, seconds(7, 1)),
        (1, 10, seconds(12, 23, 59, 59)),
    ]
    assert rows(read(written / "eval"), *columns) == [
        (1, 11, seconds(13, 0)),
        (3, 10, seconds(13, 23, 59, 59)),
    ]


def test_what_is_left_out_is_said(tmp_path, capsys):
    prepare(tmp_path)
    said = capsys.readouterr().out
    assert "Left out: 2 clicks outside" in said
    assert "Left out: 1 clicks on ads" in said


def test_rows_are_joined_and_gaps_are_null(written):
    train = read(written / "train")
    assert train.schema.equals(ads.ROW_SCHEMA)
    user_2, user_9, user_1 = rows(train, *ads.USER_BUCKETS)
    assert user_1 == (1, 97, 12, 1, 6, 2, 1, 1, None)
    assert user_2 == (2, 0, 5, 2, 5, None, 3, 0, 3)
    assert user_9 == (9, *[None] * 8)
    assert rows(train, *ads.ITEM_COLUMNS)[1] == (12, 3, 30, 300, None, 99.5)
    assert rows(train, "pid", "clk") == [("430548_1007", 1), ("430539_1007", 1), ("430548_1007", 1)]


def test_items_and_negatives(written):
    assert rows(read(written / "item"), *ads.ITEM_COLUMNS) == [
        (10, 1, 10, 100, 7, 170.0),
        (11, 2, 20, 200, None, 100000000.0),
        (12, 3, 30, 300, None, 99.5),
    ]
    lines = negatives(written / "negatives.txt")
    assert [(key, weight) for key, weight, _ in lines] == [(10, 3), (11, 1), (12, 2)]
    assert lines[0][2] == ["10", "1", "10", "100", "7", "170"]
    assert lines[2][2] == ["12", "3", "30", "300", "", "99.5"]


def test_the_tutorials_configuration_is_the_one_that_is_generated(written):
    generated = config(written / "pipeline.config")
    tutorial = config(Path(__file__).resolve().parents[2] / "configs" / "dssm_taobao_local.config")
    assert generated.train_input_path == "data/taobao/train/*.parquet"
    assert tutorial.train_input_path == "data/taobao_data_recall_train/*.parquet"
    assert tutorial.data_config.negative_sampler.input_path == "data/taobao_ad_feature_gl"
    for pipeline in (generated, tutorial):
        for name in ("train_input_path", "eval_input_path", "model_dir"):
            setattr(pipeline, name, "")
        pipeline.data_config.negative_sampler.input_path = ""
    assert generated == tutorial


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("raw_sample", "1,2,3", r"raw_sample\.csv:11: 3 fields"),
        ("raw_sample", "x,1494000000,10,p,0,1", r'raw_sample\.csv:11: user is "x", which is no int64'),
        ("raw_sample", "1,1494000000,10,p,1,2", r"raw_sample\.csv:11: clk is 2"),
        ("raw_sample", "1,,10,p,0,1", r"raw_sample\.csv:11: time_stamp is missing"),
        ("ad_feature", "13,1,1,1,1,dear", r'ad_feature\.csv:5: price is "dear"'),
        (
            "ad_feature",
            "10,1,1,1,1,1",
            r"ad_feature\.csv:5: adgroup_id 10 stands there twice, first in line 3",
        ),
        ("user_profile", ",1,1,1,1,1,1,1,1", r"user_profile\.csv:5: userid is missing"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, name, line, message):
    lines = {"raw_sample": SAMPLE, "ad_feature": ADS, "user_profile": PROFILES}[name]
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, **{name: [*lines, line]})


def test_a_malformed_line_in_a_later_block_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tzrec.preparation.taobao_files.BLOCK_BYTES", 200)
    many = [f"{user},1,1,1,1,1,1,1,1" for user in range(10, 200)]
    with pytest.raises(UserError, match=r'user_profile\.csv:195: age_level is "x"'):
        prepare(tmp_path, user_profile=[*PROFILES, *many, "5,1,1,1,x,1,1,1,1", "6,1,1,1,1,1,1,1,1"])


def test_another_header_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ad_feature\.csv:1: the header is 'adgroup_id,cate'"):
        prepare(tmp_path, ad_feature=["adgroup_id,cate", "1,2"])


def test_no_click_to_train_on(tmp_path):
    with pytest.raises(UserError, match="no click of 2017-05-06 to 2017-05-12"):
        prepare(tmp_path, raw_sample=[SAMPLE[0], SAMPLE[2]])
    write_source(tmp_path / "other", raw_sample=SAMPLE[:2])
    with pytest.raises(UserError, match="no click of 2017-05-13"):
        taobao.write(tmp_path / "out", "x", str(tmp_path / "other"), 0.0)


def test_a_missing_file(tmp_path):
    source = write_source(tmp_path / "in")
    (source / "ad_feature.csv").rename(source / "ad_features.csv")
    with pytest.raises(UserError, match=r'lacks ad_feature\.csv; did you mean "ad_features\.csv"\?'):
        taobao.write(tmp_path, "x", str(source), 0.0)
    with pytest.raises(UserError, match="is no folder"):
        taobao.write(tmp_path, "x", str(tmp_path / "none"), 0.0)


def test_files_with_a_header_only(tmp_path):
    out = prepare(tmp_path, user_profile=[PROFILE_HEADER])
    assert rows(read(out / "train"), "user_id", "age_level") == [(2, None), (9, None), (1, None)]
    with pytest.raises(UserError, match="no click"):
        taobao.write(tmp_path, "x", str(write_source(tmp_path / "b", raw_sample=SAMPLE[:1])), 0.0)
