import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Task } from "@guildhall/sdk/contract/task.ts";
import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { findChromium } from "./chromium.ts";
import { openStage, type Stage } from "./stage.ts";

const chromium = findChromium();

describe.skipIf(chromium === undefined)("alerts on the page", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage(chromium ?? "");
  });
  afterAll(() => stage.close());

  async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await stage.product.api(path, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    expect(response.ok).toBe(true);
    return (await response.json()) as T;
  }

  async function spent(): Promise<number> {
    const usage = await send<Usage>("GET", "/v1/usage");
    return usage.meters.find(({ meter }) => meter === "model_cost")?.used ?? 0;
  }

  it("tells of a limit that is reached on whichever page, keeps it behind the bell, and is quiet once read", async () => {
    const { page } = stage;
    const { id } = await send<Task>("POST", "/v1/tasks", { agent: "sable", prompt: "Say hello." });
    await expect
      .poll(async () => (await send<Task>("GET", `/v1/tasks/${id}`)).state, { timeout: 60_000 })
      .toBe("succeeded");
    const amount = await spent();
    expect(amount).toBeGreaterThan(0);
    await send("PUT", "/v1/limits", { meter: "model_cost", level: "workspace", amount });
    const toasts = page.getByRole("list", { name: "Alerts" });
    await toasts.getByText(/^Workspace model budget: the limit of .* is reached$/).waitFor();
    // Of three thresholds at once only the highest is shown; the list has them all.
    expect(await toasts.getByRole("listitem").count()).toBe(1);
    await toasts.getByRole("button", { name: "Dismiss" }).click();
    await toasts.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Alerts, 3 unread" }).click();
    const dialog = page.getByRole("dialog", { name: "Alerts" });
    await dialog.getByRole("listitem").first().waitFor();
    expect(await dialog.getByRole("listitem").allTextContents()).toEqual([
      expect.stringContaining("is reached"),
      expect.stringContaining("80%"),
      expect.stringContaining("50%"),
    ]);
    await dialog.getByRole("button", { name: "Mark all as read" }).click();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Alerts", exact: true }).waitFor();
    await page.reload();
    await page.getByRole("button", { name: "Alerts", exact: true }).waitFor();
    expect(await toasts.count()).toBe(0);
  });

  it("says on every page that the operator has suspended the workspace, until it goes on", async () => {
    const { page, product } = stage;
    const { workspace } = await send<{ workspace: { id: string } }>("GET", "/v1/me");
    const suspended = page.getByRole("region", { name: "This workspace is suspended" });
    expect((await product.cli("operator", "suspend", workspace.id)).code).toBe(0);
    await suspended.waitFor();
    expect((await product.cli("operator", "resume", workspace.id)).code).toBe(0);
    await suspended.waitFor({ state: "detached" });
  });

  it("asks nothing of any other origin and reports no error", () => {
    expect(stage.troubles).toEqual([]);
  });
});
