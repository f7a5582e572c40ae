/** What kinds of tools of the provider there are, and why one is refused. `client`: it runs at the client, at no fee. */
export const TOOL_TYPES: Readonly<Record<string, "client" | { refused: string }>> = {
  bash_20250124: "client",
  memory_20250818: "client",
  text_editor_20250124: "client",
  text_editor_20250429: "client",
  text_editor_20250728: "client",
  ...refusedTypes("older than any model in the price table", [
    "bash_20241022",
    "computer_20241022",
    "text_editor_20241022",
  ]),
  ...refusedTypes("what its hidden instructions and screenshots take is not in the price table", [
    "browser_toolset_20260801",
    "computer_20250124",
    "computer_20251124",
    "computer_toolset_20260801",
  ]),
  ...refusedTypes("it is charged by use, and what it finds is billed as further input", [
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
  ]),
  ...refusedTypes(
    "the time of its container is charged, and each of its steps is billed as further input",
    [
      "code_execution_20250522",
      "code_execution_20250825",
      "code_execution_20260120",
      "code_execution_20260521",
    ],
  ),
  ...refusedTypes("another, dearer model answers, and max_tokens does not limit it", [
    "advisor_20260301",
  ]),
  ...refusedTypes(
    "the provider would call a server on its own, with results billed as further input",
    ["mcp_toolset"],
  ),
  ...refusedTypes("it runs at the provider, which samples again with what it found", [
    "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex",
    "tool_search_tool_regex_20251119",
  ]),
};

function refusedTypes(why: string, types: readonly string[]): Record<string, { refused: string }> {
  return Object.fromEntries(types.map((type) => [type, { refused: why }]));
}
