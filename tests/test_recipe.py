from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from needlework import recipe
from needlework.errors import RecipeError
from needlework.models import embedded
from needlework.recipe import Recipe
from needlework.tasks import make_task


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_is_read_and_lists_only_what_differs(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.description
    path = Path(recipe.__file__).parent / "recipes" / f"{name}.yaml"
    for section in ("model", "data", "train"):
        given = yaml.safe_load(path.read_text()).get(section, {})
        defaults = getattr(Recipe(), section).model_dump(mode="json")
        same = [key for key, value in given.items() if defaults[key] == value and key not in ("name", "learning_rate")]
        assert not same, f"{section}.{same} repeat the default"


def test_the_shipped_recipes_are_those_of_the_docs() -> None:
    table, *_ = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text().split("\n## ")
    assert re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE) == recipe.names()


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_names_a_task_and_a_model(name: str) -> None:
    loaded = recipe.load(name)
    assert make_task(loaded.data.task, loaded.data.params)
    model = loaded.model.name
    assert model == embedded.NAME or re.fullmatch(r"[\w-]+/[\w.-]+", model)


def test_the_paper_mode_is_the_papers() -> None:
    loaded = recipe.load("mistral-7b-v0.1")
    data, train = loaded.data, loaded.train
    assert loaded.model.name == "mistralai/Mistral-7B-Instruct-v0.1"
    assert (data.task, data.params, data.haystacks, data.needles, data.items) == ("simple_dict", {}, 350, 1, (85, 85))
    assert (train.learning_rate, train.batch_size, train.epochs) == (5e-6, 16, 2)
    # The trained parts, optimizer and schedule are not known; 44 steps are 2 epochs of 350 in batches of 16.
    assert train.steps(data.haystacks) == 44


@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "mistral-7b-v0.2-24k"])
def test_ours_differs_from_the_papers_in_the_recipe_alone(name: str) -> None:
    paper, ours = recipe.load(name), recipe.load(name, ["data.needles=8"])
    assert ours.model_copy(update={"data": ours.data.model_copy(update={"needles": 1})}) == paper


def test_a_dumped_recipe_reads_back_equal(tmp_path: Path) -> None:
    loaded = recipe.load("smollm2-135m", ["evaluate.mdqa=null"])
    (tmp_path / "r.yaml").write_text(recipe.dump(loaded))
    assert recipe.load(tmp_path / "r.yaml") == loaded
    assert loaded.evaluate.mdqa is None


def test_a_saved_recipe_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "recipe.yaml"
    for changes in ([], ["seed=3"]):
        saved = recipe.load("smollm2-135m", changes)
        recipe.save(saved, path)
        assert recipe.load(path) == saved


@pytest.mark.parametrize("content", ["# why these values\nseed: 3\n", "seed: 3", "seeds: 3", "", "\0"])
def test_a_recipe_of_the_users_is_never_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"recipe\.yaml was not written by Needlework .* Give another --output\."):
        recipe.save(recipe.load("smollm2-135m"), path)
    assert path.read_text() == content


def test_overrides_change_values_by_path() -> None:
    loaded = recipe.load(
        "smollm2-135m", ["train.learning_rate=3e-4", "data.items=[2, 5]", "data.params.template=false"]
    )
    assert loaded.train.learning_rate == 3e-4
    assert loaded.data.items == (2, 5)
    assert loaded.data.params == {"template": False}


def test_a_single_override_needs_no_list() -> None:
    assert recipe.load("smollm2-135m", "data.haystacks=40") == recipe.load("smollm2-135m", ["data.haystacks=40"])


def test_a_check_is_asked_for_by_any_of_its_keys() -> None:
    assert recipe.load("smollm2-135m").train.check is None
    assert recipe.load("smollm2-135m", ["train.check.steps=5"]).train.check == recipe.Check(steps=5)


