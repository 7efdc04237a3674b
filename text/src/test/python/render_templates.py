"""Writes renderings.json: what the Python reference makes of the templates beside it.

The reference is apply_chat_template of transformers 5.23, with the clock stopped. The spans are the
generation blocks, in code points.

    python3 render_templates.py
"""

import datetime
import json
import pathlib

from transformers.utils import chat_template_utils as reference

FOLDER = pathlib.Path(__file__).parent.parent / "resources/espalier/text/templates"


class Stopped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 7, 8, 9, 12)


reference.datetime = Stopped

CONVERSATIONS = {
    "plain": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello <b>'there'</b> & \"you\""},
        {"role": "user", "content": "  How are\nyou?  "},
    ],
    "system": [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Ünïcode 日本 😀"},
        {"role": "assistant", "content": "Ja."},
    ],
    "tools": [
        {"role": "user", "content": "Rain in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {
                        "name": "rain",
                        "arguments": {"city": "Oslo é", "days": 2, "x": [1.5, None, True]},
                    },
                }
            ],
        },
        {"role": "tool", "name": "rain", "tool_call_id": "c1", "content": '{"mm": 3}'},
        {"role": "tool", "content": "late"},
        {"role": "assistant", "content": "3 mm."},
    ],
    "thoughts": [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
        {"role": "user", "content": "c?"},
        {"role": "assistant", "content": "d", "thinking": "e"},
    ],
    "named_thought": [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "reasoning": "since", "content": "b"},
    ],
    "parts": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "See "}, {"type": "image", "url": "u"}],
        },
        {"role": "critic", "content": [{"type": "smell"}]},
    ],
    "twice": [{"role": "user", "content": "a"}, {"role": "user", "content": ""}],
    "empty": [],
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "rain",
            "description": "How much <rain> & 'snow' é",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": ["integer", "null"]},
                    "kind": {"enum": ["rain", "snow"]},
                    "near": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"km": {"type": "number"}},
                            "required": ["km"],
                        },
                    },
                },
                "required": ["city"],
            },
        },
    }
]

VARIABLES = [
    {},
    {"tools": TOOLS, "enable_thinking": False},
    {"documents": [{"title": "T é", "id": 1}, {"id": "b", "text": "x"}], "day": "1 May"},
]


def render(source, messages, prompt, variables):
    texts, spans = reference.render_jinja_template(
        [messages],
        chat_template=source,
        return_assistant_tokens_mask=True,
        add_generation_prompt=prompt,
        bos_token="<s>",
        eos_token="</s>",
        **variables,
    )
    return texts[0], [list(span) for span in spans[0]]


cases = []
for path in sorted(FOLDER.glob("*.jinja")):
    source = path.read_text(encoding="utf-8")
    for name, messages in CONVERSATIONS.items():
        for number, variables in enumerate(VARIABLES):
            for prompt in [False, True] if "add_generation_prompt" in source else [False]:
                if number and not any(word in source for word in variables):
                    continue
                case = {
                    "template": path.name,
                    "conversation": name,
                    "variables": number,
                    "add_generation_prompt": prompt,
                }
                try:
                    case["text"], case["generated"] = render(source, messages, prompt, variables)
                except Exception as e:
                    case["error"] = f"{type(e).__name__}: {e}"
                cases.append(case)

(FOLDER / "renderings.json").write_text(
    json.dumps(
        {"conversations": CONVERSATIONS, "variables": VARIABLES, "cases": cases},
        ensure_ascii=False,
        indent=1,
    )
    + "\n",
    encoding="utf-8",
)
