import type pg from "pg";

/** From here on the database tells the time of the table `test_clock` instead of its own; it stands until a test sets it. */
export async function installClock(admin: pg.Client): Promise<void> {
  await admin.query(`CREATE TABLE test_clock (now timestamptz NOT NULL);
    INSERT INTO test_clock VALUES (now());
    GRANT SELECT ON test_clock TO PUBLIC;
    CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT now FROM public.test_clock'`);
}

/** Lets so many milliseconds pass on the clock of `installClock`. */
export async function passTime(admin: pg.Client, ms: number): Promise<void> {
  await admin.query("UPDATE test_clock SET now = now + $1 * interval '1 millisecond'", [ms]);
}
