"""The world: exact, deterministic, and twins that differ in one property and nothing else."""

from itertools import groupby

import numpy as np
import pandas as pd
import pytest

from helpers.world import grammar, recipes, worlds
from helpers.world.grammar import CLASSES

WORLD = worlds.build()
PROPERTIES = ("script", "lexicon", "order", "morphology")
SMALL = {"families": 3, "per_family": 2}


def _tree(language, split="dev"):
    """Each sentence as the set of (concept, head concept, relation): the tree without the order of words."""
    said = {}
    for sentence, meaning in WORLD.meanings(split).items():
        words = grammar.say(language, meaning)
        said[sentence] = sorted(
            (w.concept, words[w.head - 1].concept if w.head else -1, w.deprel, w.upos) for w in words
        )
    return said


def _texts(language, split="dev"):
    return {s: [w.form for w in grammar.say(language, m)] for s, m in WORLD.meanings(split).items()}


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    again = worlds.build.__wrapped__()
    pd.testing.assert_frame_equal(WORLD.sentences(["A1", "H3"]), again.sentences(["A1", "H3"]))
    assert WORLD.documents(50, seed=3) == again.documents(50, seed=3) != WORLD.documents(50, seed=4)
    forms, others = WORLD.lexicon().form, worlds.build(seed=1).lexicon().form
    assert forms.tolist() != others.tolist() and not set(forms).isdisjoint(others)


def test_splits_share_no_agent_verb_and_object_with_each_other_or_with_pretraining():
    held = [{meaning.event for meaning in WORLD.meanings(split).values()} for split in worlds.SPLITS]
    assert [len(x) for x in held] == list(worlds.SPLITS.values())
    assert len(set.union(*held)) == sum(worlds.SPLITS.values())
    plain = worlds.build(options=worlds.Options(mixing=0.0, **SMALL))
    texts = {t for split in worlds.SPLITS for t in plain.sentences(split=split).text}
    texts |= {t for split in worlds.SPLITS for t in plain.sentences(split=split, paraphrase=True).text}
    assert texts.isdisjoint(plain.documents(2000))


@pytest.mark.parametrize("split", worlds.SPLITS)
def test_distinct_meanings_give_distinct_sentences_in_every_language(split):
    table = WORLD.sentences(split=split)
    assert not table.duplicated(["language", "text"]).any()
    assert not table.duplicated(["language", "sentence"]).any()
    assert (table.groupby("language").size() == worlds.SPLITS[split]).all()


def _refuse_ambiguity(grown):
    """Only words of one kind and of different topics share a form."""
    for _, alike in grown.lexicon().groupby(["language", "form"]):
        assert alike.kind.nunique() == 1 and alike.topic.is_unique
        assert len(alike) == 1 or "" not in set(alike.topic)


def test_homonyms_are_of_one_kind_and_of_different_topics():
    _refuse_ambiguity(WORLD)
    shared = WORLD.lexicon().duplicated(["language", "form"], keep=False)
    assert 0.02 < shared.mean() < 0.12
    plain = worlds.build(options=worlds.Options(homonyms=0.0, borrowing=0.0, international=0.0, **SMALL))
    assert plain.lexicon().duplicated(["language", "form"]).mean() < 0.02


def test_names_and_numerals_are_the_same_everywhere():
    lexicon = WORLD.lexicon()
    shared = lexicon[[grammar.TAGS[c] in ("PROPN", "NUM") for c in lexicon.concept]]
    assert shared.concept.nunique() == 7 + 4
    assert (shared.groupby("concept").etymon.nunique() == 1).all()
    assert set(lexicon[lexicon.kind == "number"].form) == {"2", "3", "7", "12"}


def test_events_are_five_times_as_many_as_four_agents_verbs_and_objects_make():
    concepts = grammar.INVENTORY[: grammar.THE]
    counts = [sum(kind == wanted and topic == "farm" for _, kind, topic in concepts) for wanted in CLASSES]
    assert counts[0] * counts[1] * counts[2] >= 5 * 4**3


