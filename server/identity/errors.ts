import { AppError } from "../platform/errors.ts";

/** 401 for every credential that does not count: one answer, so that it tells nothing about why. */
export function unauthenticated(internal: string): AppError {
  return new AppError({
    code: "unauthenticated",
    status: 401,
    publicMessage: "This request has no valid credential.",
    hint: "Send `Authorization: Bearer <API key or access token>`; get a fresh token when yours has ended.",
    internal,
  });
}

/** 401: the refresh cookie is missing, ended, revoked or was used twice. */
export function sessionEnded(internal: string): AppError {
  return new AppError({
    code: "session_ended",
    status: 401,
    publicMessage: "You are signed out.",
    hint: "Sign in again; on your own machine, open the link that the start of Guildhall prints.",
    internal,
  });
}

export function signInLinkInvalid(): AppError {
  return new AppError({
    code: "sign_in_link_invalid",
    status: 401,
    publicMessage: "This sign-in link was used before or has ended.",
    hint: "A link works once and for 10 minutes. Start Guildhall again to get a new one.",
  });
}

export function scopeMissing(scope: string): AppError {
  return new AppError({
    code: "scope_missing",
    status: 403,
    publicMessage: `This credential may not do that: it lacks the scope ${scope}.`,
    hint: "Use a credential with that scope; an owner or admin can make one.",
  });
}

export function foreignOrigin(): AppError {
  return new AppError({
    code: "foreign_origin",
    status: 403,
    publicMessage: "Sessions are for the page of this server only.",
    hint: "Use an API key from other programs and sites.",
  });
}

/** 402: every seat of the workspace is taken. Who is a member stays one. */
export function membersExhausted(seats: { members: number; limit: number }): AppError {
  return new AppError({
    code: "members_exhausted",
    status: 402,
    publicMessage: `The workspace has ${seats.members} members, and its plan has seats for ${seats.limit}.`,
    hint: "Remove a member, or ask an owner of the workspace for a larger plan.",
    extensions: { meter: "members", limit: seats.limit, used: seats.members },
  });
}
