import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium } from "./chromium.ts";
import { openStage, placeUrl, type Stage } from "./stage.ts";

const chromium = findChromium();
const TITLE = "Use it with any Anthropic client";

describe.skipIf(chromium === undefined)("API keys on the page", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage(chromium ?? "");
  });
  afterAll(() => stage.close());

  it("shows how any Anthropic client uses a new key, with the key and an address that work filled in", async () => {
    const { page } = stage;
    await page.goto(placeUrl(page, "/settings/keys"));
    await page.getByRole("region", { name: TITLE }).getByText("ghk_YOUR_KEY").first().waitFor();
    await page.getByRole("button", { name: "Create key" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name").fill("script");
    await dialog.getByLabel(/models:invoke/).check();
    await dialog.getByRole("button", { name: "Create key" }).click();
    const setup = dialog.getByRole("region", { name: TITLE });
    await setup.getByRole("tab", { name: "Claude Code" }).click();
    const shown = (await setup.getByRole("tabpanel").textContent()) ?? "";
    const [, baseURL] = /ANTHROPIC_BASE_URL='([^']+)'/.exec(shown) ?? [];
    const [, apiKey] = /ANTHROPIC_API_KEY='([^']+)'/.exec(shown) ?? [];
    const answer = await fetch(`${baseURL}/v1/messages`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": apiKey ?? "" },
      body: JSON.stringify({
        model: "claude-sonnet-5-5",
        max_tokens: 1_000,
        messages: [{ role: "user", content: "Say hello." }],
      }),
    });
    expect(await answer.json()).toMatchObject({ type: "message" });
    await dialog.getByLabel("I have stored it").check();
    await dialog.getByRole("button", { name: "Done" }).click();
    await page.reload();
    await page.getByText(/^\$0\.\d{4} this month$/).waitFor();
    expect(await page.content()).not.toContain(apiKey);
    expect(stage.troubles).toEqual([]);
  });
});
