import { afterAll, expect, test } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { createFrozenModels, liftFrozenModel } from "../budget/frozen-models.ts";
import { expectLaws, post, SMALL, startBoth, startGateway, startRun } from "./gateway-fixture.ts";

const database = await createTestDatabase();
afterAll(() => expectLaws(database));

const COMBINATION = SMALL.model;

test("a charge above its bound stops the model at every gateway, past restarts, until an operator lifts it", async () => {
  const one = await startBoth(database, {
    sharedFreeze: true,
    provider: { faults: [{ kind: "usage", form: "times_ten", times: 1 }] },
  });
  const shared = { upstreamUrl: one.providerUrl, sharedFreeze: true };
  const run = await startRun(database);
  const call = async (url: string, body: object = SMALL): Promise<number> => {
    const response = await post(url, { token: run.token, body });
    await response.text();
    return response.status;
  };
  expect(await call(one.url, { ...SMALL, max_tokens: 60 })).toBe(200);
  expect(await call(one.url)).toBe(503);
  const models = createFrozenModels(database.db);
  await expect
    .poll(() => models.list())
    .toMatchObject([{ combination: COMBINATION, holdId: expect.stringMatching(/^hold_/) }]);
  const [{ overrunNanoUsd } = { overrunNanoUsd: 0 }] = await models.list();
  expect(overrunNanoUsd).toBeGreaterThan(0);

  const restarted = await startGateway(database, shared);
  expect(await call(restarted.url)).toBe(503);
  expect(await call(restarted.url, { ...SMALL, model: "claude-opus-5-5" })).toBe(200);

  expect(await liftFrozenModel(database.db, { combination: COMBINATION, who: "test" })).toBe(true);
  expect(await liftFrozenModel(database.db, { combination: COMBINATION, who: "test" })).toBe(false);
  expect(await models.list()).toEqual([]);
  const fresh = await startGateway(database, shared);
  expect(await call(fresh.url)).toBe(200);
  // The gateways that know it as stopped hear of the end by themselves.
  await expect.poll(() => call(one.url), { timeout: 20_000, interval: 200 }).toBe(200);
}, 40_000);
