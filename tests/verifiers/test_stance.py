"""Sentences that hold an answer and do not state it: supposed, asked, doubted, denied, bounded, a label.

Each template, with `@` for the answer, is tried with answers of every family it fits: none may be correct.
"""

from __future__ import annotations

import re

import pytest

from dast_jax.records import Verdict
from dast_jax.verifiers import Verifier, VerifierOptions
from dast_jax.verifiers.stance import states

ANY = r"""
    The answer would be @ if it were so. | The answer would be @ if x were larger. |
    The answer would have been @. | The answer would have been @ without the discount. |
    If it were so, the answer would be @. | If it is so, the answer is @. |
    If x = y, then the answer is @, but it is not so. | Had they left, the answer would be @. |
    The answer could be @. | The answer might be @. | The answer may be @. | The answer can be @. |
    The answer should be @ only if it rains. | The answer could well be @. | The answer could have been @. |
    The answer might have been @. | The answer is @ if it rains. | The answer is @ only if it rains. |
    The answer is @ unless it rains. | The answer is @ provided that it rains. |
    The answer is @ assuming that it rains. |
    The answer is @ when it rains and something else when it does not. | The answer is maybe @. |
    The answer is perhaps @. | The answer is possibly @. | The answer is, maybe, @. | Maybe the answer is @. |
    Perhaps the answer is @. | Possibly, the answer is @. | Suppose the answer is @. |
    Suppose that the answer is @. | Assume the answer is @. | Assume that the correct answer is @. |
    Assuming the answer is @, we check. | Let's say the answer is @. | Let us assume that the answer is @. |
    Imagine the answer is @. | We ask whether the answer is @. | We do not know whether the answer is @. |
    I doubt that the answer is @. | It is doubtful that the answer is @. | I doubt the answer is @. |
    I wonder if the answer is @. | I am not sure the answer is @. | I'm not sure if the answer is @. |
    I am not certain that the answer is @. | I don't think the answer is @. |
    I do not believe that the answer is @. | It is not true that the answer is @. |
    It is false that the answer is @. | It is wrong that the answer is @. |
    It cannot be that the answer is @. | There is no way the answer is @. |
    One might think that the answer is @. | One might think the answer is @, but it is not. |
    You could say that the answer is @. | Many would say the answer is @. | Some think the answer is @. |
    Some people believe that the answer is @. | People often think that the answer is @. |
    It is a common mistake that the answer is @. | A common mistake is to say that the answer is @. |
    A wrong answer is @. | The wrong answer is @. | An incorrect answer is @. | A tempting answer is @. |
    One possible answer is @. | A possible answer is @. | Is the answer @? | Is the answer: @? |
    The answer is @? | Could the answer be @? | The answer is @, right? | My first answer was @. |
    My first answer was @, which is wrong. | The answer is said to be @. | The answer was thought to be @. |
    The answer is supposed to be @. | The answer seems to be @, but it is not. |
    The answer is @, which is wrong. | The answer is @, but that is wrong. |
    The answer is @, but this is not correct. | The answer is @? No. | The answer is not @. |
    The answer isn't @. | The answer is anything but @. | The answer is far from @. | The answer can't be @. |
    The answer cannot be @. | The answer must not be @. | The answer will not be @. |
    The answer is no longer @. | The answer is neither @ nor anything else. |
    The answer is either @ or something else. | The answer is @ or something else. |
    The answer is @ or maybe not. | The answer is unknown; @ is a guess. |
    The answer is unclear, @ at a guess. | The answer is not clear: @ or else. |
    The answer is @ in some cases. | The answer depends: @ in some cases. | #### maybe @ | #### not @ |
    #### @ if it rains | #### could be @ | #### @?
"""

