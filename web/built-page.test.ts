import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { buildWeb, webBuilds } from "./build.ts";
import { hashSources } from "./build-stamp.ts";

describe("the built page", () => {
  let folder = "";
  let html = "";
  let files: string[] = [];
  beforeAll(async () => {
    ({ folder } = await buildWeb({ places: [webBuilds] }));
    html = await readFile(join(folder, "index.html"), "utf8");
    files = await readdir(folder, { recursive: true });
  }, 120_000);

  const read = (file: string) => readFile(join(folder, file), "utf8");

  it("has no script and no style of its own in the document", () => {
    expect(html).not.toMatch(/<style|\sstyle=|\son[a-z]+=/i);
    for (const [, attributes, body] of html.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)) {
      expect(attributes).toContain("src=");
      expect(body).toBe("");
    }
  });

  it("loads nothing from elsewhere and nothing that is written into the files", async () => {
    expect(html).not.toMatch(/(?:src|href)="(?:https?:|\/\/|data:)/);
    for (const file of files.filter((name) => name.endsWith(".css"))) {
      expect(await read(file)).not.toMatch(/url\(["']?(?:https?:|\/\/|data:)|@import/);
    }
  });

  it("has no code that makes code from text", async () => {
    for (const file of files.filter((name) => name.endsWith(".js"))) {
      const found = /\beval\(|new Function\(/.exec(await read(file))?.[0];
      expect([file, found]).toEqual([file, undefined]);
    }
  });

  it("asks a first visit for less than 200 KB of scripts and styles, compressed", async () => {
    const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+\.(?:js|css))"/g)];
    expect(first.length).toBeGreaterThan(1);
    let bytes = 0;
    for (const [, file = ""] of first) bytes += gzipSync(await readFile(join(folder, file))).length;
    expect(bytes).toBeLessThan(200 * 1_024);
  });
});

describe("hashSources", () => {
  it("changes with a content and with a new file, and not with a test", async () => {
    const folder = await mkdtemp(join(tmpdir(), "guildhall-sources-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const hash = () => hashSources({ folders: [folder], files: [join(folder, "absent.json")] });
    await writeFile(join(folder, "main.ts"), "1");
    const first = await hash();
    expect(await hash()).toBe(first);
    await writeFile(join(folder, "main.test.ts"), "test");
    expect(await hash()).toBe(first);
    await writeFile(join(folder, "main.ts"), "2");
    const changed = await hash();
    expect(changed).not.toBe(first);
    await writeFile(join(folder, "other.ts"), "");
    expect(await hash()).not.toBe(changed);
  });
});
