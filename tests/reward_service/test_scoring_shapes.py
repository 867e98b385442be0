"""How bodies become texts to score."""

from services.reward_service.references import Reference
from shared.contracts.scoring import RerankRequest, ScoreRequest


def test_a_conversation_becomes_paragraphs_that_name_who_speaks():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I have a fever."},
        {"role": "assistant", "content": "Since when?"},
        {"role": "user", "content": "Yesterday."},
    ]

    request = ScoreRequest.model_validate({"inputs": [{"messages": messages, "response": "Rest."}]})

    assert request.inputs[0].prompt_text == (
        "system: Be brief.\n\nuser: I have a fever.\n\nassistant: Since when?\n\nuser: Yesterday."
    )


def test_documents_may_be_texts_or_objects():
    body = {"query": "q", "documents": ["a", {"text": "b", "url": "u"}], "max_tokens_per_doc": 9}

    request = RerankRequest.model_validate(body)

    assert [document.model_dump() for document in request.documents] == [
        {"text": "a"},
        {"text": "b", "url": "u"},
    ]


def test_a_model_is_named_by_champion_version_or_alias():
    texts = ["reward", "reward@03", "reward:challenger", "my-model.v2:champion"]

    references = [Reference.parse(text, project_id=4) for text in texts]

    assert references == [
        (4, "reward", "champion"),
        (4, "reward", "3"),
        (4, "reward", "challenger"),
        (4, "my-model.v2", "champion"),
    ]
    assert [str(reference) for reference in references[:2]] == ["reward:champion", "reward@3"]
