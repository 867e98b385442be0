"""Where spans of the original stand in the masked text; masked JSON values and their renderings."""

import json
import random

import pytest

from shared.privacy.masking import Edit, Entity, Masker, Span, mask_value
from shared.privacy.masking.entities import remap, replace_spans
from shared.privacy.masking.values import names_in, rendering_edits, strings_in

LETTERS = "ab é🙂\n"


@pytest.mark.parametrize("seed", range(40))
def test_a_span_of_kept_text_moves_with_it_and_a_masked_one_becomes_its_placeholder(seed):
    rng = random.Random(seed)
    text = "".join(rng.choice(LETTERS) for _ in range(60))
    cuts = sorted(rng.sample(range(60), 6))
    spans = [Span(cuts[i], cuts[i + 1], rng.choice(list(Entity))) for i in (0, 2, 4)]

    masked = replace_spans(text, spans)

    for _ in range(50):
        start, end = sorted(rng.sample(range(61), 2))
        moved = masked.text[slice(*masked.remap(start, end))]
        touched = [span for span in spans if span.start < end and start < span.end]
        first = min([start, *(span.start for span in touched)])
        last = max([end, *(span.end for span in touched)])
        inside = [Span(s.start - first, s.end - first, s.kind) for s in touched]
        assert moved == replace_spans(text[first:last], inside).text


def test_overlapping_spans_become_one_of_the_longest_kind():
    spans = [Span(0, 4, Entity.NAME), Span(2, 12, Entity.ADDRESS), Span(3, 5, Entity.PHONE)]

    masked = replace_spans("0123456789abcdef", spans)

    assert masked.text == "[ADDRESS]cdef"
    assert masked.edits == (Edit(0, 12, 9),)


def test_edits_of_a_rendering_lead_to_the_same_words_in_the_masked_one():
    value = {"b": ["x", 'Ask Dr. Whitfield "now"'], "a": {"n": 1.5, "t": "seizure"}, "mrn": 99123}
    before = json.dumps(value, sort_keys=True, ensure_ascii=False)
    masked = mask_value(Masker(), value)
    after = json.dumps(masked.value, sort_keys=True, ensure_ascii=False)

    edits = rendering_edits(before, after)

    for word in ("seizure", "1.5", "now", "Ask Dr. "):
        start = before.index(word)
        moved = after[slice(*remap(edits, start, start + len(word)))]
        assert moved == word
    start = before.index("99123")
    assert "[RECORD_NUMBER]" in after[slice(*remap(edits, start, start + 2))]


def test_renderings_of_another_structure_are_one_edit():
    assert rendering_edits('{"a": 1}', '{"a": [1, 2]}') == (Edit(0, 8, 13),)


def test_telling_keys_mask_what_they_hold_and_others_stay():
    value = {
        "patient_name": "ada quill",
        "Date of Birth": "1961",
        "phone": 6175550199,
        "email": None,
        "address": {"street": "12 Elm Row", "floor": 3},
        "cell_type": "pyramidal",
        "confirmed": True,
    }

    masked = mask_value(Masker(), value).value

    assert masked == value | {
        "patient_name": "[NAME]",
        "Date of Birth": "[DATE_OF_BIRTH]",
        "phone": "[PHONE]",
        "address": {"street": "[ADDRESS]", "floor": "[ADDRESS]"},
    }


def test_a_telling_key_masks_lists_and_objects_whole_and_tells_names_for_other_texts():
    value = {"patient_name": [{"first": "thandiwe", "last": "Vexby"}], "note": "Vexby slept"}

    masked = mask_value(Masker().knowing(strings_in(value), names_in(value)), value)

    assert masked.value == {
        "patient_name": [{"first": "[NAME]", "last": "[NAME]"}],
        "note": "[NAME] slept",
    }
    assert masked.places[0] == (("patient_name", 0, "first"), Entity.NAME)


def test_a_key_is_telling_however_its_letters_are_drawn():
    assert mask_value(Masker(), {"pat\u200bient_n\uff41me": "vexby"}).found == {Entity.NAME: 1}


def test_keys_that_hold_an_entity_are_masked_and_never_merged():
    value = {"a@example.org": 1, "b@example.org": 2, "plain": 3}

    masked = mask_value(Masker(), value)

    assert masked.value == {"[EMAIL]": 1, "[EMAIL] 2": 2, "plain": 3}
    assert masked.has_other_keys


def test_places_name_where_in_the_value_something_was_found():
    masked = mask_value(Masker(), {"notes": ["ok", "MRN 1234567"], "dob": "1961-02-03"})

    assert set(masked.places) == {(("notes", 1), "RECORD_NUMBER"), (("dob",), "DATE_OF_BIRTH")}
