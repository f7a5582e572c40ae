import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { giveTask, openStage, placeUrl, type Stage } from "./stage.ts";

const chromium = findChromium();

describe.skipIf(chromium === undefined)("limits, questions and ends on the page", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage(chromium ?? "", { env: { SIMULATOR_EVENT_DELAY_MS: "15" } });
  });
  afterAll(() => stage.close());

  it("names the limit that stops a task, and the task goes on by itself once it is raised", async () => {
    const { page } = stage;
    await giveTask(stage, { agent: /Sutton/, prompt: "Profile them", capUsd: "0.0001" });
    const banner = page.getByRole("region", { name: "A limit holds work up" });
    await banner
      .getByText(/the limit is reached: Task budget \$0\.0001.*Nothing is lost/)
      .waitFor();
    await banner.getByRole("button", { name: "Raise" }).click();
    const dialog = page.getByRole("dialog");
    const amount = dialog.getByLabel("New limit, US dollars");
    await amount.fill("0.0002");
    await dialog.getByText(/needs a limit of at least/).waitFor();
    expect(await dialog.getByRole("button", { name: "Raise" }).isDisabled()).toBe(true);
    await amount.fill("0.50");
    await dialog.getByRole("button", { name: "Raise" }).click();
    await page.getByRole("heading", { name: "Result" }).waitFor({ timeout: 50_000 });
    expect(await banner.count()).toBe(0);
  });

  it("leads from a paused task to the limit that stops it, where it is raised by keyboard and the change stays to be read", async () => {
    const { page } = stage;
    await giveTask(stage, { agent: /Sable/, prompt: "Compare them", capUsd: "0.0001" });
    const banner = page.getByRole("region", { name: "A limit holds work up" });
    await banner.getByRole("link", { name: "See the limit" }).click();
    await page.getByRole("heading", { name: "Limits", level: 1 }).waitFor();
    const row = page.locator('tr[id^="limit-task-task_"]');
    await row.getByText(/needs \$0\.0\d+, since/).waitFor();
    expect(await row.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog", { name: "Raise: Compare them, Model cost" });
    await dialog.getByText(/Parked work goes on by itself/).waitFor();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type("0.5");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    await row.waitFor({ state: "detached", timeout: 50_000 });

    await page.getByRole("button", { name: "Change This workspace, Tasks at once" }).click();
    await page.getByLabel("New limit").fill("4");
    await page.getByRole("button", { name: "Set limit" }).click();
    await page.getByRole("button", { name: "History of This workspace, Tasks at once" }).click();
    await page.getByRole("row", { name: /^2 4 Local owner/ }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Change This workspace, Tasks at once" }).click();
    await page.getByLabel("New limit").fill("9");
    await page.getByLabel("For how long").selectOption({ label: "1 day, then as it was" });
    await page.getByRole("button", { name: "Set limit" }).click();
    await page.getByText(/^Until .*, then 4 again$/).waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("o");
    await page.getByRole("link", { name: /Model budget/ }).click();
    await page.getByRole("heading", { name: "Limits", level: 1 }).waitFor();
  });

  it("shows what the files of the workspace take of their quota, and who agreed it", async () => {
    const { page, product } = stage;
    await page.goto(placeUrl(page, "/limits"));
    const row = page.locator('tr[id$="-storage_bytes"]');
    await row.getByText(/^Stored files$/).waitFor();
    await row.getByText("/ 10.0 GB").waitFor();
    const workspaceId = /\/w\/([^/]+)/.exec(page.url())?.[1] ?? "";
    for (const quota of [["1.5GB"], []]) {
      const agreed = await product.cli("operator", "storage", workspaceId, ...quota);
      expect(agreed.stdout).toMatch(/^ws_\w+: 1\.5 GB; \d.* are stored\n$/);
    }
    const listed = await product.cli("limit", "list");
    expect(listed.stdout).toMatch(/stored files +now +\d\S* \w+ +1\.5 GB +refuse +ok/);
    await page.reload();
    await row.getByText("/ 1.5 GB").waitFor();
    // Only the operator changes it.
    expect(await row.getByRole("button").allTextContents()).toEqual(["History"]);
    await row.getByRole("button", { name: "History of This workspace, Stored files" }).click();
    await page.getByRole("row", { name: /^1 1\.5 GB Whoever runs this installation/ }).waitFor();
    await page.keyboard.press("Escape");
  });

  it("shows a question as soon as the agent asks, and goes on with the answer", async () => {
    const { page } = stage;
    await giveTask(stage, { agent: /Marcus/, prompt: "Decide what to do. Ask me when unsure." });
    const answer = page.getByLabel("Your answer");
    await answer.waitFor({ timeout: 30_000 });
    await answer.fill("Leave nothing out.");
    await page.getByRole("button", { name: "Answer" }).click();
    await page.getByText("Answered: Leave nothing out.").waitFor();
    await answer.waitFor({ state: "detached" });
  });

  it("cancels after a confirmation, and nothing stays reserved", async () => {
    const { page } = stage;
    await giveTask(stage, { agent: /Sable/, prompt: "Read everything twice" });
    await page.keyboard.press(".");
    const dialog = page.getByRole("dialog", { name: "Cancel this task?" });
    await dialog.getByRole("button", { name: "Keep it running" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Cancel task" }).click();
    await dialog.getByRole("button", { name: "Cancel task" }).click();
    await page.getByRole("button", { name: "Run again…" }).waitFor();
    await page.getByText("Cancelled", { exact: true }).first().waitFor();
    expect(await page.getByText(/reserved for the running call/).count()).toBe(0);
  });

  it("shows what the server refuses as cause, advice and request id, and keeps what was typed", async () => {
    const { page } = stage;
    await page.getByRole("button", { name: "New task" }).click();
    const dialog = page.getByRole("dialog", { name: "New task" });
    await dialog.getByLabel("What should be done?").fill("Too expensive");
    await dialog.getByLabel("The most it may spend").fill("1000001");
    await dialog.getByRole("button", { name: "Run" }).click();
    const problem = dialog.getByRole("alert");
    await problem.getByText(/limits\.cost_nano_usd/).waitFor();
    await problem.getByText(/^req_/).waitFor();
    await problem.getByText("No task was created and nothing was spent.").waitFor();
    expect(await dialog.getByLabel("What should be done?").inputValue()).toBe("Too expensive");
    await page.keyboard.press("Escape");
  });

  it("shows what the plan includes, and opts in to overage up to an amount", async () => {
    const { page, product } = stage;
    const workspaceId = new URL(page.url()).pathname.split("/")[2] ?? "";
    await product.cli("limit", "set", "none");
    await product.cli("operator", "plan", workspaceId, "starter");
    await page.goto(`${product.url}/w/${workspaceId}/limits`);
    const plan = page.getByRole("region", { name: "Plan starter, $49.00 a month" });
    await plan.getByRole("button", { name: "Overage of Model cost" }).click();
    const dialog = page.getByRole("dialog", { name: "Overage of Model cost" });
    await dialog.getByLabel("Overage a month, US dollars").fill("2.50");
    await dialog.getByText("The limit becomes $7.50, from the next call on.").waitFor();
    await dialog.getByRole("button", { name: "Set overage" }).click();
    await dialog.waitFor({ state: "detached" });
    await plan.getByRole("row", { name: /^Model cost \$5\.00 \+ \$2\.50/ }).waitFor();
  });

  it("asks nothing of any other origin and reports no error", () => {
    expect(stage.troubles).toEqual([]);
  });
});
