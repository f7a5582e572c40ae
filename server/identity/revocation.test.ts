import { expect, onTestFinished, test, vi } from "vitest";
import type { Clock } from "../platform/clock.ts";
import { createLogger } from "../platform/log.ts";
import { createNotices } from "../platform/notices.ts";
import { Secret } from "../platform/secret.ts";
import { createTestDatabase } from "../test/database.ts";
import { createTenant } from "../test/tenant.ts";
import { createIdentity, type Identity } from "./identity.ts";

/** A busy machine takes its time. */
const until = (look: () => boolean | Promise<boolean>) => vi.waitUntil(look, 20_000);

const { admin, db, ownerUrl } = await createTestDatabase();
const rootSecret = new Secret("a root secret of the tests, at least 32 characters");

/** Time stands still, so nothing is forgotten because it is old. */
const clock: Clock = { now: () => new Date(), monotonicMs: () => 1_000 };

/** Identity as one process has it. */
async function startProcess(): Promise<Identity> {
  const notices = createNotices({ url: ownerUrl, log: createLogger({ level: "silent" }) });
  onTestFinished(() => notices.close());
  await notices.start();
  return createIdentity({ db, clock, rootSecret, notices });
}

const refused = (identity: Identity, credential: string) =>
  identity.authenticate(credential).then(
    () => false,
    () => true,
  );

test("a key that is revoked in one process is refused in the others as soon as they hear of it", async () => {
  const [here, there] = [await startProcess(), await startProcess()];
  const tenant = await createTenant(admin);
  const asked = {
    workspaceId: tenant.workspaceId,
    createdBy: tenant.userId,
    actor: "test",
    origin: "test",
    scopes: ["tasks:read"] as const,
  };
  const [revoked, kept] = await Promise.all([
    here.apiKeys.create({ ...asked, name: "Revoked" }),
    here.apiKeys.create({ ...asked, name: "Kept" }),
  ]);
  for (const { key } of [revoked, kept]) expect(await refused(there, key)).toBe(false);
  await here.apiKeys.revoke({ ...asked, id: revoked.id });
  await until(() => refused(there, revoked.key));
  expect(await refused(here, revoked.key)).toBe(true);
  expect(await refused(there, kept.key)).toBe(false);
});

test("who signs out at one process is signed out at the others", async () => {
  const [here, there] = [await startProcess(), await startProcess()];
  const tenant = await createTenant(admin);
  const { token } = await here.createSignInLink(tenant.userId);
  const session = await there.sessions.exchange({ token, origin: "test" });
  expect(await refused(there, session.accessToken)).toBe(false);
  await here.sessions.logout({ secret: session.refresh.secret, origin: "test" });
  await until(() => refused(there, session.accessToken));
});
