import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The browser of this machine. Under CI a missing one is a failure; elsewhere its tests are skipped, loudly. */
export function findChromium(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  const found = folders
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find(isExecutable);
  if (found !== undefined) return found;
  const message = `No browser on the PATH (${names.join(", ")}): apt-get install chromium`;
  if (process.env["CI"]) throw new Error(message);
  console.warn(`SKIPPED, all tests of the page in a real browser. ${message}`);
  return undefined;
}

export function launchChromium(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      // As root, and inside containers, the browser's own sandbox cannot be set up.
      "--no-sandbox",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
}

/**
 * A page that keeps what no user should have to see: errors and policy violations in the console, uncaught errors,
 * answers of 500 and above, and any request to another origin.
 */
export async function openPage(
  context: BrowserContext,
  origin: string,
): Promise<{ page: Page; troubles: string[] }> {
  const page = await context.newPage();
  const troubles: string[] = [];
  // Someone who listens from the start: switched on by the first click, the interception can come after the dialog.
  page.on("filechooser", () => undefined);
  page.on("console", (message) => {
    // The browser itself reports each refused request; whether a refusal was right is for the test to say.
    const isRefusal = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isRefusal) troubles.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => troubles.push(`uncaught: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 500) troubles.push(`${response.status()} ${response.url()}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "blob:" && url.origin !== origin) troubles.push(`elsewhere: ${url.href}`);
  });
  page.on("websocket", (socket) => {
    if (new URL(socket.url()).host !== new URL(origin).host) {
      troubles.push(`elsewhere: ${socket.url()}`);
    }
  });
  return { page, troubles };
}