@pytest.mark.parametrize("name", ["default", "default-w1", "default-w2", "default-w3"])
def test_no_two_similarities_go_together_and_each_varies_within_and_between_families(name):
    table = worlds.build(name).similarity().query("source < target")
    wide = table.pivot(index=["source", "target"], columns="measure", values="value")
    upper = np.triu_indices(wide.shape[1], 1)
    assert np.abs(wide.corr().to_numpy()[upper]).max() <= 0.7
    kin = wide.index.map(lambda pair: pair[0][0] == pair[1][0])
    spread = wide.groupby(kin).std().drop(columns="genealogical")
    assert (spread > 0.03).all(axis=None) and wide[kin].genealogical.std() > 0


def test_languages_of_one_family_differ_in_script_and_neighbours_share_theirs():
    facts = WORLD.languages
    assert facts.groupby("family").script.nunique().max() > 1 and facts.script.nunique() >= 4
    table = WORLD.similarity().query("source < target").pivot(index=["source", "target"], columns="measure")["value"]
    assert table.corr().loc["script", "geographic"] > 0.2


@pytest.mark.parametrize("zipf", [0.0, 1.0])
def test_languages_are_drawn_as_often_as_their_rank_says(zipf):
    grown = worlds.build(options=worlds.Options(mixing=0.0, zipf=zipf, **SMALL))
    owner = dict(grown.lexicon().drop_duplicates("form", keep=False)[["form", "language"]].to_numpy())
    said = [next((owner[word] for word in text.split() if word in owner), None) for text in grown.documents(3000)]
    counts = pd.Series(said).value_counts()
    expected = (np.arange(1, 7) ** -zipf) / (np.arange(1, 7) ** -zipf).sum()
    assert np.abs(counts[[*grown.members]] / counts.sum() - expected).max() < 0.05


def test_a_balanced_twin_is_read_as_often_as_its_original_and_a_scarce_one_is_not():
    grown = WORLD
    for change in worlds.CHANGES:
        grown = grown.twin("B2", change)
    before, after = (x.exposure().set_index("language").seen for x in (grown, grown.balanced()))
    assert before["B2-lexicon"] < 0.6 * before["B2"] and before["B2-control"] == before["B2"]
    for change in worlds.CHANGES:
        assert after[f"B2-{change}"] < 0.6 * after["B2"] if change == "scarce" else True
        if change != "scarce":
            assert after[f"B2-{change}"] == pytest.approx(after["B2"], rel=1e-6)
    counted = [text.split() for text in grown.balanced().documents(20_000)]
    mine = {x: {*grown.language(x).forms[:150]} for x in ("B2", "B2-lexicon", "B2-scarce")}
    seen = {x: sum(word in forms for text in counted for word in text) for x, forms in mine.items()}
    assert seen["B2-lexicon"] == pytest.approx(seen["B2"], rel=0.1) and seen["B2-scarce"] < 0.7 * seen["B2"]


def test_a_world_is_named_with_its_seed():
    assert worlds.build("default-w3").members == worlds.build(seed=3).members
    with pytest.raises(LookupError, match="Add -wN"):
        worlds.build("defolt-w3")


@pytest.mark.parametrize("families, per_family", [(1, 2), (3, 8), (30, 10)])
def test_a_world_of_any_size_grows(families, per_family):
    grown = worlds.build(options=worlds.Options(families=families, per_family=per_family))
    assert grown.languages.language.is_unique and len(grown.languages) == families * per_family
    _refuse_ambiguity(grown)


def test_more_than_300_languages_are_refused():
    with pytest.raises(ValueError, match="400 families x 1 languages; between 2 and 300"):
        worlds.build(options=worlds.Options(families=400, per_family=1))


