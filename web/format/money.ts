const nanoPerUsd = 1_000_000_000;

/** Plain decimal text of an integer that counts units of 10^-`digits`; exact at any size. */
function decimalText(units: bigint, digits: number): Intl.StringNumericLiteral {
  const sign = units < 0n ? "-" : "";
  const text = (units < 0n ? -units : units).toString().padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  const rest = text.slice(text.length - digits);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- digits with an optional sign and point are a numeric literal
  return (
    digits === 0 ? `${sign}${whole}` : `${sign}${whole}.${rest}`
  ) as Intl.StringNumericLiteral;
}

/** nano-USD rounded half away from zero to `digits` decimals of a dollar, in those units. */
function roundTo(nanoUsd: number, digits: number): bigint {
  const unit = 10n ** BigInt(9 - digits);
  const value = BigInt(nanoUsd);
  const half = unit / 2n;
  return value < 0n ? -((-value + half) / unit) : (value + half) / unit;
}

const formats = new Map<string, Intl.NumberFormat>();

function usdFormat(locale: string, digits: { least: number; most: number }): Intl.NumberFormat {
  const key = `${locale} ${digits.least} ${digits.most}`;
  const known = formats.get(key);
  if (known) return known;
  const made = new Intl.NumberFormat(locale, {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: digits.least,
    maximumFractionDigits: digits.most,
  });
  formats.set(key, made);
  return made;
}

/**
 * A cost: four decimals under a dollar, two from there on, since agents spend fractions of a cent. What is not
 * nothing is never shown as nothing.
 */
export function formatCost(nanoUsd: number, locale = "en-US"): string {
  if (nanoUsd > 0 && nanoUsd < nanoPerUsd / 20_000) {
    return `<${usdFormat(locale, { least: 4, most: 4 }).format("0.0001")}`;
  }
  const digits = Math.abs(nanoUsd) < nanoPerUsd && nanoUsd !== 0 ? 4 : 2;
  return usdFormat(locale, { least: digits, most: digits }).format(
    decimalText(roundTo(nanoUsd, digits), digits),
  );
}

/**
 * A limit: two to four decimals, cut off rather than rounded, since nobody may read more than there is. One below a
 * hundredth of a cent keeps all its digits.
 */
export function formatLimit(nanoUsd: number, locale = "en-US"): string {
  if (nanoUsd < nanoPerUsd / 10_000)
    return usdFormat(locale, { least: 2, most: 9 }).format(decimalText(BigInt(nanoUsd), 9));
  const tenthsOfMills = BigInt(nanoUsd) / 100_000n;
  return usdFormat(locale, { least: 2, most: 4 }).format(decimalText(tenthsOfMills, 4));
}

/** Every digit of an amount, for CSV files and `title`s. Dollars without a sign. */
export function exactUsd(nanoUsd: number): string {
  return decimalText(BigInt(nanoUsd), 9).replace(/\.?0+$/, "");
}

/** Dollars as people type them ("0.5", "$2", "1.25") in nano-USD; undefined when it is not an amount. */
export function parseUsd(text: string): number | undefined {
  const match = /^\s*\$?\s*(\d{0,7})(?:\.(\d{0,9}))?\s*$/.exec(text);
  const whole = match?.[1] ?? "";
  const rest = match?.[2] ?? "";
  if (!match || whole + rest === "") return undefined;
  return Number(whole || "0") * nanoPerUsd + Number(rest.padEnd(9, "0"));
}
