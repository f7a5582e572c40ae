import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium, openPage } from "./chromium.ts";
import { giveTask, openStage, placeUrl, type Stage } from "./stage.ts";

const chromium = findChromium();

describe.skipIf(chromium === undefined)("the page by mouse", () => {
  let stage: Stage;
  let openedMs = 0;
  beforeAll(async () => {
    openedMs = performance.now();
    stage = await openStage(chromium ?? "", { env: { SIMULATOR_EVENT_DELAY_MS: "15" } });
  });
  afterAll(() => stage.close());

  it("takes the secret of the sign-in link out of the address bar and the history", async () => {
    const { page } = stage;
    expect(page.url()).toMatch(/\/w\/ws_[0-9a-z]+\/office$/);
    const visited = await page.evaluate(() => ({ length: history.length, url: location.href }));
    expect(visited.url).not.toContain("token");
  });

  it("takes a task over a folder from the first click to the downloaded file within a minute", async () => {
    const { page } = stage;
    await giveTask(stage, {
      agent: /Sutton/,
      prompt: "Profile these CSV files and write report.md",
    });
    await page.getByText("data/people.csv").first().waitFor();
    // Watched live: the running call shows what it may cost before it has cost it.
    await page.getByText(/reserved for the running call/).waitFor();
    await page.getByText("Profile input/data/sales.csv").first().waitFor();
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    await page.getByRole("button", { name: "report.md", exact: true }).click();
    const preview = page.getByRole("dialog", { name: "report.md" });
    await preview.getByRole("heading", { name: "Data report" }).waitFor();
    await preview.getByRole("cell", { name: "input/data/sales.csv" }).first().waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      preview.getByRole("button", { name: "Download" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("report.md");
    expect(await readFile(await download.path(), "utf8")).toContain("sales.csv");
    expect((performance.now() - openedMs) / 1_000).toBeLessThan(60);
    await page.keyboard.press("Escape");
  });

  it("shows the same cost on the task, in the table and in the budget", async () => {
    const { page } = stage;
    const spent = await page
      .getByRole("region", { name: "Cost", exact: true })
      .locator("dd")
      .first()
      .innerText();
    expect(spent).toMatch(/^\$0\.\d{4}$/);
    await page.getByRole("link", { name: "Tasks", exact: true }).first().click();
    await page.getByRole("cell", { name: spent }).waitFor();
    await page.getByRole("link", { name: `Model budget: ${spent} spent` }).waitFor();
  });

  it("keeps the choice of tasks in the address", async () => {
    const { page } = stage;
    await page.getByRole("button", { name: "Failed" }).click();
    await page.getByText("No task is in this view.").waitFor();
    expect(page.url()).toContain("state=failed");
    await page.reload();
    await page.getByText("No task is in this view.").waitFor();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("link", { name: "Profile these CSV files" }).waitFor();
  });

  it("makes a key that works, shows it once, and revokes it", async () => {
    const { page, product } = stage;
    await page.getByRole("link", { name: "Keys" }).click();
    await page.getByRole("button", { name: "Create key" }).click();
    await page.getByLabel("Name").fill("ci-bot");
    await page.getByRole("dialog").getByRole("button", { name: "Create key" }).click();
    const secret = await page.getByRole("region", { name: "The key" }).innerText();
    const ask = () =>
      fetch(`${product.url}/v1/me`, { headers: { authorization: `Bearer ${secret.trim()}` } });
    expect((await ask()).status).toBe(200);
    await page.keyboard.press("Escape");
    await page.getByLabel("I have stored it").check();
    await page.getByRole("button", { name: "Done" }).click();
    expect(await page.content()).not.toContain(secret.trim());
    await page.getByRole("button", { name: "Revoke ci-bot" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText(/^Revoked /).waitFor();
    await expect.poll(async () => (await ask()).status, { timeout: 10_000 }).toBe(401);
  });

  it("says what to do when a link is used a second time", async () => {
    const { browser, product } = stage;
    const context = await browser.newContext();
    const { page } = await openPage(context, product.url);
    await page.goto(product.signInLink);
    await page.getByText("This sign-in link was used before or has ended").waitFor();
    expect(page.url()).not.toContain("token");
    await context.close();
  });

  it("leads a signed-out visitor to sign in, and back to where they were going", async () => {
    const { browser, product, page: own } = stage;
    const target = placeUrl(own, "/usage");
    const context = await browser.newContext();
    const { page } = await openPage(context, product.url);
    await page.goto(target);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(new URL(page.url()).searchParams.get("next")).toBe(new URL(target).pathname);
    await context.close();
  });

  it("asks nothing of any other origin and reports no error", () => {
    expect(stage.troubles).toEqual([]);
  });
});
