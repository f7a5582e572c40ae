/** Whether `error` is a system or database error with one of `codes`, such as `ENOENT` or `57P03`. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
