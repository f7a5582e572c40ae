import { base64url, SignJWT } from "jose";
import { expect, test } from "vitest";
import type { Clock } from "../platform/clock.ts";
import { deriveSecret, Secret } from "../platform/secret.ts";
import { type AccessClaims, createAccessTokens } from "./access-tokens.ts";

const rootSecret = new Secret("a root secret of this test, long enough");
const key = Buffer.from(deriveSecret(rootSecret, "access-token"), "base64url");
const start = Date.UTC(2026, 10, 1, 12);
let nowMs = start;
const clock: Clock = { now: () => new Date(nowMs), monotonicMs: () => nowMs };
const tokens = createAccessTokens({ rootSecret, clock });
const claims: AccessClaims = {
  userId: "usr_1",
  workspaceId: "ws_1",
  role: "member",
  sessionVersion: 3,
};
const payload = { ws: "ws_1", role: "member", sv: 3 };

/** A token as ours, with what the test changes about it. */
async function forged(
  change: {
    header?: Record<string, unknown>;
    payload?: Record<string, unknown>;
    audience?: string;
    issuer?: string;
    key?: Uint8Array;
    iat?: number;
    exp?: number;
    nbf?: number;
  } = {},
): Promise<string> {
  const at = start / 1_000;
  const token = new SignJWT({ ...payload, ...change.payload })
    .setProtectedHeader({ alg: "HS256", typ: "at+jwt", ...change.header })
    .setSubject("usr_1")
    .setIssuer(change.issuer ?? "guildhall")
    .setAudience(change.audience ?? "guildhall:user")
    .setIssuedAt(change.iat ?? at)
    .setExpirationTime(change.exp ?? at + 900);
  if (change.nbf !== undefined) token.setNotBefore(change.nbf);
  return token.sign(change.key ?? key);
}

test("what was issued is read back, for 15 minutes and half a minute of clock error", async () => {
  nowMs = start;
  const token = await tokens.issue(claims);
  expect(await tokens.verify(token)).toEqual(claims);
  nowMs = start + 15 * 60_000 + 29_000;
  expect(await tokens.verify(token)).toEqual(claims);
  nowMs = start + 15 * 60_000 + 31_000;
  expect(await tokens.verify(token)).toBeUndefined();
});

test("the test's own way of making tokens makes valid ones", async () => {
  nowMs = start;
  expect(await tokens.verify(await forged())).toEqual(claims);
});

test.each([
  ["another key", { key: Buffer.alloc(32, 1) }],
  [
    "the root secret itself as key",
    { key: Buffer.from("a root secret of this test, long enough") },
  ],
  ["another audience", { audience: "guildhall:run" }],
  ["another issuer", { issuer: "elsewhere" }],
  ["another type", { header: { typ: "JWT" } }],
  [
    "an algorithm that the key would allow too",
    { header: { alg: "HS512" }, key: Buffer.alloc(64, 1) },
  ],
  ["a start in the future", { nbf: start / 1_000 + 60 }],
  ["an issue in the future", { iat: start / 1_000 + 60 }],
  ["an old issue with a late end", { iat: start / 1_000 - 3_600, exp: start / 1_000 + 3_600 }],
  ["no workspace", { payload: { ws: undefined } }],
  ["a workspace that is SQL", { payload: { ws: "ws_1'; DROP TABLE tasks; --" } }],
  ["an unknown role", { payload: { role: "root" } }],
  ["a critical header that nobody knows", { header: { crit: ["x"], x: 1 } }],
])("a token with %s is refused", async (_title, change) => {
  nowMs = start;
  const token = await forged(change).catch(() => undefined);
  // What the library refuses to sign cannot be presented either.
  if (token !== undefined) expect(await tokens.verify(token)).toBeUndefined();
});

test("an unsigned token is refused, whatever its header says", async () => {
  nowMs = start;
  const [, body = ""] = (await forged()).split(".");
  for (const header of [
    { alg: "none", typ: "at+jwt" },
    { alg: "None", typ: "at+jwt" },
    { alg: "HS256", typ: "at+jwt", kid: "../../dev/null" },
    { alg: "RS256", typ: "at+jwt", jwk: { kty: "oct", k: "AA" } },
  ])
    for (const signature of ["", "AA"]) {
      const head = base64url.encode(JSON.stringify(header));
      expect(await tokens.verify(`${head}.${body}.${signature}`)).toBeUndefined();
    }
});

test.each(["", ".", "..", "a.b.c", "\0", "x".repeat(100_000)])("%j is no token", async (text) => {
  expect(await tokens.verify(text)).toBeUndefined();
});

test("a header that points to a key elsewhere is not followed", async () => {
  nowMs = start;
  const header = {
    kid: "' OR 1=1 --",
    jku: "http://127.0.0.1:9/keys",
    x5u: "http://127.0.0.1:9/x",
  };
  expect(await tokens.verify(await forged({ header }))).toEqual(claims);
  const attacker = Buffer.alloc(32, 7);
  const jwk = { kty: "oct", k: attacker.toString("base64url") };
  const token = await forged({ header: { ...header, jwk }, key: attacker });
  expect(await tokens.verify(token)).toBeUndefined();
});
