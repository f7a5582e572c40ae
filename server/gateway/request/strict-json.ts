/** JSON as the strict parser makes it. Integers that a double cannot hold come as raw JSON, so they keep their digits. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };

export type StrictJson = { status: "parsed"; value: Json } | { status: "refused"; message: string };

/** Depth and size that no real request comes near; beyond them parsing only costs time and memory. */
const MAX_DEPTH = 100;
const MAX_VALUES = 500_000;

class Refusal extends Error {}

/** All that may stand in a string unescaped: no quote, no backslash, no control character. */
const PLAIN_CHARACTERS = /[\u0020-\u0021\u0023-\u005b\u005d-\uffff]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WHITESPACE = /[ \t\r\n]*/y;
const HEX4 = /[0-9a-fA-F]{4}/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** V8 has this since Node 21; the library types of TypeScript do not know it yet. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): JsonObject };

/** One pass over the text; `at` is where it is. A class, since position and count are its state. */
class Parser {
  readonly #text: string;
  #at = 0;
  #values = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    const value = this.#value(0);
    this.#skip();
    if (this.#at !== this.#text.length) this.#refuse("text after the end");
    return value;
  }

  #refuse(what: string): never {
    throw new Refusal(`The request body is not acceptable JSON: ${what} at character ${this.#at}.`);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #skip(): void {
    this.#match(WHITESPACE);
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) this.#refuse(`nesting deeper than ${MAX_DEPTH}`);
    this.#values += 1;
    if (this.#values > MAX_VALUES) this.#refuse(`more than ${MAX_VALUES} values`);
    this.#skip();
    switch (this.#text[this.#at]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      case "t":
        return this.#word("true", true);
      case "f":
        return this.#word("false", false);
      case "n":
        return this.#word("null", null);
      default:
        return this.#number();
    }
  }

  #word<T extends boolean | null>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) this.#refuse("an unknown word");
    this.#at += word.length;
    return value;
  }

  #number(): number | JsonObject {
    const text = this.#match(NUMBER);
    if (text === "") this.#refuse("an unexpected character");
    const value = Number(text);
    if (!Number.isFinite(value)) this.#refuse("a number out of range");
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? rawJSON(text) : value;
  }

  #string(): string {
    this.#at += 1;
    let result = this.#match(PLAIN_CHARACTERS);
    for (;;) {
      const next = this.#text[this.#at];
      if (next === '"') {
        this.#at += 1;
        return result;
      }
      if (next !== "\\")
        this.#refuse(next === undefined ? "an open string" : "a bare control character");
      result += this.#escape() + this.#match(PLAIN_CHARACTERS);
    }
  }

  #escape(): string {
    const kind = this.#text[this.#at + 1] ?? "";
    this.#at += 2;
    if (kind === "u") {
      const hex = this.#match(HEX4);
      if (hex === "") this.#refuse("a broken escape");
      return String.fromCharCode(Number.parseInt(hex, 16));
    }
    return ESCAPES[kind] ?? this.#refuse("an unknown escape");
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#at += 1;
    this.#skip();
    if (this.#text[this.#at] === "]") {
      this.#at += 1;
      return items;
    }
    for (;;) {
      items.push(this.#value(depth + 1));
      if (this.#closes("]")) return items;
    }
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = {};
    this.#at += 1;
    this.#skip();
    if (this.#text[this.#at] === "}") {
      this.#at += 1;
      return object;
    }
    for (;;) {
      this.#skip();
      if (this.#text[this.#at] !== '"') this.#refuse("a key without quotes");
      const key = this.#string();
      if (Object.hasOwn(object, key))
        this.#refuse(`the key ${JSON.stringify(key.slice(0, 80))} twice`);
      this.#skip();
      if (this.#text[this.#at] !== ":") this.#refuse("a missing colon");
      this.#at += 1;
      // Assigning to __proto__ would not make a key of that name.
      Object.defineProperty(object, key, {
        value: this.#value(depth + 1),
        enumerable: true,
        configurable: true,
        writable: true,
      });
      if (this.#closes("}")) return object;
    }
  }

  /** After an element: true at the closing bracket, false after a comma. */
  #closes(bracket: string): boolean {
    this.#skip();
    const next = this.#text[this.#at];
    this.#at += 1;
    if (next === bracket) return true;
    if (next === ",") return false;
    this.#at -= 1;
    return this.#refuse(`a missing comma or ${bracket}`);
  }
}

/**
 * Parses a request body once and strictly: valid UTF-8 without a byte order mark, no key twice, bounded depth and
 * size. What two parsers could read differently is refused, for the provider must see what was priced.
 */
export function parseStrictJson(body: Uint8Array): StrictJson {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return { status: "refused", message: "The request body is not valid UTF-8." };
  }
  if (text.startsWith("\uFEFF"))
    return { status: "refused", message: "The request body starts with a byte order mark." };
  try {
    return { status: "parsed", value: new Parser(text).document() };
  } catch (error) {
    if (error instanceof Refusal) return { status: "refused", message: error.message };
    throw error;
  }
}
