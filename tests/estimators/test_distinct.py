import numpy as np

from dast_jax.estimators.distinct import normalize_text, response_key, response_keys, usable
from dast_jax.records import FinishReason
from tests.estimators.response_columns import columns


def test_keys_ignore_case_and_white_space_only():
    same = ["The answer is 5.", " the  answer\nis 5. ", "THE ANSWER IS 5.\n"]
    assert len({response_key(t) for t in same}) == 1
    different = ["7+12", "7-12", "712", "7 + 12", "7+12.", "", "\ud800"]
    assert len({response_key(t) for t in different}) == len(different)
    assert normalize_text(" A\tb\n") == "a b"
    keys = response_keys(same + different)
    assert keys.dtype == np.uint64
    assert [format(k, "016x") for k in keys] == [response_key(t) for t in same + different]
    assert len(response_keys([])) == 0


def test_usable_is_correct_and_whole():
    assert usable(columns([0, 0], [True, False], "ab")).tolist() == [True, False]
    assert usable(columns([0, 0], [True, True], "ab", FinishReason.STOP)).tolist() == [True, True]
    assert not usable(columns([0, 0], [True, True], "ab", FinishReason.LENGTH)).any()
