import { Counter, Gauge, type Registry } from "prom-client";

/** A counter whose figure is kept elsewhere, as a plain number, and only read here. */
export function mirror(
  registry: Registry,
  metric: { name: string; help: string; labels?: readonly string[] },
  read: () => readonly [labels: Record<string, string>, value: number][],
): void {
  const counter = new Counter({
    name: metric.name,
    help: metric.help,
    labelNames: metric.labels ?? [],
    registers: [registry],
    collect() {
      counter.reset();
      for (const [labels, value] of read()) counter.inc(labels, value);
    },
  });
}

/** A figure that is asked for when somebody looks. */
export function gauge(
  registry: Registry,
  metric: { name: string; help: string; labels?: readonly string[] },
  read: () =>
    | readonly [labels: Record<string, string>, value: number][]
    | Promise<readonly [labels: Record<string, string>, value: number][]>,
): void {
  const made = new Gauge({
    name: metric.name,
    help: metric.help,
    labelNames: metric.labels ?? [],
    registers: [registry],
    async collect() {
      const values = await read();
      made.reset();
      // What is not known must not read as 0.
      if (metric.labels === undefined && values.length === 0) made.set(Number.NaN);
      for (const [labels, value] of values) made.set(labels, value);
    },
  });
}
