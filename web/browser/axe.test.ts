import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { findings, overflow } from "./findings.ts";
import { giveTask, openStage, placeUrl, type Stage } from "./stage.ts";

const chromium = findChromium();

const places = [
  ["/office", "Office"],
  ["/tasks", "Tasks"],
  ["/agents", "Agents"],
  ["/usage", /^Usage/],
  ["/limits", "Limits"],
  ["/settings/keys", "API keys"],
] as const;

describe.skipIf(chromium === undefined)("the page for everyone", () => {
  let stage: Stage;
  let taskUrl = "";
  beforeAll(async () => {
    stage = await openStage(chromium ?? "", { context: { reducedMotion: "reduce" } });
    await giveTask(stage, { agent: /Sutton/, prompt: "Profile these CSV files" });
    await stage.page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    taskUrl = stage.page.url();
    await giveTask(stage, { agent: /Sutton/, prompt: "Count the rows", capUsd: "0.0001" });
    await stage.page.getByRole("button", { name: "Raise" }).waitFor({ timeout: 30_000 });
  });
  afterAll(() => stage.close());

  const views = [
    { width: 1440, height: 900 },
    { width: 1024, height: 768 },
    { width: 390, height: 844 },
  ].flatMap((viewport) =>
    (["dark", "light"] as const).map((colorScheme) => ({ viewport, colorScheme })),
  );

  it.each(views)(
    "has no serious finding and never scrolls sideways at $viewport.width px, $colorScheme",
    async ({ viewport, colorScheme }) => {
      const { page } = stage;
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      for (const [path, name] of places) {
        await page.goto(placeUrl(page, path));
        await page.getByRole("heading", { name, level: 1 }).waitFor();
        await page.locator('[data-connection="live"]').waitFor();
        expect([path, await findings(page), await overflow(page)]).toEqual([path, [], 0]);
      }
      await page.goto(taskUrl);
      await page.getByRole("heading", { name: "Result" }).waitFor();
      expect(["task", await findings(page), await overflow(page)]).toEqual(["task", [], 0]);
    },
  );

  it("has no serious finding in its dialogs and on a paused task", async () => {
    const { page } = stage;
    await page.setViewportSize({ width: 1024, height: 768 });
    await page.goto(placeUrl(page, "/tasks"));
    await page.getByRole("link", { name: "Count the rows" }).click();
    await page.getByRole("button", { name: "Raise" }).click();
    await page.getByRole("dialog").waitFor();
    expect(["raise", await findings(page)]).toEqual(["raise", []]);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Cancel task" }).click();
    await page.getByRole("dialog").waitFor();
    expect(["cancel", await findings(page)]).toEqual(["cancel", []]);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "New task" }).click();
    await page.getByText("Copy as a command").click();
    expect(["new task", await findings(page)]).toEqual(["new task", []]);
    await page.keyboard.press("Escape");
    await page.goto(placeUrl(page, "/limits"));
    await page.getByRole("button", { name: /^History of This workspace, Model cost/ }).click();
    await page.getByRole("cell", { name: "Guildhall" }).first().waitFor();
    expect(["history", await findings(page)]).toEqual(["history", []]);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Simulate a call" }).click();
    await page.getByRole("button", { name: "Ask the limits" }).click();
    await page.getByText("It can cost at most").waitFor();
    expect(["simulate", await findings(page)]).toEqual(["simulate", []]);
    await page.keyboard.press("Escape");
    await page.goto(taskUrl);
    await page.getByRole("button", { name: "report.md", exact: true }).click();
    await page.getByRole("dialog").waitFor();
    expect(["artifact", await findings(page)]).toEqual(["artifact", []]);
  });

  it("has no serious finding where nobody is signed in", async () => {
    const context = await stage.browser.newContext();
    const page = await context.newPage();
    await page.goto(stage.product.url);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(await findings(page)).toEqual([]);
    await context.close();
  });
});
