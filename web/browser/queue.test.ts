import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { findings, overflow } from "./findings.ts";
import { focused, tabTo } from "./keyboard.ts";
import { giveTask, openStage, placeUrl, type Stage } from "./stage.ts";

const chromium = findChromium();

/** The same hour of tomorrow, as the page's own time zone has it. */
function tomorrow(page: Page): Promise<{ typed: [string, string]; shown: RegExp }> {
  return page.evaluate(() => {
    const at = new Date(Date.now() + 24 * 3_600_000);
    const two = (value: number): string => String(value).padStart(2, "0");
    const hour = at.getHours() % 12 === 0 ? 12 : at.getHours() % 12;
    return {
      typed: [
        `${two(at.getMonth() + 1)}${two(at.getDate())}${at.getFullYear()}`,
        `${two(hour)}${two(at.getMinutes())}${at.getHours() < 12 ? "AM" : "PM"}`,
      ] as [string, string],
      shown: new RegExp(`Starts at .*${two(at.getHours())}:${two(at.getMinutes())}`),
    };
  });
}

describe.skipIf(chromium === undefined)("the queue on the page", () => {
  let stage: Stage;
  beforeAll(async () => {
    const env = { RETRY_BACKOFF_MS: "50" };
    stage = await openStage(chromium ?? "", { env, context: { reducedMotion: "reduce" } });
  });
  afterAll(() => stage.close());

  it("gives a task that starts later by keyboard, and the task says so with the time, in the list and on its page", async () => {
    const { page } = stage;
    const { typed, shown } = await tomorrow(page);
    await page.keyboard.press("c");
    const dialog = page.getByRole("dialog", { name: "New task" });
    await dialog.waitFor();
    await expect.poll(() => focused(page)).toBe("What should be done?");
    await page.keyboard.type("Look at it tomorrow");
    await tabTo(page, /^Start later/);
    await page.keyboard.type(typed[0]);
    // Half a moment is none: nothing is sent.
    await page.keyboard.press("ControlOrMeta+Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.type(typed[1]);
    await dialog.getByText(/^It starts at .*, not before/).waitFor();
    expect(["dialog", await findings(page)]).toEqual(["dialog", []]);
    await page.keyboard.press("ControlOrMeta+Enter");

    await page.getByRole("heading", { name: "Look at it tomorrow" }).waitFor();
    await page.getByText(shown).waitFor();
    expect(["task", await findings(page)]).toEqual(["task", []]);
    await page.goto(placeUrl(page, "/tasks?state=queued"));
    await page.getByRole("row", { name: shown }).waitFor();
    expect(await page.getByRole("row").count()).toBe(2);
    await page.goto(placeUrl(page, "/office"));
    await page.getByRole("heading", { name: "Office", level: 1 }).waitFor();
    expect(await page.getByText("in line").count()).toBe(0);
  });

  it("lists dead tasks with their cause, and does one again by one key, once", async () => {
    const { page } = stage;
    // Where folders of runs should be, there is a file: every attempt fails.
    const runs = join(stage.product.dataDir, "runs");
    await rm(runs, { recursive: true, force: true });
    await writeFile(runs, "");
    await giveTask(stage, { agent: /Sutton/, prompt: "Profile these CSV files" });
    const outcome = page.getByRole("region", { name: "The task failed" });
    await outcome.getByText("Three attempts in a row failed").waitFor({ timeout: 50_000 });
    await page.getByRole("button", { name: "Change and run…" }).waitFor();
    expect(["dead task", await findings(page)]).toEqual(["dead task", []]);
    await rm(runs);

    await page.goto(placeUrl(page, "/tasks"));
    await page.getByRole("button", { name: "Dead", exact: true }).click();
    expect(new URL(page.url()).searchParams.get("cause")).toBe("attempts_exhausted");
    const row = page.getByRole("row", { name: /Profile these CSV files.*Three attempts/ });
    await row.waitFor();
    expect(await page.getByRole("row").count()).toBe(2);
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect([width, await findings(page), await overflow(page)]).toEqual([width, [], 0]);
    }
    await page.setViewportSize({ width: 1440, height: 900 });

    await page.keyboard.press("j");
    expect(await focused(page)).toMatch(/^Profile these/);
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("Run again: Profile these CSV files");
    const dead = page.url();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    const replay = page.url();
    await page.goto(dead);
    await row.getByRole("button", { name: /^Run again/ }).click();
    await page.getByRole("heading", { name: "Result" }).waitFor();
    expect(page.url()).toBe(replay);
  });

  it("asks nothing of any other origin and reports no error", () => {
    expect(stage.troubles).toEqual([]);
  });
});
