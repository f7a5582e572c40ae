"""Every feature of the official Python client that a call can be made with. Prints the name of each call first."""

import asyncio
import sys

import anthropic
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="recording", max_retries=0)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
BASE = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 4000,
    "messages": [{"role": "user", "content": "Hello."}],
}
TOOL = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


class Answer(BaseModel):
    answer: str
    certain: bool = True


@anthropic.beta_tool
def add(a: int, b: int = 0) -> str:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return str(a + b)


def stream(**changes):
    with client.messages.stream(**{**BASE, **changes}) as events:
        return events.get_final_message()


async def asynchronous():
    async with anthropic.AsyncAnthropic(base_url=sys.argv[1], api_key="recording", max_retries=0) as caller:
        await caller.messages.create(**BASE)


def run_tools():
    runner = client.beta.messages.tool_runner(
        **BASE, tools=[add], tool_choice={"type": "tool", "name": "add"}, max_iterations=1
    )
    return list(runner)


SCENARIOS = {
    "plain": lambda: client.messages.create(**BASE),
    "asynchronous": lambda: asyncio.run(asynchronous()),
    "stream": stream,
    "tools": lambda: client.messages.create(**BASE, tools=[TOOL], tool_choice={"type": "any"}),
    "tool runner": run_tools,
    "thinking": lambda: stream(thinking={"type": "enabled", "budget_tokens": 2000}),
    "image": lambda: client.messages.create(
        **{
            **BASE,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        {"type": "text", "text": "What is it? Größe?"},
                    ],
                }
            ],
        }
    ),
    "prompt caching": lambda: client.messages.create(
        **BASE,
        system=[{"type": "text", "text": "You are careful. " * 400, "cache_control": {"type": "ephemeral"}}],
    ),
    "structured output": lambda: client.messages.parse(**BASE, output_format=Answer),
    "context management": lambda: client.beta.messages.create(
        **BASE,
        betas=["context-management-2025-06-27"],
        context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
    ),
    "count tokens": lambda: client.messages.count_tokens(
        model=BASE["model"], messages=BASE["messages"], tools=[TOOL]
    ),
}

for name, call in SCENARIOS.items():
    print(name, flush=True)
    sys.stdin.readline()
    try:
        call()
    except Exception as error:
        print(f"{name}: {error}", file=sys.stderr)
print("", flush=True)
