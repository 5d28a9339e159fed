import pytest

from needlework.benchmark_settings import KV, NIAH, Evaluate, Knowledge, choose, sections
from needlework.errors import RecipeError


def test_something_has_to_be_asked() -> None:
    with pytest.raises(ValueError, match="name at least one benchmark"):
        Evaluate()


def test_what_is_left_out_is_not_asked() -> None:
    assert Evaluate(knowledge=Knowledge()).kv is None


def test_benchmarks_are_chosen_with_the_settings_of_a_recipe_or_their_defaults() -> None:
    given = Evaluate(knowledge=Knowledge(facts=7), kv=KV())
    assert choose(given, []) == given
    assert choose(given, ["knowledge", "niah"]) == Evaluate(knowledge=Knowledge(facts=7), niah=NIAH())


@pytest.mark.parametrize(
    ("name", "message"), [("kvv", "no benchmark 'kvv'. Known: kv, mdqa"), ("own", "give their file, --data FILE")]
)
def test_what_cannot_be_asked_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        choose(Evaluate(kv=KV()), [name])


def test_every_benchmark_says_in_one_line_what_it_is() -> None:
    lines = {name: str(section.__doc__).splitlines()[0] for name, section in sections().items()}
    assert len(set(lines.values())) == len(lines)
    assert all(40 < len(line) <= 120 and line.endswith(".") for line in lines.values())
