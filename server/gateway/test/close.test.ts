import { once } from "node:events";
import { connect } from "node:net";
import { expect, it } from "vitest";
import { createTestDatabase } from "../../test/database.ts";
import { startBoth, startRun } from "./gateway-fixture.ts";

const database = await createTestDatabase();

it("a body whose end does not come keeps the gateway from closing no longer than the drain", async () => {
  const { gateway, url } = await startBoth(database);
  const run = await startRun(database);
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let answer = "";
  socket.on("data", (bytes) => (answer += bytes.toString()));
  await once(socket, "connect");
  socket.write(
    `POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-api-key: ${run.token}\r\ncontent-length: 100\r\n\r\n{`,
  );
  await expect.poll(() => gateway.openCalls()).toBe(1);
  const ended = once(socket, "close");
  await gateway.close({ drainMs: 50 });
  await ended;
  expect(answer).toContain("503");
  expect(answer).toContain("gateway_stopping");
}, 10_000);
