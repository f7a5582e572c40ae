import { AppError } from "../platform/errors.ts";

/** The same answer for an id of another workspace and for one that nobody has. */
export function taskNotFound(): AppError {
  return new AppError({
    code: "task_not_found",
    status: 404,
    publicMessage: "There is no such task.",
    hint: "GET /v1/tasks lists the tasks of this workspace.",
  });
}

export function taskAlreadyEnded(state: string): AppError {
  return new AppError({
    code: "task_already_ended",
    status: 409,
    publicMessage: `The task has already ended: ${state}.`,
    hint: "Create a new task if the work is still wanted.",
    extensions: { state },
  });
}

export function taskNotFailed(state: string): AppError {
  return new AppError({
    code: "task_not_failed",
    status: 409,
    publicMessage: `Only a failed task can be replayed; this one is ${state}.`,
    hint: "Create a new task if the work is wanted once more.",
    extensions: { state },
  });
}

/** 422 with the field, for an id in a body that the workspace does not have. */
export function unknownAgent(known: readonly string[]): AppError {
  return new AppError({
    code: "agent_not_found",
    status: 422,
    publicMessage: "There is no such agent in this workspace.",
    hint: `The agents are: ${known.join(", ")}.`,
    fields: [{ field: "agent", message: "There is no such agent." }],
  });
}

export function unknownUpload(): AppError {
  return new AppError({
    code: "upload_not_found",
    status: 422,
    publicMessage: "There is no such upload.",
    hint: "Send the files to POST /v1/uploads and use the id of its answer.",
    fields: [{ field: "upload_id", message: "There is no such upload." }],
  });
}