NUMBERS = r"""
    The answer is @ dozen. | The answer is @ dozen eggs. | The answer is @ dozens of eggs. |
    The answer is @ pairs of shoes. | The answer is @ pairs. | The answer is @ hundred. |
    The answer is @ hundred dollars. | The answer is @ hundreds. | The answer is @ thousand. |
    The answer is @ thousands. | The answer is @ million. | The answer is @ million people. |
    The answer is @ millions. | The answer is @ billion. | The answer is @ trillion. | The answer is @ lakh. |
    The answer is @ crore rupees. | The answer is @ gross. | The answer is @ score. | The answer is @k. |
    The answer is @ k. | The answer is @K dollars. | The answer is @ K dollars. | The answer is $@k. |
    The answer is $@ k. | The answer is @M. | The answer is @ M dollars. | The answer is @ mn. |
    The answer is @ bn. | The answer is $@bn. | The answer is @-fold. | The answer is @ fold. |
    The answer is @ tenths. | The answer is @ hundredths. | The answer is @ thirds. |
    The answer is @ halves. | The answer is @ quarters of it. | The answer is @ sevenths. |
    The answer is @ sixteenths. | The answer is @ twelfths. | The answer is @ point two. |
    The answer is @ and two thirds. | The answer is @ and 2/3. | The answer is @ and a bit. |
    The answer is @ and something. | The answer is @ out of 97. | The answer is @ of 97. |
    The answer is @ in 97. | The answer is @ over 97. | The answer is @ per 97. | The answer is @ to 97. |
    The answer is @:97. | The answer is @ divided by 97. | The answer is @ mod 97. |
    The answer is @ percent of 97. | The answer is @% of 97. | The answer is @% less than 97. |
    The answer is @ times as many. | The answer is @ times more. | The answer is @ times that. |
    The answer is @ times the price. | The answer is @ more than that. | The answer is @ less than x. |
    The answer is @ degrees below zero. | The answer is @ below zero. | The answer is @ under par. |
    The answer is @ squared. | The answer is @ cubed. | The answer is @ to the power of 97. |
    The answer is @ to the fourth power. | The answer is @ to the fourth. | The answer is @!. |
    The answer is @ factorial. | The answer is @ choose 97. | The answer is @ square roots of 97. |
    The answer is @ root 97. | The answer is @i. | The answer is @ i. | The answer is @x. |
    The answer is @ pi. | The answer is @π. | The answer is @ e. | The answer is @e97. |
    The answer is @E+97. | The answer is @^97. | The answer is @**97. | The answer is @_7. |
    The answer is @ base 97. | The answer is @ in base 97. | The answer is @ (base 97). |
    The answer is @ modulo 97. | The answer is a multiple of @. | The answer is some multiple of @. |
    The answer is divisible by @. | The answer is a factor of @. | The answer is a divisor of @. |
    The answer is a power of @. | The answer is proportional to @. | The answer is congruent to @ modulo 97. |
    The answer is the square of @. | The answer is the cube of @. | The answer is minus @. |
    The answer is negative @. | The answer is −@. | The answer is the negative of @. |
    The answer is the opposite of @. | The answer is the inverse of @. | The answer is 1 over @. |
    The answer is one over @. | The answer is one @th. | The answer is one in @. | The answer is 1 in @. |
    The answer is 97 over @. | The answer is 97 out of @. | The answer is one of @. |
    The answer is half of @. | The answer is a third of @. | The answer is two thirds of @. |
    The answer is twice @. | The answer is double @. | The answer is three times @. |
    The answer is two times @. | The answer is ten times @. | The answer is a dozen times @. |
    The answer is two plus @. | The answer is ten minus @. | The answer is ten less than @. |
    The answer is one more than @. | The answer is the sum of @ and 97. |
    The answer is the product of @ and 97. | The answer is almost @. | The answer is nearly @. |
    The answer is not quite @. | The answer is just under @. | The answer is slightly more than @. |
    The answer is more than @. | The answer is over @. | The answer is under @. | The answer is above @. |
    The answer is below @. | The answer is beyond @. | The answer is past @. | The answer is before @. |
    The answer is after @. | The answer is as many as @. | The answer is as much as @. |
    The answer is as few as @. | The answer is a maximum of @. | The answer is a minimum of @. |
    The answer is max @. | The answer is no fewer than @. | The answer is upwards of @. |
    The answer is in excess of @. | The answer is within @ of it. | The answer is short of @. |
    The answer is shy of @. | The answer is @ or so. | The answer is @ or fewer. |
    The answer is @ or thereabouts. | The answer is @ and up. | The answer is @ and over. |
    The answer is @ upwards. | The answer is @ onwards. | The answer is @ at least. | The answer is @ tops. |
    The answer is @ max. | The answer is @ or higher. | The answer is from @ on. |
    The answer is from @ to 97. | The answer is @–97. | The answer is @ ± 97. |
    The answer is @ plus or minus 97. | The answer is @ +/- 97. | The answer is @+. |
    The answer is @ plus change. | The answer is a @-digit number. | The answer has @ digits. |
    The answer is @ digits long. | The answer is a number with @ digits. |
    The answer is exact to @ decimal places. | The answer is the @th one. | The answer is in step @. |
    The answer is in Step @. | The answer is given in line @. | The answer is shown in Figure @. |
    The answer is shown in Table @. | The answer is on page @. | The answer is in section @. |
    The answer is in chapter @. | The answer is found in row @. | The answer is that of problem @. |
    The answer is that of question @. | The answer is that of Example @. | The answer is by Theorem @. |
    The answer is clear from equation @. | The answer is clear from equation (@). |
    The answer is clear from case @. | The answer is clear from part @. | The answer is as in exercise @. |
    Step @. | Step @: | Step @ | **Step @** | ### Step @ | Step @: we are done. | Figure @. | Fig. @ |
    Table @. | Case @. | Part @. | Section @. | Page @. | Line @. | Equation @. | Question @ | Problem @. |
    Problem #@ | No. @ | Exercise @. | Example @. | Option @. | See step @. | This follows from step @. |
    This follows from equation @. | This follows from equation (@). | This is shown in Figure @. |
    This is line @. | We go on with step @. | Now for part @. | By Theorem @, we are done. | See page @. |
    As in Example @, it holds. | @.) Add them | @) Add them | @. Add them. | We have @ dozen. |
    So she has @ dozen eggs. | So she needs @ pairs of shoes. | So it costs @ hundred dollars. |
    So it costs $@k. | So it costs @ k. | So there might be @ apples. | So there could be @ apples. |
    So there may be @ apples. | So there would be @ apples if she stayed. |
    So there would have been @ apples. | If so, there are @ apples. | If she left, she has @ apples. |
    Suppose there are @ apples. | Assume there are @ apples. | Let there be @ apples. | Let x be @. |
    Let x = @. | Let's try @. | Let's check @. | Try @. | Consider @ apples. | We want @ apples. |
    She wanted @ apples. | She needs to check whether there are @ apples. |
    We do not know whether there are @ apples. | I doubt that there are @ apples. |
    Some say there are @ apples. | I'd guess @ but that is wrong. | It would be wrong to say @. |
    @ is wrong. | @ is too large. | @ is too small. | @ would be too many. | @ is too many. |
    @ is impossible. | @ does not work. | @ doesn't work. | @ fails. | We reject @. | We exclude @. |
    We rule out @. | We can discard @. | So @ is ruled out. | So @ is excluded. | So @ is not it. |
    Anything but @. | Everything except @. | All but @. | So it is almost @. | So it is nearly @. |
    So it has @ digits. | So the number has @ digits. | So x is divisible by @. | So x is a multiple of @. |
    So it is as many as @ apples. | So it is a maximum of @ apples. | So it is @ degrees below zero. |
    So it is @ tenths. | So it is @ thirds. | So it is @ times as large. | So it is @ times more. |
    So it is @ out of ten. | So it is one of @ apples. | So it is one in @. | So it is a third of @. |
    So it is two times @. | So it is ten minus @. | So it is @ and two thirds. | So it is @ or so. |
    Round @. | Round to @ decimals. | \boxed{\text{@ dozen}} | \boxed{@\text{ dozen}} |
    \boxed{@\text{ hundred}} | \boxed{@k} | \boxed{\text{maybe } @} | \boxed{\text{maybe @}} |
    \boxed{\text{could be @}} | \boxed{\text{not } @} | \boxed{\text{at least } @} |
    \boxed{\text{almost } @} | \boxed{\text{Step } @} | \boxed{@?} | \boxed{@\text{ or more}} |
    \boxed{@\text{ times}\ 97} | \boxed{@\text{ thirds}} | \boxed{\text{if } x=1, @} |
    \boxed{@ \text{ if } x=1} | @ dozen | @ pairs | @ hundred | @ k | @k | @M | @ bn | maybe @ | perhaps @ |
    possibly @ | could be @ | might be @ | @? | @ if it rains | almost @ | nearly @ | @ tenths | @ thirds |
    @ or so | @ out of 97 | not @ | step @ | #@
"""

