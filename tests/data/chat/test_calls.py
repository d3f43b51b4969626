"""Calls of tools as templates write them: found as transformers renders them, told from text however it comes, and demanded by a grammar."""

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from ftheta.core.errors import UsageError
from ftheta.data.chat.calls import Call, Calling, CallReader, calling, named
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.template import ChatTemplate

QWEN = Calling("<tool_call>\n", "\n</tool_call>", "arguments")
LLAMA = Calling("", "", "parameters")
CONTROL = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|python_tag|>"]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "sums", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]


def source(name: str) -> str:
    """A template of a published model, as trl carries it."""
    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("needs trl")
    return (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text()


@pytest.mark.parametrize("name, expected", [("qwen2_5", QWEN), ("qwen3", QWEN), ("qwen3_instruct_2507", QWEN), ("llama3_1", LLAMA), ("gemma", None), ("llama3", None)])
def test_a_template_says_how_it_writes_calls(name, expected):
    assert calling(ChatTemplate(source(name), "<|begin_of_text|>"), CONTROL) == expected


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_instruct_2507", "llama3_1"])
def test_calls_and_answers_are_rendered_as_transformers_does(name):
    """Also what a tool says in JSON, which some templates write as JSON once more, and an assistant who says nothing but a call."""
    transformers = pytest.importorskip("transformers")
    called = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 'a "word"'}}}
    plain = [
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "1 + 1? "}, {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": '{"sum":\n "2 中"}'}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "and?"},
    ]
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")), bos_token="<|begin_of_text|>")
    tokenizer.chat_template = source(name)
    expected = tokenizer.apply_chat_template(plain, tools=TOOLS, add_generation_prompt=True, tokenize=False)
    messages = [Message(message["role"], message["content"]) for message in plain]
    pieces = ChatTemplate(source(name), "<|begin_of_text|>").pieces(messages, ask=True, tools=TOOLS, calls=[message.get("tool_calls", ()) for message in plain])
    assert "".join(piece.text for piece in pieces) == expected
    assert [piece.text for piece in pieces if piece.content and piece.learned] == ["2"]


ADD, SUB = '{"name": "add", "arguments": {"a": 1, "b": "</tool_call> 中"}}', '{"name": "sub", "arguments": {}}'
LIKE_QWEN = [
    (f"<tool_call>\n{ADD}\n</tool_call>", "", ["add"]),
    (f"I look.\n<tool_call>\n{ADD}\n</tool_call>\n<tool_call>\n{SUB}\n</tool_call>\n", "I look.", ["add", "sub"]),
    (f"one\n<tool_call>{SUB}</tool_call>\ntwo", "one\ntwo", ["sub"]),
    ("no call at all, a < b <tool", "no call at all, a < b <tool", []),
    ("ends in white space \n", "ends in white space \n", []),
    ("<tool_call>\n{not json}\n</tool_call>", "<tool_call>\n{not json}\n</tool_call>", []),
    (f"<tool_call>\nno</tool_call> <tool_call>{SUB}</tool_call>", "<tool_call>\nno</tool_call>", ["sub"]),
    ('<tool_call>{"name": "other", "arguments": {}}</tool_call> x', '<tool_call>{"name": "other", "arguments": {}}</tool_call> x', []),
    ('<tool_call>{"name": "add", "arguments": 3}</tool_call>', '<tool_call>{"name": "add", "arguments": 3}</tool_call>', []),
    ('<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>', '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>', []),
    ('<tool_call>{"name": "add", "arguments": {"a": "\\ud800"}}</tool_call>', '<tool_call>{"name": "add", "arguments": {"a": "\\ud800"}}</tool_call>', []),
    ('<tool_call>\n{"name": "add", "argu', '<tool_call>\n{"name": "add", "argu', []),
    ("<tool_call>" + "[" * 9000, "<tool_call>" + "[" * 9000, []),
]
LIKE_LLAMA = [
    ('{"name": "add", "parameters": {"a": 1}}', "", ["add"]),
    (' {"name": "add", "parameters": {"a": {"b": 1}}}; {"name": "sub", "parameters": {}}\n', "", ["add", "sub"]),
    ('so: {"name": "add", "parameters": {}}', 'so: {"name": "add", "parameters": {}}', []),
    ('{"name": "add", "parameters": {}} and so on', '{"name": "add", "parameters": {}} and so on', []),
    ('{"other": 1}', '{"other": 1}', []), ("{", "{", []), (" plain", " plain", []), ("", "", []),
]


