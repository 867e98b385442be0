"""What each recogniser finds, and what it leaves alone."""

import re
import unicodedata

import pytest

from shared.privacy.masking import Masker

MASKER = Masker()

FOUND = [
    # contacts
    ("write to jo.smith+1@mail.example.co.uk.", "write to [EMAIL]."),
    ("write to jane (at) example dot com", "write to [EMAIL]"),
    ("see https://example.org/users/jdoe, thanks", "see [URL], thanks"),
    ("from 192.168.1.20 at noon", "from [IP_ADDRESS] at noon"),
    ("from 2001:db8::8a2e:370:7334 at noon", "from [IP_ADDRESS] at noon"),
    # phones
    ("call (617) 555-0199 today", "call [PHONE] today"),
    ("617-555-0199 ext. 12", "[PHONE]"),
    ("ring +44 20 7946 0958", "ring [PHONE]"),
    ("on 07700 900123.", "on [PHONE]."),
    ("her number is 5550143", "her number is [PHONE]"),
    # numbers with checksums, or called what they are
    ("SSN 536-90-4399", "SSN [NATIONAL_ID]"),
    ("943 476 5919 is her NHS number", "[NATIONAL_ID] is her NHS number"),
    ("NI number AB 12 34 56 C", "NI number [NATIONAL_ID]"),
    ("medicare 1EG4-TE5-MK73", "medicare [NATIONAL_ID]"),
    ("passport no. X1234567", "passport no. [NATIONAL_ID]"),
    ("codice RSSMRA85T10A562S", "codice [NATIONAL_ID]"),
    ("paid by 4111 1111 1111 1111", "paid by [CARD]"),
    ("to GB82 WEST 1234 5698 7654 32", "to [BANK_ACCOUNT]"),
    # record numbers
    ("MRN: 00123456", "MRN: [RECORD_NUMBER]"),
    ("patient id A-99812 was", "patient id [RECORD_NUMBER] was"),
    ("hospital no. 94-84-250", "hospital no. [RECORD_NUMBER]"),
    ("Case number 77/1042", "Case number [RECORD_NUMBER]"),
    # births and ages
    ("DOB 03/02/1961", "DOB [DATE_OF_BIRTH]"),
    ("date of birth: 3rd of February 1961", "date of birth: [DATE_OF_BIRTH]"),
    ("she was born in Leeds on Feb 3, 1961", "she was born in Leeds on [DATE_OF_BIRTH]"),
    ("1961-02-03 is my birthday", "[DATE_OF_BIRTH] is my birthday"),
    ("a 93-year-old man", "a [AGE]-year-old man"),
    ("aged 101, lives", "aged [AGE], lives"),
    ("a ninety-two year old aunt", "a [AGE] aunt"),
    # addresses
    ("at 42 Maple Street, Apt 3B, Springfield, IL 62704.", "at [ADDRESS]."),
    ("Flat 2, 10 Downing Street, London SW1A 2AA", "[ADDRESS]"),
    ("PO Box 1234, Boise, ID 83701", "[ADDRESS]"),
    ("i live at 12 acacia road", "i live at [ADDRESS]"),
    ("postcode LS1 4AB", "postcode [ADDRESS]"),
    # names
    ("Dr. Whitfield will call", "Dr. [NAME] will call"),
    ("Patient: Zebulon Okonkwo\n", "Patient: [NAME]\n"),
    ("My name is Thandiwe Nkosi.", "My name is [NAME]."),
    ("my name is thandiwe nkosi and", "my name is [NAME] and"),
    ("Dear Thandiwe,\n", "Dear [NAME],\n"),
    ("Kind regards,\nZebulon Okonkwo", "Kind regards,\n[NAME]"),
    ("his wife Thandiwe said", "his wife [NAME] said"),
    ("OKONKWO, Zebulon (03/02/1971)", "[NAME] ([DATE_OF_BIRTH])"),
    ("Zebulon Okonkwo, a 54-year-old", "[NAME], a 54-year-old"),
    ("I met Maria Garcia there", "I met [NAME] there"),
    ("Ms van der Berg left", "Ms [NAME] left"),
    ("Maria's results", "[NAME]'s results"),
    ("Mr Okonkwo came. Later Okonkwo left.", "Mr [NAME] came. Later [NAME] left."),
]