CHOICES = r"""
    It could be @. | It might be @. | It may be @. | It could be (@). | Could be @. | Might be (@). |
    Maybe @. | Maybe (@). | Perhaps (@). | Possibly (@). | (@) could be correct. | (@) might be correct. |
    (@) may be right. | (@) would be correct if it rained. | Option @ would be correct if it rained. |
    Option @ could be correct. | Option @ might work. | Option @ is possible. |
    If (@) were true, it would rain. | If (@) is true, it rains. | If it rains, (@). | (@) if it rains. |
    (@) only if it rains. | Suppose (@) is true. | Assume option @ is right. | Consider option @. |
    Consider (@). | Let's consider (@). | Let us check (@). | Let's check option @. |
    Let's look at option @. | Look at (@). | Start with option @. | We start with (@). | Next is option @. |
    Now (@). | I considered (@). | I thought of (@). | I was tempted by (@). | (@) is tempting. |
    (@) looks tempting. | (@) is plausible. | (@) seems unlikely. | (@) is unlikely. | (@) is less likely. |
    (@) is irrelevant. | (@) makes no sense. | (@) does not follow. | (@) doesn't fit. | (@) fails. |
    (@) contradicts the text. | (@) can be eliminated. | (@) is too broad. | (@) is a distractor. | (@)? |
    Option @? | Is it (@)? | What about (@)? | Not sure about (@). | I'm not sure if it is (@). |
    I do not think it is (@). | I don't think (@) is right. | I doubt that it is (@). | I doubt (@). |
    It is doubtful that (@) is right. | Some would choose (@). | Many would pick @. |
    Many students choose @. | Most people pick (@). | One might choose (@). | You might say (@). |
    You could choose @. | A common mistake is to choose @. | The wrong choice is @. |
    The wrong option is (@). | The incorrect option is @. | The worst option is @. |
    The least likely option is @. | Avoid (@). | Do not choose @. | Don't pick (@). | Never choose (@). |
    Anything but (@). | Step @. | See appendix @. | See Figure (@). | Plan @. | Case (@). | Part (@). |
    Case @. | Vitamin @. | Team @ wins. | Both (@) and something else. | Either @ or something else. |
    The answer is either @ or another. | The answer is @ or another. | The answer is Mr. @. |
    The answer is vitamin @. | The answer is worse than @. | The answer is @-shaped. | The answer is @+. |
    The answer is closer to @ than to Z. | The answer is one of @ and Z. | The answer is between @ and Z. |
    The answer is after @. | The answer is the one after @. | The answer is the option before (@). |
    The answer is opposite to (@). | The answer is not given by (@). | The answer excludes (@). |
    The answer is @ according to some. | The answer is everything but @. | The answer is all except (@). |
    The answer contradicts (@). | \boxed{\text{not } @} | \boxed{\text{maybe } @} | \boxed{@?} |
    \boxed{@\text{ or }Z} | maybe @ | not @ | @? | (@)?
"""

