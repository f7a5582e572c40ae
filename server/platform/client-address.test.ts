import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import fc from "fast-check";
import { expect, it } from "vitest";
import { addressKey, canonicalAddress, createClientAddress, wrongProxy } from "./client-address.ts";

it.each([
  ["1.2.3.4", "1.2.3.4"],
  ["::ffff:1.2.3.4", "1.2.3.4"],
  ["::FFFF:0102:0304", "1.2.3.4"],
  ["0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"],
  ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
  ["fe80::1%eth0", "fe80::1"],
  ["::1", "::1"],
  ["01.2.3.4", undefined],
  ["1.2.3", undefined],
  ["unknown", undefined],
  ["", undefined],
])("%s is the address %s", (text, expected) => {
  expect(canonicalAddress(text)).toBe(expected);
});

it("all spellings of an IPv6 address have one key, and so has its whole /64", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 0xff_ff }), { minLength: 8, maxLength: 8 }),
      fc.array(fc.nat({ max: 0xff_ff }), { minLength: 4, maxLength: 4 }),
      (groups, otherHost) => {
        fc.pre(groups.slice(0, 6).some((group) => group !== 0));
        const spell = (parts: number[], pad: number) =>
          parts.map((part) => part.toString(16).padStart(pad, "0")).join(":");
        const keyOf = (text: string) => addressKey(canonicalAddress(text)!);
        const key = keyOf(spell(groups, 4));
        expect(keyOf(spell(groups, 1).toUpperCase())).toBe(key);
        expect(keyOf(spell([...groups.slice(0, 4), ...otherHost], 1))).toBe(key);
        const other = [groups[0]! ^ 1, ...groups.slice(1)];
        expect(keyOf(spell(other, 1))).not.toBe(key);
      },
    ),
  );
});

function request(remoteAddress: string, forwarded?: string | string[]): IncomingMessage {
  const socket = new Socket();
  Object.defineProperty(socket, "remoteAddress", { value: remoteAddress });
  const message = new IncomingMessage(socket);
  if (forwarded !== undefined)
    // Node joins repeated lines of this header by a comma.
    message.headers["x-forwarded-for"] = [forwarded].flat().join(", ");
  message.headers["forwarded"] = "for=9.9.9.9";
  return message;
}

it("without a trusted proxy nobody is believed", () => {
  const addressOf = createClientAddress("");
  expect(addressOf(request("127.0.0.1", "1.1.1.1"))).toBe("127.0.0.1");
  expect(addressOf(request("::ffff:5.6.7.8", "1.1.1.1"))).toBe("5.6.7.8");
});

it.each<[string, string, string | string[] | undefined, string]>([
  ["the last hop that is no proxy", "10.0.0.1", "6.6.6.6, 5.5.5.5", "5.5.5.5"],
  ["past several proxies", "10.0.0.1", "6.6.6.6, 5.5.5.5, 10.9.9.9, fd00::7", "5.5.5.5"],
  ["over repeated headers", "10.0.0.1", ["6.6.6.6", "5.5.5.5"], "5.5.5.5"],
  ["a client that is no proxy is not believed", "4.4.4.4", "1.1.1.1", "4.4.4.4"],
  ["a proxy in IPv4-in-IPv6 is the same proxy", "::ffff:10.0.0.1", "::ffff:5.5.5.5", "5.5.5.5"],
  ["ports are left out", "10.0.0.1", "5.5.5.5:1234", "5.5.5.5"],
  ["of IPv6, too", "10.0.0.1", "[2001:DB8::1]:443", "2001:db8::1"],
  ["what cannot be read ends at who passed it on", "10.0.0.1", "5.5.5.5, junk", "10.0.0.1"],
  ["no header is the proxy itself", "10.0.0.1", undefined, "10.0.0.1"],
  ["all trusted is the first of them", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
])("behind proxies: %s", (_, remote, forwarded, expected) => {
  const addressOf = createClientAddress("10.0.0.0/8, fd00::/8");
  expect(addressOf(request(remote, forwarded))).toBe(expected);
});

it("whatever a client writes before its proxy, its address stays its own", () => {
  const addressOf = createClientAddress("10.0.0.0/8");
  fc.assert(
    fc.property(fc.string(), (lies) => {
      expect(addressOf(request("10.0.0.1", `${lies}, 5.5.5.5`))).toBe("5.5.5.5");
    }),
  );
});

it.each([
  ["10.0.0.0/8, 192.168.1.1, fd00::/8, ::ffff:10.0.0.0/104", undefined],
  ["", undefined],
  ["0.0.0.0/0", "0.0.0.0/0"],
  ["10.0.0.1, ::/0", "::/0"],
  ["10.0.0.0/33", "10.0.0.0/33"],
  ["proxy.example", "proxy.example"],
  ["10.0.0.0/8/8", "10.0.0.0/8/8"],
])("of the list %j the entry %s is wrong", (list, expected) => {
  expect(wrongProxy(list)).toBe(expected);
});
