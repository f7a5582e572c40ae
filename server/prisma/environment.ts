/**
 * Variables with which Prisma's command line stays off the network. It would fetch an engine for its own migrations,
 * which nothing here uses; the name of any existing file keeps it from looking. The checkpoint is its update check.
 */
export const prismaEnvironment: Readonly<Record<string, string>> = {
  PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
  CHECKPOINT_DISABLE: "1",
  PRISMA_HIDE_UPDATE_MESSAGE: "1",
};
