import { GuildhallError } from "@guildhall/sdk/client/errors.ts";
import { describe, expect, it } from "vitest";
import { createSession, isSignedOut } from "./session.ts";

/** An API of this test: it issues numbered tokens for 15 minutes and keeps what it was asked. */
function createAuthApi() {
  const asked: { path: string; body: unknown }[] = [];
  let refused = false;
  let nowMs = 1_000;
  const session = createSession({
    now: () => nowMs,
    fetch: async (input, init) => {
      const body: unknown = await new Response(init?.body ?? null).json();
      asked.push({ path: input instanceof Request ? input.url : input.toString(), body });
      if (refused) {
        return Response.json(
          { type: "/x", title: "t", status: 401, code: "signed_out", detail: "d", request_id: "r" },
          { status: 401 },
        );
      }
      const wanted = (body as { workspace_id?: string }).workspace_id;
      return Response.json({
        access_token: `token-${asked.length}`,
        expires_in_ms: 900_000,
        workspace_id: wanted ?? "ws_1",
      });
    },
  });
  return {
    session,
    asked,
    refuse: () => (refused = true),
    pass: (ms: number) => (nowMs += ms),
  };
}

describe("createSession", () => {
  it("trades a link for a token and keeps using it", async () => {
    const { session, asked } = createAuthApi();
    await expect(session.exchange("secret-of-the-link")).resolves.toBe("ws_1");
    await expect(session.token()).resolves.toBe("token-1");
    await expect(session.token()).resolves.toBe("token-1");
    expect(asked.map((request) => request.path)).toEqual(["/v1/auth/exchange"]);
  });

  it("renews a token before it ends", async () => {
    const api = createAuthApi();
    await api.session.open();
    api.pass(850_000);
    await expect(api.session.token()).resolves.toBe("token-2");
  });

  it("shares one renewal between requests that come together", async () => {
    const api = createAuthApi();
    await api.session.open();
    api.pass(900_000);
    const tokens = await Promise.all([
      api.session.token(),
      api.session.token(),
      api.session.renew(),
    ]);
    expect(new Set(tokens)).toEqual(new Set(["token-2"]));
    expect(api.asked).toHaveLength(2);
  });

  it("asks for another token when the address names another workspace", async () => {
    const api = createAuthApi();
    await api.session.open("ws_1");
    await expect(api.session.open("ws_2")).resolves.toBe("ws_2");
    expect(api.asked.at(-1)?.body).toEqual({ workspace_id: "ws_2" });
  });

  it("tells a signed-out session apart from other refusals", async () => {
    const api = createAuthApi();
    api.refuse();
    const error = await api.session.open().catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(GuildhallError);
    expect(isSignedOut(error)).toBe(true);
    expect(api.session.workspaceId()).toBeUndefined();
  });
});