WORDS = r"""
    It could be @. | It might be @. | It may be @. | Maybe @. | Perhaps @. | Possibly @. | @? |
    @ would be wrong. | @ is wrong. | @ is not right. | If @, it rains. | @ if it rains. | @, if it rains. |
    @, but only if it rains. | It would be @ if it rained. | It is not @. | It isn't @. | It cannot be @. |
    I doubt it is @. | I don't think it is @. | I'm not sure it is @. | Not @. | Not necessarily @. |
    Hardly @. | Some say @. | Many would say @. | One might say @. | You could say @. |
    We ask whether it is @. | Is it @? | Suppose it is @. | Assume @. | So maybe @. | So perhaps @. |
    So, possibly @. | Depends, so maybe @. | It depends: @ or the opposite. | It seems @, but it is not. |
    \boxed{\text{maybe } @} | \boxed{\text{not } @}
"""

STATED = """
    The answer is @. | So the answer is @, because if it were not, it would rain. | #### @ | Final answer: @
    | It might look hard, but it is not. The answer is @. | If it rains, we wait. So, the answer is @.
    | There is no doubt that the answer is @. | I doubt the rest. The answer is @. | \\boxed{@}
    | Suppose it were not so. Then 1 = 0. Hence the answer is @. | The answer would be @. | @
    | Is it so? Yes, it is. The answer is @. | In May, the answer is @. | <answer>@</answer>
"""
FAMILIES = [
    ("math", ("5", "12", "3.5", "-7"), (ANY, NUMBERS)),
    ("math", ("$x+1$", "$\\sqrt{2}$", "$5$"), (ANY,)),
    ("number", ("40",), (ANY, NUMBERS)),
    ("choice", ("B", "A"), (ANY, CHOICES)),
    ("choice", ("(B)", "(A)"), (ANY,)),
    ("yes_no", ("yes", "no", "Yes", "**no**"), (ANY, WORDS)),
    ("bool", ("True", "False"), (ANY, WORDS)),
    ("label", ("neutral", "contradiction"), (ANY, WORDS)),
    ("list", ("[1, 2, 3]",), (ANY, WORDS)),
]


