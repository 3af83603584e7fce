from dast_jax.data.contamination import find_overlap
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