def test_trees_are_well_formed_and_text_and_treebank_agree():
    for language in ["A1", "B2", "C3", "D1", "H3"]:
        texts = dict(WORLD.sentences([language])[["sentence", "text"]].to_numpy())
        for sentence, rows in groupby(WORLD.treebank(language).itertuples(), lambda word: word.sentence):
            words = list(rows)
            heads = {word.token: word.head for word in words}
            assert " ".join(word.form for word in words) == texts.pop(sentence)
            assert list(heads) == list(range(1, len(words) + 1))
            assert [word.deprel for word in words if word.head == 0] == ["root"]
            assert [word.head for word in words if word.deprel == "root"] == [0]
            for token in heads:
                assert any((token := heads[token]) == 0 for _ in words)
        assert not texts


def test_similarity_is_symmetric_and_highest_with_itself():
    table = WORLD.similarity().set_index(["measure", "source", "target"]).value
    for measure in table.index.unique("measure"):
        square = table[measure].unstack()
        assert ((square - square.T).abs() < 1e-12).all().all()
        assert (square.to_numpy().diagonal()[:, None] >= square.to_numpy()).all()


def test_similarity_equals_what_the_lexicon_and_the_table_of_languages_say():
    lexicon = WORLD.lexicon().pivot(index="concept", columns="language", values="etymon").drop(index=grammar.THE)
    value = WORLD.similarity().set_index(["measure", "source", "target"]).value
    same = (lexicon["A1"] == lexicon["A2"]).sum() + (
        WORLD.language("A1").etyma[grammar.THE] == WORLD.language("A2").etyma[grammar.THE]
    )
    assert value["lexical", "A1", "A2"] == pytest.approx(same / (len(lexicon) + 1))
    rows = WORLD.languages.set_index("language")
    keys = list(grammar.ORDER_CHOICES)
    assert value["syntactic", "A1", "C3"] == pytest.approx((rows.loc["A1", keys] == rows.loc["C3", keys]).mean())
    assert value["genealogical", "A1", "A2"] == pytest.approx(2 / 3) and value[
        "genealogical", "A1", "A3"
    ] == pytest.approx(1 / 3)
    assert value["genealogical", "A1", "B1"] == 0


