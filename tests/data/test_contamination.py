import pytest

from dast_jax.data.contamination import find_ngrams, find_overlap
from dast_jax.records import Query


def queries(prefix, questions):
    return [Query(id=f"{prefix}{i}", question=q, answer="1") for i, q in enumerate(questions)]


def test_exact_and_normalized_overlap_is_counted_and_named():
    train = queries("t", ["How many?", "(7+12)*3=?", "What is x²?"])
    test = queries("e", ["how  many? ", "(7-12)*3=?", "How many?", "What is x2?", "Why?"])
    overlap = find_overlap(train, test)
    assert [(a.id, b.id) for a, b in overlap.pairs] == [("e0", "t0"), ("e2", "t0")]
    assert (overlap.count, overlap.exact) == (2, 1)
    text = overlap.message("train.jsonl", "test.jsonl")
    assert text == "2 questions of test.jsonl also appear in train.jsonl (1 word for word): e0, e2"


def test_message_names_the_first_five():
    same = [f"question {i}" for i in range(9)]
    text = find_overlap(queries("t", same), queries("e", same)).message("a", "b")
    assert text.startswith("9 questions of b")
    assert text.endswith("e0, e1, e2, e3, e4, …")


def test_no_overlap():
    assert find_overlap(queries("t", ["a"]), queries("e", ["b"])).count == 0


# --- n-grams of 8 words ---


def test_shares_of_ngrams_by_hand():
    train = queries("t", ["a b c d e f g h i j", "x b c d e f g h i y"])
    test = queries(
        "e",
        [
            "A b, C d e f g h i j",
            "A b c d e f g h i j",
            "z b c d e f g h i j",
            "a b c d e f g h 1 2 3",
            "a b",
        ],
    )
    found = find_ngrams(train, test)
    # e0: 11 words with the comma, 4 8-grams, of which only "c … j" is seen; e1: all 3; e2: 2 of 3
    # ("b … i", "c … j"); e3: "a … h" of 4; e4 has fewer than 8 words.
    assert [(query.id, share) for query, share in found.seen] == [("e1", 1.0), ("e2", pytest.approx(2 / 3))]
    assert found.mean_share == pytest.approx((1 / 4 + 1 + 2 / 3 + 1 / 4) / 4)
    assert found.short == 1
    assert found.message("train.jsonl", "test.jsonl") == (
        "2 questions of test.jsonl share at least 50% of their 8-grams with questions of train.jsonl: "
        "e1 (100%), e2 (67%)"
    )


def test_a_changed_number_is_seen_and_a_changed_calculation_is_not():
    train = queries(
        "t", ["Tom has 3 red apples and buys 14 more in the shop. How many does he have now in all?"]
    )
    test = queries(
        "e",
        [
            "Tom has 5 red apples and buys 14 more in the shop. How many does he have now in all?",
            "Ann has 3 green pears and buys 9 more at school. How many do they have then in all?",
        ],
    )
    assert [query.id for query, _ in find_ngrams(train, test).seen] == ["e0"]


def test_nothing_to_compare():
    found = find_ngrams(queries("t", ["a"]), queries("e", ["b"]))
    assert (found.seen, found.mean_share, found.short) == ((), None, 1)
    assert find_ngrams([], []).mean_share is None