LEFT_ALONE = [
    "Parkinson's disease, Crohn's disease, Hodgkin lymphoma, Wilson disease, Graves' disease.",
    "Guillain-Barre syndrome, Down syndrome, Bell's palsy, a Foley catheter and Murphy's sign.",
    "Metformin 500 mg, Levodopa, Amoxicillin 875/125 mg and Warfarin 5 mg once daily.",
    "Blood pressure 142/86 on 12/03/2021, INR 2.4, sodium 138, TSH 4.8, eGFR 71.",
    "A 67-year-old woman with COPD was seen on 3 May 2021 and again in June.",
    "The Paris Agreement, the Montreal Protocol of 1987, and the IPCC's Sixth Assessment Report.",
    "Lake Victoria, Hurricane Maria, Storm Desmond, Mount Pinatubo, Virginia and New Orleans.",
    "Sea level rose by 0.20 m from 1901 to 2018; Greenland lost 3,902 Gt between 1992 and 2018.",
    "A 120-year-old pine, a 100-year flood and 95 percent intervals from 0.12 to 0.47.",
    "Purkinje cells, Golgi stain, Brodmann area 17; voxel (18022, 9931, 1204).",
    "Segment 864691135012345678 has 5,214 synapses; see Smith et al. (2019) and Jones (2020).",
    "Human: Tell me more.\n\nAssistant: Sure, I'm happy to. You're right.",
    "Python 3.11.4, section 1.2.3.4, page 12 of 345 and https://example.org/docs/intro.",
    "Will it rain in May? April was dry. Rose bushes flower early, and Grace measured it.",
    "Patient Health Questionnaire, Patient Information, Dear Colleague, Hi there!",
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_an_identifier_becomes_a_placeholder_of_its_kind(text, masked):
    assert MASKER.mask(text).text == masked


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_is_no_identifier_survives(text):
    assert MASKER.mask(text).text == text


@pytest.mark.parametrize(("text", "masked"), FOUND)
@pytest.mark.parametrize(
    "draw",
    [
        lambda text: "\u200b".join(text),
        lambda text: "".join(
            chr(ord(c) + 0xFEE0) if c.isalnum() and c.isascii() else c for c in text
        ),
        lambda text: text.replace(" ", "\u00a0").replace("-", "\u2011"),
        lambda text: re.sub(r"(?<=[a-z])(?=[a-z])", "\u00ad", text),
        lambda text: re.sub(r"\d", lambda found: chr(0x0660 + int(found[0])), text),
    ],
    ids=["zero-width", "full-width", "no-break", "soft-hyphens", "other-digits"],
)
def test_an_identifier_is_found_however_it_is_drawn(draw, text, masked):
    found = MASKER.mask(draw(text)).text

    plain = unicodedata.normalize("NFKC", found).translate({0x200B: None, 0xAD: None})
    plain = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), plain)
    assert plain.replace("\u2010", "-") == masked


def test_an_accent_behind_a_name_goes_with_it():
    assert MASKER.mask("Dr. Andre\u0301 called").text == "Dr. [NAME] called"


def test_a_masked_text_is_masked_to_itself():
    masked = [MASKER.mask(text).text for text, _ in FOUND]

    assert [MASKER.mask(text).text for text in masked] == masked


def test_a_name_known_from_one_text_counts_in_the_others():
    texts = ["Dr. Whitfield wrote it.", "Ask Whitfield about asthma."]

    masker = MASKER.knowing(texts, ["Ada Quill"])

    assert masker.mask(texts[1]).text == "Ask [NAME] about asthma."
    assert masker.mask("So says Quill.").text == "So says [NAME]."


def test_entities_are_counted_by_kind():
    found = MASKER.mask("Mail a@example.org or b@example.org, MRN 1234567.").found

    assert found == {"EMAIL": 2, "RECORD_NUMBER": 1}
