/**
 * Every stable error code of the API with what it means, for the page that the `type` of a problem document names.
 * A test finds a code that is thrown and not listed.
 */
export const errorCatalogue: Readonly<Record<string, { status: number; meaning: string }>> = {
  agent_not_found: {
    status: 422,
    meaning:
      "The agent that the request names does not exist in the workspace (404 when the address names it).",
  },
  api_key_not_found: { status: 404, meaning: "The workspace has no such API key." },
  api_requests_exhausted: {
    status: 429,
    meaning:
      "The workspace's API requests of the last 60 minutes are used up; Retry-After says when the next one fits.",
  },
  artifact_not_found: { status: 404, meaning: "The workspace has no such artifact." },
  bad_request: {
    status: 400,
    meaning: "The request could not be read at all, for example a wrong Content-Length.",
  },
  bad_url: { status: 400, meaning: "The address is not validly percent-encoded." },
  body_too_large: {
    status: 413,
    meaning: "JSON bodies have at most 1 MB; files go through uploads.",
  },
  content_missing: {
    status: 500,
    meaning: "The file is listed, but its content is gone from the file store.",
  },
  database_unavailable: {
    status: 503,
    meaning: "The database cannot be reached at the moment. Nothing was half done; try again.",
  },
  expiry_in_past: { status: 422, meaning: "An API key would end before it begins." },
  file_too_large: { status: 413, meaning: "One file is larger than what may be stored." },
  foreign_origin: {
    status: 403,
    meaning: "A page of another site used the session cookie's routes.",
  },
  headers_too_large: { status: 431, meaning: "The request's headers are too large." },
  idempotency_key_reused: {
    status: 422,
    meaning: "The Idempotency-Key was used before with another body.",
  },
  internal_error: { status: 500, meaning: "A fault of ours; the log has it under the request id." },
  invalid_json: {
    status: 400,
    meaning: "The body is not JSON, or has the keys __proto__ or constructor.",
  },
  limit_beyond_plan: {
    status: 422,
    meaning: "The workspace's plan allows less than that; overage can be opted in to.",
  },
  limit_not_supported: {
    status: 422,
    meaning: "This meter cannot be limited at this level or with this amount.",
  },
  limit_scope_not_found: {
    status: 422,
    meaning: "The agent or task that the limit is for does not exist.",
  },
  members_exhausted: {
    status: 402,
    meaning: "Every seat of the workspace's plan is taken; who is a member stays one.",
  },
  method_not_allowed: {
    status: 405,
    meaning: "The address exists, but not with this method; see the header Allow.",
  },
  not_found: { status: 404, meaning: "There is nothing at this address." },
  question_already_answered: {
    status: 409,
    meaning: "Somebody answered first; the first answer counts.",
  },
  question_not_found: { status: 404, meaning: "The workspace has no such question." },
  rate_limited: {
    status: 429,
    meaning:
      "More requests than one of the named limits allows; `violated-policies` names it, Retry-After says when to come back.",
  },
  scope_beyond_maker: {
    status: 403,
    meaning: "A new API key would have a scope that its maker does not have, or may not pass on.",
  },
  scope_missing: {
    status: 403,
    meaning: "The credential is valid and lacks the scope that the route needs.",
  },
  session_ended: {
    status: 401,
    meaning: "There is no session, or it ended, was signed out, or its cookie was used twice.",
  },
  sign_in_link_invalid: {
    status: 401,
    meaning: "The one-time link was used before or is older than 10 minutes.",
  },
  storage_quota_exceeded: {
    status: 413,
    meaning:
      "The files would take more than the workspace may store; the problem tells quota_bytes, used_bytes and needed_bytes. Nothing was kept.",
  },
  storage_unavailable: {
    status: 503,
    meaning: "The file store cannot be reached at the moment. Nothing was half kept; try again.",
  },
  storage_full: {
    status: 507,
    meaning: "The server's disk is full. Nothing of the request was kept.",
  },
  task_already_ended: { status: 409, meaning: "The task succeeded or failed before." },
  task_not_failed: { status: 409, meaning: "Only a failed task can be replayed." },
  task_not_found: { status: 404, meaning: "The workspace has no such task." },
  too_many_streams: {
    status: 429,
    meaning: "One user or API key follows 50 tasks at once by streams of events.",
  },
  unauthenticated: { status: 401, meaning: "No credential, or one that is not valid (any more)." },
  unsupported_media_type: { status: 415, meaning: "The route does not read this content type." },
  upload_empty: { status: 400, meaning: "The multipart body has no file." },
  upload_not_found: {
    status: 422,
    meaning: "The upload that the request names does not exist in the workspace.",
  },
  upload_path_invalid: {
    status: 400,
    meaning: "A file's path is absolute, leaves its folder, has odd characters, or comes twice.",
  },
  upload_too_large: {
    status: 413,
    meaning: "The files are larger together than an upload may be.",
  },
  upload_too_many_files: { status: 413, meaning: "The upload has more files than allowed." },
  validation_failed: {
    status: 400,
    meaning: "Fields of the request are missing, unknown or of the wrong form; each is listed.",
  },
  workspace_not_found: { status: 404, meaning: "The user does not belong to such a workspace." },
};
