"""Calls of tools through the server, with OpenAI's own client: told from text, demanded, streamed, and answered."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ftheta.serving.settings import Settings
from listening import started
from served import made

pytest.importorskip("uvicorn")
pytest.importorskip("llguidance")
openai = pytest.importorskip("openai")

from ftheta.serving.http.served import Served  # noqa: E402

HERMES = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{% for call in m.tool_calls %}{{ '\\n<tool_call>\\n' }}"
    "{{ call.function | tojson }}\n</tool_call>{% endfor %}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
LLAMA = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}[{{ m.role }}]\n{% if 'tool_calls' in m %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% elif m.role == 'tool' %}{{ {'output': m.content} | tojson }}{% else %}{{ m.content }}{% endif %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
NONE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
PARAMETERS = {
    "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "as": {"enum": ["x", "中"]}}, "required": ["a", "as"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "sums", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}},
]
ASKED = [{"role": "user", "content": "1 + 1?"}]


@pytest.fixture(scope="module")
def here() -> Iterator[SimpleNamespace]:
    models = []
    for name, template in (("hermes", HERMES), ("llama", LLAMA), ("none", NONE)):
        model = made("llama")
        model.processor.chat_template = template
        models.append(Served(name, model, Settings(together=4, page=8)))
    yield from started(models)


@pytest.fixture()
def client(here):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key="any", max_retries=0, timeout=60) as found:
        yield found


def together(pieces) -> tuple[str, list[tuple[str, str]], str]:
    """Text, calls and the reason of a streamed answer, put together as clients do."""
    text, calls, reason = "", dict[int, list[str]](), None
    for piece in pieces:
        (choice,) = piece.choices
        text += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.id and call.type == "function" and call.index == len(calls)
            calls[call.index] = [call.function.name, call.function.arguments]
        reason = choice.finish_reason or reason
    return text, [tuple(call) for call in calls.values()], reason


WRITTEN = {
    "hermes": 'Well.\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "as": "中"}}\n</tool_call>\n<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>',
    "llama": '{"name": "add", "parameters": {"a": 1, "as": "中"}}; {"name": "stop", "parameters": {}}',
}


@pytest.mark.parametrize("model, said", [("hermes", "Well."), ("llama", None)])
def test_what_the_model_writes_is_told_apart(client, model, said):
    """The model is made to write a text with calls by a regular expression: what it writes is the same, how it is told is not."""
    asked = {"model": model, "messages": ASKED, "tools": TOOLS, "max_tokens": 300, "extra_body": {"regex": re.escape(WRITTEN[model])}}
    (choice,) = client.chat.completions.create(**asked).choices
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("add", '{"a": 1, "as": "中"}'), ("stop", "{}")] and choice.message.content == said and choice.finish_reason == "tool_calls"
    assert together(client.chat.completions.create(**asked, stream=True)) == (said or "", calls, "tool_calls")
    (first,) = client.chat.completions.create(**asked, parallel_tool_calls=False).choices
    assert [(call.function.name, call.function.arguments) for call in first.message.tool_calls] == calls[:1] and first.message.content == said
    assert together(client.chat.completions.create(**asked, parallel_tool_calls=False, stream=True)) == (said or "", calls[:1], "tool_calls")
    short = {**asked, "max_tokens": 80}                                                   # in the middle of a call
    cut = client.chat.completions.create(**short).choices[0]
    text = cut.message.content
    assert cut.finish_reason == "length" and together(client.chat.completions.create(**short, stream=True)) == (
        text or "", [(call.function.name, call.function.arguments) for call in cut.message.tool_calls or ()], "length",
    )
    plain = client.chat.completions.create(**{**asked, "tools": [], "extra_body": asked["extra_body"]}).choices[0]
    assert plain.message.content == WRITTEN[model] and not plain.message.tool_calls and plain.finish_reason == "stop"


@pytest.mark.parametrize("model", ["hermes", "llama"])
def test_a_call_that_is_demanded_is_made_and_answered(client, here, model):
    talk = [{"role": "system", "content": "be kind"}, *ASKED]
    for seed in range(3):
        asked = {"model": model, "messages": talk, "tools": TOOLS, "max_tokens": 200, "seed": seed, "temperature": 2.0}
        found = client.chat.completions.create(**asked, tool_choice="required").choices[0]
        (call,) = found.message.tool_calls
        assert found.finish_reason == "tool_calls" and found.message.content is None and call.function.name in ("add", "stop")
        found = client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "add"}}).choices[0]
        (call,) = found.message.tool_calls
        arguments = json.loads(call.function.arguments)
        assert call.function.name == "add" and set(arguments) == {"a", "as"} and 0 <= arguments["a"] <= 99 and arguments["as"] in ("x", "中")
        pieces = client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "add"}}, stream=True)
        assert together(pieces) == ("", [("add", call.function.arguments)], "tool_calls")
    talk += [found.message.to_dict(), {"role": "tool", "content": '{"sum": "2\n"}', "tool_call_id": call.id}]
    answer = client.chat.completions.create(model=model, messages=talk, tools=TOOLS, max_tokens=5, seed=1)
    processor = here.served[model].model.processor
    said = json.dumps({"name": "add", "arguments" if model == "hermes" else "parameters": arguments}, ensure_ascii=False)
    said = f"\n<tool_call>\n{said}\n</tool_call>" if model == "hermes" else said
    told = '{"sum": "2\n"}' if model == "hermes" else json.dumps({"output": '{"sum": "2\n"}'})
    rendered = [json.dumps(TOOLS, ensure_ascii=False), "\n[system]\nbe kind", "\n[user]\n1 + 1?", f"\n[assistant]\n{said}", f"\n[tool]\n{told}", "\n[assistant]\n"]
    count = sum(len(processor.encode(text, start=False)) for text in rendered) + 4         # and what ends each message
    assert answer.usage.prompt_tokens == count


def test_what_cannot_be_demanded(client):
    for fields, message in (
        ({"tool_choice": "required"}, "no such tool among the tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "no such tool among the tools"),
        ({"tools": TOOLS, "tool_choice": "required", "model": "none"}, "writes no calls"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "required", "extra_body": {"regex": "a"}}, "a value cannot be used|only one of them"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "nothing"}}}], "tool_choice": "required"}, "no JSON Schema"),
    ):
        with pytest.raises(openai.BadRequestError, match=message) as refused:
            client.chat.completions.create(**{"model": "hermes", "messages": ASKED, "max_tokens": 5, **fields})
        assert "nothing" not in str(refused.value)                                       # not a word of what was sent
    found = client.chat.completions.create(model="none", messages=ASKED, tools=TOOLS, max_tokens=5, seed=1).choices[0]
    assert found.message.tool_calls is None and found.message.content is not None
