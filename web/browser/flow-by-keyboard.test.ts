import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { focused, tabTo } from "./keyboard.ts";
import { openStage, type Stage } from "./stage.ts";

const chromium = findChromium();

describe.skipIf(chromium === undefined)("the page by keyboard alone", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage(chromium ?? "");
  });
  afterAll(() => stage.close());

  it("offers to skip what is the same on every page", async () => {
    const { page } = stage;
    await page.keyboard.press("Tab");
    expect(await focused(page)).toBe("Skip to content");
    await page.keyboard.press("Enter");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("content");
  });

  it("moves between the agents by arrows, with one of them in the tab order", async () => {
    const { page } = stage;
    await tabTo(page, /^Marcus Bell,/);
    await page.keyboard.press("ArrowDown");
    expect(await focused(page)).toMatch(/^Sable Chen, .*, Idle/);
    await page.keyboard.press("End");
    expect(await focused(page)).toMatch(/Sutton/);
    await page.getByRole("complementary", { name: /Sutton/ }).waitFor();
  });

  it("gives a task over a folder, watches it, and downloads the result", async () => {
    const { page } = stage;
    await page.keyboard.press("c");
    await page.getByRole("dialog", { name: "New task" }).waitFor();
    await expect.poll(() => focused(page)).toBe("What should be done?");
    await page.keyboard.type("Profile these CSV files and write report.md");
    await page.keyboard.press("Tab");
    for (let presses = 0; presses < 5 && !/Sutton/.test(await focused(page)); presses++) {
      await page.keyboard.press("ArrowDown");
    }
    expect(await focused(page)).toMatch(/Sutton/);
    await tabTo(page, /^Pick a folder$/);
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      page.keyboard.press("Enter"),
    ]);
    await chooser.setFiles(stage.inputFolder);
    await page.getByText("data/sales.csv").waitFor();
    await tabTo(page, /^Run$/);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    await tabTo(page, /^report\.md$/);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Data report" }).waitFor();
    await tabTo(page, /^Download$/);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.keyboard.press("Enter"),
    ]);
    expect(await readFile(await download.path(), "utf8")).toContain("people.csv");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await focused(page)).toBe("report.md");
  });

  it("opens a step of the transcript", async () => {
    const { page } = stage;
    await tabTo(page, /List files/);
    await page.keyboard.press("Enter");
    await page.getByText("list_files {").waitFor();
  });

  it("goes through the places by two keys and through the tasks by j, k and Enter", async () => {
    const { page } = stage;
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await page.getByRole("heading", { name: "Tasks", level: 1 }).waitFor();
    await page.getByRole("link", { name: /^Profile these/ }).waitFor();
    await page.keyboard.press("j");
    expect(await focused(page)).toMatch(/^Profile these/);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Transcript" }).waitFor();
    for (const [key, place] of [
      ["u", "Usage"],
      ["a", "Agents"],
      ["o", "Office"],
    ] as const) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.getByRole("heading", { name: place, level: 1 }).waitFor();
    }
  });

  it("takes two keys that come at once, as on a busy page, for one shortcut", async () => {
    const { page } = stage;
    await page.evaluate(() => {
      for (const key of ["g", "u"]) {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      }
    });
    await page.getByRole("heading", { name: /^Usage/, level: 1 }).waitFor();
  });

  it("lists the shortcuts, and lets them be turned off", async () => {
    const { page } = stage;
    await page.keyboard.press("?");
    const dialog = page.getByRole("dialog", { name: "Keyboard shortcuts" });
    await dialog.waitFor();
    await tabTo(page, /^Single-key shortcuts are on$/);
    await page.keyboard.press("Space");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.keyboard.press("c");
    await page.keyboard.press("?");
    expect(await page.getByRole("dialog").count()).toBe(0);
  });

  it("asks nothing of any other origin and reports no error", () => {
    expect(stage.troubles).toEqual([]);
  });
});
