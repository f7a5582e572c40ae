import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import {
  makeDataDir,
  removeDataDir,
  startProduct,
  type Product,
} from "../../server/test/product.ts";
import { vi } from "vitest";
import { launchChromium, openPage } from "./chromium.ts";

// Each test waits on conditions; these only end one that will never be met, also where two cores are shared by many.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

export type Stage = {
  product: Product;
  browser: Browser;
  context: BrowserContext;
  page: Page;
  /** What no user should have to see; tests expect it to be empty at their end. */
  troubles: string[];
  /** A folder `data` with two CSV files whose content a report must mention. */
  inputFolder: string;
  /** Ends the product as a crash does and starts it again on the same data and address. */
  crash(): Promise<void>;
  close(): Promise<void>;
};

async function makeInput(): Promise<string> {
  const folder = join(await mkdtemp(join(tmpdir(), "guildhall-input-")), "data");
  await mkdir(folder);
  await writeFile(
    join(folder, "sales.csv"),
    "id,region,amount\n1,north,10.5\n2,south,\n3,north,99\n3,north,99\n",
  );
  await writeFile(join(folder, "people.csv"), "id,name\n1,Ann\n2,Bob\n");
  return folder;
}

/** The whole product and a browser that has just followed the sign-in link. */
export async function openStage(
  executablePath: string,
  options: {
    env?: Readonly<Record<string, string>>;
    context?: BrowserContextOptions;
    /** Called before the page loads anything. */
    prepare?: (page: Page) => Promise<void>;
  } = {},
): Promise<Stage> {
  const dataDir = await makeDataDir();
  const env = { LOG_LEVEL: "error", ...options.env };
  const inputFolder = await makeInput();
  let product = await startProduct({ dataDir, env });
  let endsProduct = false;
  const browser = await launchChromium(executablePath);
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    ...options.context,
  });
  const { page, troubles } = await openPage(context, product.url);
  /** A server that ends by itself is the cause of everything that fails after, so its last words come first. */
  function watch({ process: child, output }: Product): void {
    child.once("exit", (code, signal) => {
      if (endsProduct) return;
      troubles.unshift(`the product ended by itself (${String(code ?? signal)}):\n${output()}`);
    });
  }
  watch(product);
  await options.prepare?.(page);
  await page.goto(product.signInLink);
  await page.getByRole("heading", { name: "Office", level: 1 }).waitFor();
  return {
    get product() {
      return product;
    },
    browser,
    context,
    page,
    troubles,
    inputFolder,
    async crash() {
      const { port } = new URL(product.url);
      endsProduct = true;
      await product.kill();
      product = await startProduct({ dataDir, env: { ...env, PORT: port } });
      endsProduct = false;
      watch(product);
    },
    async close() {
      endsProduct = true;
      await browser.close();
      await product.stop();
      await removeDataDir(dataDir);
      await rm(join(inputFolder, ".."), { recursive: true, force: true });
    },
  };
}

/** The address of a place in the workspace that the page is in. */
export function placeUrl(page: Page, path: string): string {
  const [, workspace = ""] = /(.*\/w\/[^/]+)/.exec(page.url()) ?? [];
  return `${workspace}${path}`;
}

/** Gives a task by the dialog and ends on its page. */
export async function giveTask(
  stage: Pick<Stage, "page" | "inputFolder">,
  task: { agent: RegExp; prompt: string; capUsd?: string; withFiles?: boolean },
): Promise<void> {
  const { page } = stage;
  await page.getByRole("button", { name: "New task" }).click();
  const dialog = page.getByRole("dialog", { name: "New task" });
  await dialog.getByLabel("What should be done?").fill(task.prompt);
  await dialog.getByRole("radio", { name: task.agent }).check();
  if (task.withFiles ?? true) {
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      dialog.getByRole("button", { name: "Pick a folder" }).click(),
    ]);
    await chooser.setFiles(stage.inputFolder);
  }
  if (task.capUsd !== undefined) await dialog.getByLabel("The most it may spend").fill(task.capUsd);
  await dialog.getByRole("button", { name: "Run" }).click();
  await page.getByRole("heading", { name: task.prompt.slice(0, 40) }).waitFor();
}
