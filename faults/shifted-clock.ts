/** Preloaded (`--import`) into a process whose machine believes that it is `CLOCK_SHIFT_MS` later. */
const shiftMs = Number(process.env["CLOCK_SHIFT_MS"]);
const Real = Date;

globalThis.Date = new Proxy(Real, {
  construct: (target, args: readonly unknown[], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [Real.now() + shiftMs] : args, newTarget) as Date,
  apply: () => new Real(Real.now() + shiftMs).toString(),
  get: (target, name) =>
    name === "now" ? () => Real.now() + shiftMs : (Reflect.get(target, name) as unknown),
});
