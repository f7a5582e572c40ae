import type { Dispatcher } from "undici";
import { expect, test } from "vitest";
import { createAnswerSource } from "./answer-body.ts";

function createConnection() {
  const said: string[] = [];
  let paused = false;
  const controller = {
    pause() {
      if (!paused) said.push("pause");
      paused = true;
    },
    resume() {
      if (paused) said.push("resume");
      paused = false;
    },
    abort: () => said.push("abort"),
  } as unknown as Dispatcher.DispatchController;
  return { controller, said };
}

const bytes = (text: string): Buffer => Buffer.from(text);

test("what came before it was asked for comes together, in order, and then the end", async () => {
  const { body, push, end } = createAnswerSource(createConnection().controller);
  push(bytes("a"));
  push(bytes("b"));
  expect(await body.next()).toEqual(bytes("ab"));
  const next = body.next();
  push(bytes("c"));
  push(bytes("d"));
  end();
  expect(await next).toEqual(bytes("cd"));
  expect(await body.next()).toBeUndefined();
  expect(await body.next()).toBeUndefined();
});

test("what came before the connection broke is read first", async () => {
  const { body, push, fail } = createAnswerSource(createConnection().controller);
  push(bytes("a"));
  fail(new Error("broken"));
  expect(await body.next()).toEqual(bytes("a"));
  await expect(body.next()).rejects.toThrow("broken");
});

test("no more is read from the provider while a slow reader leaves much, until it has taken it", async () => {
  const { controller, said } = createConnection();
  const { body, push } = createAnswerSource(controller);
  push(Buffer.alloc(64 * 1024));
  expect(said).toEqual([]);
  push(Buffer.alloc(1));
  expect(said).toEqual(["pause"]);
  await body.next();
  expect(said).toEqual(["pause", "resume"]);
});

test("what is let go takes no room, and a paused connection reads on to its end", () => {
  const { controller, said } = createConnection();
  const { body, push, end } = createAnswerSource(controller);
  push(Buffer.alloc(64 * 1024 + 1));
  body.letGo();
  for (let n = 0; n < 10; n++) push(Buffer.alloc(64 * 1024));
  end();
  expect(said).toEqual(["pause", "resume"]);
});
