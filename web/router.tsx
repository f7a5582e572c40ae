import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import type { TaskState } from "@guildhall/sdk/contract/task.ts";
import { session } from "./api/api.ts";
import {
  agentsQuery,
  deadCause,
  limitsQuery,
  meQuery,
  planQuery,
  taskQuery,
  usageQuery,
} from "./api/queries.ts";
import { isSignedOut } from "./api/session.ts";
import { closeRealtime, openRealtime } from "./realtime/workspace.ts";
import { RouteProblem } from "./routes/route-problem.tsx";
import { NotFound } from "./routes/not-found.tsx";
import { SignIn } from "./routes/sign-in/sign-in.tsx";
import { Shell } from "./shell/shell.tsx";
import { allStates } from "./tasks/task-state.tsx";

type Context = { queries: QueryClient };

const root = createRootRouteWithContext<Context>()({
  component: Outlet,
  notFoundComponent: NotFound,
});

/** The page goes on where it was once the person has signed in again. */
async function open(workspaceId: string | undefined, href: string): Promise<string> {
  try {
    return await session.open(workspaceId);
  } catch (error) {
    if (!isSignedOut(error)) throw error;
    throw redirect({ to: "/sign-in", search: href === "/" ? {} : { next: href } });
  }
}

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: async ({ location }) => {
    const workspaceId = await open(undefined, location.href);
    throw redirect({ to: "/w/$workspaceId/office", params: { workspaceId }, replace: true });
  },
  errorComponent: RouteProblem,
});

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  validateSearch: (search): { next?: string; problem?: string } => ({
    // Only a path of this page: an address of elsewhere would make the sign-in a springboard.
    ...(typeof search["next"] === "string" && /^\/w\/[^/\\]/.test(search["next"])
      ? { next: search["next"] }
      : {}),
    ...(typeof search["problem"] === "string" ? { problem: search["problem"] } : {}),
  }),
  beforeLoad: closeRealtime,
  component: SignIn,
});

const workspace = createRoute({
  getParentRoute: () => root,
  path: "/w/$workspaceId",
  beforeLoad: async ({ params, location, context }) => {
    const before = session.workspaceId();
    await open(params.workspaceId, location.href);
    // Nothing of one workspace may stay on the page of another.
    if (before !== undefined && before !== params.workspaceId) context.queries.clear();
  },
  loader: ({ context: { queries }, params }) => {
    openRealtime(params.workspaceId, queries);
    return queries.ensureQueryData(meQuery);
  },
  component: Shell,
  errorComponent: RouteProblem,
});

const office = createRoute({
  getParentRoute: () => workspace,
  path: "/office",
  loader: ({ context: { queries } }) => queries.ensureQueryData(agentsQuery),
  component: lazyRouteComponent(() => import("./routes/w/office/office-page.tsx"), "OfficePage"),
  errorComponent: RouteProblem,
});

const states: readonly string[] = allStates;
const isTaskState = (value: unknown): value is TaskState =>
  typeof value === "string" && states.includes(value);

const tasks = createRoute({
  getParentRoute: () => workspace,
  path: "/tasks",
  validateSearch: (search): { state?: TaskState; cause?: string; agent?: string } => ({
    ...(isTaskState(search["state"]) ? { state: search["state"] } : {}),
    ...(search["cause"] === deadCause ? { cause: deadCause } : {}),
    ...(typeof search["agent"] === "string" && search["agent"] !== ""
      ? { agent: search["agent"].slice(0, 64) }
      : {}),
  }),
  loader: ({ context: { queries } }) => queries.ensureQueryData(agentsQuery),
  component: lazyRouteComponent(() => import("./routes/w/tasks/tasks-page.tsx"), "TasksPage"),
  errorComponent: RouteProblem,
});

const task = createRoute({
  getParentRoute: () => workspace,
  path: "/tasks/$taskId",
  loader: ({ context: { queries }, params }) =>
    Promise.all([
      queries.ensureQueryData(agentsQuery),
      queries.ensureQueryData(taskQuery(params.taskId)),
    ]),
  component: lazyRouteComponent(() => import("./routes/w/tasks/task/task-page.tsx"), "TaskPage"),
  errorComponent: RouteProblem,
});

const agents = createRoute({
  getParentRoute: () => workspace,
  path: "/agents",
  loader: ({ context: { queries } }) => queries.ensureQueryData(agentsQuery),
  component: lazyRouteComponent(() => import("./routes/w/agents/agents-page.tsx"), "AgentsPage"),
  errorComponent: RouteProblem,
});

const usage = createRoute({
  getParentRoute: () => workspace,
  path: "/usage",
  loader: ({ context: { queries } }) =>
    Promise.all([queries.ensureQueryData(agentsQuery), queries.ensureQueryData(usageQuery)]),
  component: lazyRouteComponent(() => import("./routes/w/usage/usage-page.tsx"), "UsagePage"),
  errorComponent: RouteProblem,
});

const limits = createRoute({
  getParentRoute: () => workspace,
  path: "/limits",
  loader: ({ context: { queries } }) =>
    Promise.all([
      queries.ensureQueryData(agentsQuery),
      queries.ensureQueryData(limitsQuery),
      queries.ensureQueryData(planQuery),
    ]),
  component: lazyRouteComponent(() => import("./routes/w/limits/limits-page.tsx"), "LimitsPage"),
  errorComponent: RouteProblem,
});

const keys = createRoute({
  getParentRoute: () => workspace,
  path: "/settings/keys",
  component: lazyRouteComponent(() => import("./routes/w/settings/keys/keys-page.tsx"), "KeysPage"),
  errorComponent: RouteProblem,
});

const routeTree = root.addChildren([
  home,
  signIn,
  workspace.addChildren([office, tasks, task, agents, usage, limits, keys]),
]);

export function createPageRouter(queries: QueryClient) {
  return createRouter({
    routeTree,
    context: { queries },
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    scrollRestoration: true,
    defaultNotFoundComponent: NotFound,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createPageRouter>;
  }
}
