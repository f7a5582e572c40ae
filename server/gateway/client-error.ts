import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { newId } from "../platform/ids.ts";
import { hasCode } from "../platform/system-error.ts";
import { gatewayError, renderError } from "./errors.ts";

function statusOf(error: Error): { status: number; message: string } {
  if (hasCode(error, "HPE_HEADER_OVERFLOW"))
    return { status: 431, message: "The headers of the request are larger than 16 KB." };
  if (hasCode(error, "ERR_HTTP_REQUEST_TIMEOUT"))
    return { status: 408, message: "The request took too long to arrive." };
  return { status: 400, message: "The request is not valid HTTP." };
}

/** Answers what is no request at all (two lengths, broken chunks, endless headers) in the protocol's error shape. */
export function onClientError(error: Error, socket: Duplex): void {
  if (hasCode(error, "ECONNRESET") || !socket.writable) return void socket.destroy();
  const { status, message } = statusOf(error);
  const { body } = renderError(
    gatewayError({ status, code: "invalid_http", message }),
    newId("req"),
  );
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}