def templates(*blocks: str) -> list[str]:
    return [
        template.strip() for block in blocks for template in re.split(r"\s\|\s", block) if template.strip()
    ]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierOptions(workers=1, cpu_seconds=5.0)) as verifier:
        yield verifier


def correct(verifier: Verifier, task: str, answers: tuple[str, ...], said: list[str]) -> list[str]:
    rows = [
        (answer.strip("$*()"), template.replace("@", answer), task) for answer in answers for template in said
    ]
    verdicts: list[Verdict] = verifier.verify_many(rows)
    return [row[1] for row, verdict in zip(rows, verdicts, strict=True) if verdict.correct]


@pytest.mark.parametrize(("task", "answers", "blocks"), FAMILIES)
def test_what_a_sentence_does_not_state_is_no_answer(verifier, task, answers, blocks):
    assert correct(verifier, task, answers, templates(*blocks)) == []


@pytest.mark.parametrize(("task", "answers", "blocks"), FAMILIES)
def test_what_a_sentence_states_is_its_answer(verifier, task, answers, blocks):
    said = templates(STATED)
    assert correct(verifier, task, answers, said) == [t.replace("@", a) for a in answers for t in said]


@pytest.mark.parametrize(
    ("before", "sentence", "expected"),
    [
        ("", "5", True),
        ("", "5 if it rains", False),
        ("", "5, because if it rains, it is 5", True),
        ("", "5?", False),
        ("I do not think that ", "5", False),
        ("It is not 4, so ", "5", True),
        ("A wrong ", "5", False),
        ("", "in May it is 5", True),
        ("", "in may it is 5", False),
    ],
)
def test_states(before, sentence, expected):
    assert states(before, sentence) is expected