@pytest.mark.parametrize("dose", [0.3, 1.0])
@pytest.mark.parametrize("language", ["A1", "C3", "E2"])
@pytest.mark.parametrize("change", PROPERTIES)
def test_a_twin_differs_in_the_named_property_and_in_nothing_else(language, change, dose):
    grown = WORLD.twin(language, change, dose)
    original = grown.language(language)
    twin = grown.language(f"{language}-{change}" + ("" if dose == 1 else f"-{dose:g}"))
    differs = {
        "script": twin.letters != original.letters,
        "lexicon": twin.stems != original.stems,
        "order": twin.grammar != original.grammar,
        "morphology": twin.endings != original.endings,
    }
    assert [name for name, different in differs.items() if different] == [change]
    assert (twin.family, twin.branch, twin.position) == (original.family, original.branch, original.position)
    assert _tree(twin) == _tree(original)
    before, after = _texts(original), _texts(twin)
    if change == "order":
        assert {s: sorted(t) for s, t in before.items()} == {s: sorted(t) for s, t in after.items()}
    else:
        tags = [
            [w.concept for w in grammar.say(x, m)] for x in (original, twin) for m in WORLD.meanings("dev").values()
        ]
        assert tags[: len(tags) // 2] == tags[len(tags) // 2 :]
    if change == "morphology":
        content = [i for i, kind in enumerate(grammar.KINDS) if kind not in CLASSES]
        assert [twin.forms[i] for i in content] == [original.forms[i] for i in content]
    if dose == 1 and change in ("script", "lexicon"):
        assert all({*before[s]} & {*after[s]} <= {"2", "3", "7", "12"} for s in before)
    assert len(set(map(tuple, after.values()))) == len(after)
    assert before != after


def test_a_control_twin_differs_in_nothing_and_a_scarce_one_as_a_lexicon_does():
    grown = WORLD.twin("A1", "control").twin("A1", "scarce")
    assert _texts(grown.language("A1-control")) == _texts(WORLD.language("A1"))
    scarce, original = grown.language("A1-scarce"), WORLD.language("A1")
    assert scarce.stems != original.stems and scarce.grammar == original.grammar


@pytest.mark.parametrize("change", PROPERTIES)
def test_a_larger_dose_changes_what_a_smaller_one_does_and_more(change):
    changed = []
    for dose in (0.25, 0.5, 1.0):
        grown = WORLD.twin("E1", change, dose)
        twin, original = grown.language(list(grown.members)[-1]), grown.language("E1")
        pairs = {"script": "letters", "lexicon": "stems", "order": "grammar", "morphology": "endings"}[change]
        old, new = getattr(original, pairs), getattr(twin, pairs)
        keys = old if isinstance(old, dict) else range(len(old))
        changed.append({k for k in keys if old[k] != new[k]})
    assert changed[0] <= changed[1] <= changed[2] and changed[0] < changed[2]


def test_a_twin_of_an_unknown_property_or_dose_is_refused():
    with pytest.raises(ValueError, match="take one of script, lexicon, order, morphology, control, scarce"):
        WORLD.twin("A1", "tone")
    with pytest.raises(ValueError, match="dose"):
        WORLD.twin("A1", "script", 0.0)
    with pytest.raises(LookupError, match="no language 'Z9'"):
        WORLD.twin("Z9", "script")


def test_paraphrases_keep_the_meaning_and_change_the_words():
    table = WORLD.sentences(["A1", "D2"], paraphrase=True).merge(
        WORLD.sentences(["A1", "D2"]), on=["language", "sentence"]
    )
    assert (table.text_x != table.text_y).all() and len(table) > 200


def test_knobs_do_what_they_say():
    def share(measure, **options):
        grown = [worlds.build(options=worlds.Options(**SMALL, **options), seed=seed) for seed in range(4)]
        tables = pd.concat([x.similarity() for x in grown])
        return tables.query("source != target and measure == @measure").value.mean()

    usual = share("lexical")
    assert share("lexical", international=0.5) > usual + 0.2
    assert share("lexical", replacement=1.5) < usual
    assert share("lexical", borrowing=0.4) > usual
    assert share("script", scripts=("Latn",)) == 1.0


def test_mixing_and_switching_set_how_many_languages_a_document_holds():
    def languages_in(documents, grown):
        owner = grown.lexicon().groupby("form").language.agg(set)
        return [len(set.intersection(*(owner[w] for w in text.split()))) == 0 for text in documents]

    plain = worlds.build(options=worlds.Options(mixing=0.0, **SMALL))
    mixed = worlds.build(options=worlds.Options(mixing=1.0, switched=1.0, **SMALL))
    assert not any(languages_in(plain.documents(200), plain))
    assert sum(languages_in(mixed.documents(200), mixed)) > 120


def test_sparse_collocations_concentrate_the_meanings():
    def distinct(concentration):
        grown = worlds.build(options=worlds.Options(collocations=concentration, mixing=0.0, families=1, per_family=2))
        return len(set(grown.documents(1000)))

    assert distinct(0.3) < distinct(0.6) < distinct(10.0)
    with pytest.raises(ValueError, match="500 are held out"):
        distinct(0.05)


def test_the_twins_of_four_worlds_are_of_at_least_six_families():
    named = [recipes.recipe(f"mini-twins-w{number}") for number in range(4)]
    originals = [(made.world, language) for made in named for language, *_ in recipes.twins_of(made)]
    assert len({*originals}) == 12 and len({language[0] for _, language in originals}) >= 6
    assert all(recipes.world_of(made).draws for made in named)
