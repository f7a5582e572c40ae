import type { Page } from "playwright-core";
import { afterEach, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { giveTask, openStage, type Stage } from "./stage.ts";

const chromium = findChromium();

/** The transcript as a reader has it in front of them: step numbers, in order. */
function stepNumbers(page: Page): Promise<number[]> {
  return page
    .getByRole("region", { name: "Events, newest last" })
    .locator("li > div > :is(button, div):first-child > :nth-child(2)")
    .allInnerTexts()
    .then((texts) => texts.map(Number));
}

describe.skipIf(chromium === undefined)("the live view", () => {
  let stage: Stage;
  afterEach(() => stage.close());

  it("continues without a hole when the server is killed and comes back in the middle of a run", async () => {
    stage = await openStage(chromium ?? "", {
      env: {
        SIMULATOR_EVENT_DELAY_MS: "60",
        LEASE_MS: "1500",
        HEARTBEAT_MS: "400",
        LEASE_GRACE_MS: "100",
      },
    });
    const { page } = stage;
    await giveTask(stage, { agent: /Sutton/, prompt: "Profile these CSV files" });
    await page.getByText("Profile input/data/people.csv").first().waitFor();
    await stage.crash();
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 60_000 });
    await page.getByText(/^Attempt 2 began.*resumed at step \d+/).waitFor();
    await page.locator('[data-connection="live"]').waitFor();
    const steps = await stepNumbers(page);
    expect(steps).toEqual(Array.from({ length: steps.length }, (_, index) => index + 1));
    expect(steps.length).toBeGreaterThan(4);
  });

  it("follows by polling where sockets are blocked, and says so", async () => {
    stage = await openStage(chromium ?? "", {
      prepare: (page) => page.routeWebSocket(/\/v1\/socket/, (socket) => socket.close()),
    });
    const { page } = stage;
    await page.locator('[data-connection="polling"]').waitFor();
    await giveTask(stage, { agent: /Sutton/, prompt: "Profile these CSV files" });
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    expect((await stepNumbers(page)).length).toBeGreaterThan(4);
    expect(stage.troubles).toEqual([]);
  });
});
