import { startInstantProvider } from "./instant-provider.ts";

// The instant provider as its own process, ended by the end of its standard input. argv: the events of a stream, if other than the
// provider's own number.

const provider = await startInstantProvider(
  process.argv[2] === undefined ? {} : { events: Number(process.argv[2]) },
);
console.log(JSON.stringify({ url: provider.url }));
process.stdin.resume().once("end", () => process.exit());
