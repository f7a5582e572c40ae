/** One offending field of a request: where it is (dotted path) and what was wrong with it. */
export type FieldProblem = { field: string; message: string };

export type AppErrorInit = {
  /** Stable machine name, for example `task_not_found`. Clients branch on it, so it never changes. */
  code: string;
  /** HTTP status that the edge answers with. */
  status: number;
  /** What the caller may read: what was wrong. Never contains another tenant's data or a secret. */
  publicMessage: string;
  /** What the caller can do about it, one sentence. */
  hint?: string;
  /** The offending fields of the request, when there are any. */
  fields?: readonly FieldProblem[];
  /** For operators only: goes to the log, never to a client. */
  internal?: string;
  cause?: unknown;
  /** True when the same request may succeed later without being changed. */
  retryable?: boolean;
  /** For `Retry-After`; milliseconds. */
  retryAfterMs?: number;
  /** Extra members of the problem document (RFC 9457 section 3.2), public. */
  extensions?: Readonly<Record<string, unknown>>;
};

/** The one error type that crosses slice boundaries. The edge renders it as problem+json (RFC 9457). */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: string;
  readonly status: number;
  readonly publicMessage: string;
  readonly hint: string | undefined;
  readonly fields: readonly FieldProblem[];
  readonly internal: string | undefined;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(init: AppErrorInit) {
    super(`${init.code}: ${init.internal ?? init.publicMessage}`, { cause: init.cause });
    this.code = init.code;
    this.status = init.status;
    this.publicMessage = init.publicMessage;
    this.hint = init.hint;
    this.fields = init.fields ?? [];
    this.internal = init.internal;
    this.retryable = init.retryable ?? false;
    this.retryAfterMs = init.retryAfterMs;
    this.extensions = init.extensions ?? {};
  }
}

/** Stops the program part that relies on `condition`: a broken invariant is a bug, never an expected outcome. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}

/** Makes a switch over a union exhaustive: the compiler refuses a missing case, and so does the run time. */
export function unreachable(value: never): never {
  throw new Error(`invariant broken: unexpected value ${JSON.stringify(value)}`);
}