@pytest.mark.parametrize("how, text, expected, calls", [*((QWEN, *case) for case in LIKE_QWEN), *((LLAMA, *case) for case in LIKE_LLAMA)])
@pytest.mark.parametrize("size", [1, 3, 10, 10_000])
def test_calls_are_told_from_text_however_it_comes(how, text, expected, calls, size):
    if len(text) > 1000 and size < 10_000:
        pytest.skip("as long for every piece")
    reader, shown, found = CallReader(how, ["add", "sub"]), "", list[Call]()
    for start in range(0, len(text), size):
        more, new = reader.add(text[start : start + size])
        shown, found = shown + more, [*found, *new]
        assert expected.startswith(shown)                                                 # nothing is taken back
    more, new = reader.add("", last=True)
    assert shown + more == expected and [call.name for call in [*found, *new]] == calls
    assert reader.calls == len(calls)


def test_text_is_not_held_longer_than_it_must_be():
    reader = CallReader(QWEN, ["add"])
    assert [reader.add(piece)[0] for piece in ("Hello ", "there <", "b> ", "x <tool_", "call>")] == ["Hello", " there", " <b>", " x", ""]
    assert reader.add('{"name": "add", "arguments": {"a": 1}}</tool_call>') == ("", [Call("add", {"a": 1})])
    bare = CallReader(LLAMA, ["add"])
    assert bare.add("So ") == ("So ", []) and bare.add('{"name"') == ('{"name"', [])
    assert CallReader(None, ["add"]).add('{"name": "add", ') == ('{"name": "add", ', [])


def test_a_grammar_takes_calls_of_the_schema_only():
    llguidance = pytest.importorskip("llguidance")
    tools = [*TOOLS, {"type": "function", "function": {"name": "find", "parameters": {
        "$defs": {"Place": {"enum": ["here", "中"]}}, "type": "object", "properties": {"at": {"$ref": "#/$defs/Place"}}, "required": ["at"], "additionalProperties": False,
    }}}, {"type": "function", "function": {"name": "now"}}]
    assert named(tools) == ["add", "find", "now"]

    def takes(how: Calling, names: list[str], text: str) -> bool:
        # bytes as tokens: llguidance's own tokenizer for them, and not one of ours
        matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_lark(how.grammar(tools, names)))
        assert not matcher.get_error()
        return matcher.try_consume_tokens(list(text.encode())) == len(text.encode()) and matcher.is_accepting()

    def call(how: Calling, name: str, arguments) -> str:
        return f"{how.before}{json.dumps({'name': name, how.arguments: arguments}, ensure_ascii=False)}{how.after}"

    for how in (QWEN, LLAMA):
        assert takes(how, ["find"], call(how, "find", {"at": "中"})) and takes(how, ["add", "find"], call(how, "add", {"a": 1.5}))
        assert takes(how, ["now"], call(how, "now", {"any": [1]})) and takes(how, ["now"], call(how, "now", {}))
        for name, arguments in (("add", {"a": 1}), ("find", {"at": "there"}), ("find", {})):
            assert not takes(how, ["find"], call(how, name, arguments))
        assert not takes(how, ["find"], "x" + call(how, "find", {"at": "here"})) and not takes(how, ["find"], call(how, "find", {"at": "here"}) + "x")
    with pytest.raises(UsageError, match="tools: each is"):
        named([{"name": "add"}])
