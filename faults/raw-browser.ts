import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";

/** A browser's socket as bytes, so that it can be read as badly as a browser reads. */
export type RawBrowser = {
  /** All that has come, frames and all. */
  received(): string;
  follow(taskId: string, after: number): void;
  /** Reads nothing any more, and does not notice when the other side has gone. */
  stopReading(): void;
  /** Sends something that means nothing. False when the other side has gone. */
  isOpen(): boolean;
  close(): void;
};

const OPEN = "0";
const CONNECTED = "40";
const PONG = "3";

/** A text frame as clients send it: masked, here with zeros. */
function frame(text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.alloc(8);
  head[0] = 0x81;
  head[1] = 0x80 | 126;
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** Connects and authenticates a socket of the page's own protocol (Socket.io 4 over websocket). */
export async function openRawBrowser(url: string, accessToken: string): Promise<RawBrowser> {
  const { hostname, port } = new URL(url);
  const socket: Socket = createConnection({ host: hostname, port: Number(port) });
  let text = "";
  socket.on("data", (data) => (text += data.toString("latin1")));
  socket.on("error", () => undefined);
  const comes = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) await once(socket, "data");
  };
  const lines = [
    "GET /v1/socket/?EIO=4&transport=websocket HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  await comes(`${OPEN}{"sid"`);
  socket.write(frame(`${CONNECTED}${JSON.stringify({ access_token: accessToken })}`));
  await comes(`${CONNECTED}{"sid"`);
  return {
    received: () => text,
    follow: (taskId, after) =>
      void socket.write(frame(`420${JSON.stringify(["follow", { task_id: taskId, after }])}`)),
    stopReading: () => void socket.pause(),
    isOpen() {
      if (!socket.destroyed) socket.write(frame(PONG));
      return !socket.destroyed;
    },
    close: () => void socket.destroy(),
  };
}
