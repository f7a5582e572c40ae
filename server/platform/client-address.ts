import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";

/** The eight groups of a canonical IPv6 address. */
function groupsOf(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const first = parse(head);
  if (tail === undefined) return first;
  const last = parse(tail);
  return [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
}

/**
 * The one spelling of an address: IPv4 as four decimals, also when it comes inside IPv6 (::ffff:1.2.3.4), IPv6 in lower
 * case and shortened, without a zone. Undefined when it is none.
 */
export function canonicalAddress(text: string): string | undefined {
  const address = text.split("%", 1)[0] ?? "";
  const kind = isIP(address);
  if (kind === 0) return undefined;
  if (kind === 4) return address;
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const groups = groupsOf(canonical);
  const [high = 0, low = 0] = groups.slice(6);
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xff_ff;
  return isMapped ? [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".") : canonical;
}

/** Whom a limit counts: an IPv4 address, or the /64 of an IPv6 address, since who has one has all of it. */
export function addressKey(address: string): string {
  if (isIP(address) !== 6) return address;
  const prefix = groupsOf(address).slice(0, 4);
  return `${prefix.map((group) => group.toString(16)).join(":")}::/64`;
}

type Network = { address: string; family: "ipv4" | "ipv6"; prefix: number };

/** `10.0.0.0/8`, `fd00::/8` or one address; undefined when it is neither, or is everybody. */
function parseNetwork(text: string): Network | undefined {
  const [base = "", prefixText, ...rest] = text.split("/");
  const address = canonicalAddress(base);
  if (address === undefined || rest.length > 0) return undefined;
  const family = isIP(address) === 4 ? "ipv4" : "ipv6";
  const bits = family === "ipv4" ? 32 : 128;
  if (prefixText === undefined) return { address, family, prefix: bits };
  if (!/^\d{1,3}$/.test(prefixText)) return undefined;
  // Written as IPv6, an IPv4 network has 96 bits more.
  const prefix = Number(prefixText) - (family === "ipv4" && isIP(base) === 6 ? 96 : 0);
  return prefix >= 1 && prefix <= bits ? { address, family, prefix } : undefined;
}

const partsOf = (list: string): string[] =>
  list
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

/** What is wrong with a list of trusted proxies; undefined when it is right. */
export function wrongProxy(list: string): string | undefined {
  return partsOf(list).find((part) => parseNetwork(part) === undefined);
}

/** An entry of X-Forwarded-For: an address, which some proxies write with a port. */
function forwardedAddress(entry: string): string | undefined {
  const text = entry.trim();
  const withPort = /^\[([^\]]+)\](?::\d+)?$/.exec(text) ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text);
  return canonicalAddress(withPort?.[1] ?? text);
}

/**
 * Tells which client a request comes from. Only a trusted proxy is believed what it says in X-Forwarded-For, read from
 * its end: the last address that is not a trusted proxy is the client, for whatever stands before it anybody may have
 * written. `Forwarded` and others are not read.
 */
export function createClientAddress(trustedProxies: string): (request: IncomingMessage) => string {
  const trusted = new BlockList();
  for (const part of partsOf(trustedProxies)) {
    const network = parseNetwork(part);
    if (network) trusted.addSubnet(network.address, network.prefix, network.family);
  }
  const isTrusted = (address: string): boolean =>
    trusted.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");

  return (request) => {
    let client = canonicalAddress(request.socket.remoteAddress ?? "") ?? "unknown";
    if (client === "unknown" || !isTrusted(client)) return client;
    const header = request.headers["x-forwarded-for"];
    const entries = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
    for (const entry of entries.toReversed()) {
      const address = forwardedAddress(entry);
      // What cannot be read ends the chain: the proxy that passed it on is the last that is known.
      if (address === undefined) return client;
      client = address;
      if (!isTrusted(client)) return client;
    }
    return client;
  };
}
