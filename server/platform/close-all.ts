/**
 * Closes one after the other. One that fails does not keep the rest open: a database server must not outlive its
 * process because something else could not end. Throws the first failure at the end.
 */
export async function closeAll(closers: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