def test_every_key_has_help() -> None:
    def check(section: type[recipe.Section]) -> None:
        for name, field in section.model_fields.items():
            inner = [kind for kind in getattr(field.annotation, "__args__", (field.annotation,))
                     if isinstance(kind, type) and issubclass(kind, recipe.Section)]  # fmt: skip
            assert field.description or inner, f"{section.__name__}.{name}"
            for kind in inner:
                check(kind)

    check(Recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learning_rat=1", "no key 'train.learning_rat'. Did you mean 'learning_rate'"),
        ("evaluate.kvs.lengths=1", "no key 'evaluate.kvs'. Did you mean 'kv'"),
        ("evaluate.mdqa.document=1", "no key 'evaluate.mdqa.document'. Did you mean 'documents'"),
        ("train.epochs=0", "train.epochs is 0: input should be greater than or equal to 1"),
        (
            "train.trainable=atention",
            "train.trainable is 'atention': input should be 'attention', 'full' or 'lora'",
        ),
        ("data.items=[5]", "data.items is [5]: give 2 values, not 1."),
        ("data.items=[9, 4]", "data.items is [9, 4]: give the fewest items, at least 1, then the most"),
        ("data.haystacks=10000000000000000000000000000", "should be less than or equal to"),
        ("seed=4294967296", "seed is 4294967296: input should be less than 4294967296"),
        ("trainings=2", "trainings is 2: two do not show how trainings vary: take 1, or 3 or more"),
        ("data.file=x.jsonl", "data: file takes the place of a task's haystacks, so leave out haystacks"),
        ("data.sha256=0a", "data: sha256 is that of file, which is not given"),
        ("train.merge=false", "train.merge is False: only LoRA has an adapter to save alone"),
        ("train.trackers=[mlflow]", "train.trackers.0 is 'mlflow': input should be 'tensorboard' or 'wandb'"),
        ("evaluate.kv.lengths=[]", "evaluate.kv.lengths is []: list should have at least 1 item"),
        ("evaluate={}", "evaluate: name at least one benchmark"),
        ("evaluate.kv.lengths=512", "evaluate.kv.lengths is 512: input should be a valid list"),
        ("train", "should look like train.learning_rate=1e-4"),
        ("train.epochs.x=1", "epochs holds no keys"),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe.load("smollm2-135m", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "r.yaml is empty"),
        ('{"items": ["a"], "needles": [{}]}\n{}', "holds haystacks, not a recipe"),
        ('\ufeff{"items": ["a"], "needles": [{}]}', "holds haystacks, not a recipe"),
        ("- 1", "should hold keys and values, not a list"),
        (
            "a: [",
            "is not YAML: while parsing a flow node, expected the node content, but found '<stream end>' (",
        ),
        ("data: {needles: 1}\ndata: {haystacks: 2}", "is not YAML: the key data occurs twice"),
        ("seed: 2026-13-45", "is not YAML: month must be in 1..12"),
        (3000 * "[", "is not YAML: it is nested too deeply"),
        ("a: !!python/object:os.x {}", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(RecipeError) as error:
        recipe.load(tmp_path / "r.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_recipe_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"No such file or directory\. Did you mean 'smollm2-135m'"):
        recipe.load("smollm-135m")


def test_a_model_in_place_of_a_recipe_is_told_where_it_goes() -> None:
    with pytest.raises(RecipeError, match=r"If Qwen/Qwen3-0\.6B is a model: --set model\.name=Qwen/Qwen3-0\.6B\.$"):
        recipe.load("Qwen/Qwen3-0.6B")
    with pytest.raises(RecipeError) as error:
        recipe.load("mine/recipe.yaml")
    assert "is a model" not in str(error.value)


def test_a_datasets_recipe_leaves_out_what_only_its_manifest_has() -> None:
    model = {"name": "some/model", "fingerprint": "0"}
    made = recipe.of_dataset({"format": "trl", "model": model, "seed": 3, "data": {"needles": 2}})
    assert made == recipe.parse({"seed": 3, "model": {"name": "some/model"}, "data": {"needles": 2}})


def test_a_datasets_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"data\.needles is 'many'"):
        recipe.of_dataset({"seed": 0, "model": {}, "data": {"needles": "many"}})
