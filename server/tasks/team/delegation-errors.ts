import { AppError } from "../../platform/errors.ts";

/** Why a task was not delegated. Read by the agent that wanted to. */
function refused(code: string, publicMessage: string): AppError {
  return new AppError({ code, status: 409, publicMessage, hint: "Do this work yourself." });
}

export function delegationToSelf(): AppError {
  return refused("delegation_to_self", "This would be a task for yourself.");
}

export function delegationTooDeep(atMost: number): AppError {
  return refused(
    "delegation_too_deep",
    `This task was itself delegated ${atMost} times over, and work may be handed on no further.`,
  );
}

export function tooManyDelegations(atMost: number): AppError {
  return refused(
    "too_many_delegations",
    `This task has delegated ${atMost} tasks, which is the limit.`,
  );
}

export function nothingToGrant(): AppError {
  return refused(
    "nothing_to_grant",
    "Nothing is left of this task's budget that a delegated task could spend.",
  );
}
