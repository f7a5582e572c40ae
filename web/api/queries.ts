import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import type { TaskState } from "@guildhall/sdk/contract/task.ts";
import { call } from "./api.ts";

/** What a list of tasks shows; part of the address, so that a view can be shared and reloaded. */
export type TaskFilter = {
  state?: TaskState | undefined;
  /** Only those that failed with this cause. */
  cause?: string | undefined;
  agent?: string | undefined;
};

/** The cause of dead tasks: every attempt that is allowed has failed. */
export const deadCause = "attempts_exhausted";

export const taskKeys = {
  all: ["tasks"] as const,
  lists: ["tasks", "list"] as const,
  office: ["tasks", "office"] as const,
  detail: (id: string) => ["tasks", "detail", id] as const,
};
export const usageKey = ["usage"] as const;
export const alertsKey = ["alerts"] as const;
export const meKey = ["me"] as const;
export const limitsKey = ["limits"] as const;

export const meQuery = queryOptions({
  queryKey: meKey,
  queryFn: () => call((client) => client.me()),
  staleTime: 60_000,
});

export const agentsQuery = queryOptions({
  queryKey: ["agents"],
  queryFn: async () => (await call((client) => client.agents.list())).data,
  staleTime: 60_000,
});

export const usageQuery = queryOptions({
  queryKey: usageKey,
  queryFn: () => call((client) => client.usage()),
});

/** The newest alerts and how many are unread: for the bell and for what is told at once. */
export const alertsQuery = queryOptions({
  queryKey: [...alertsKey, "newest"],
  queryFn: () => call((client) => client.alerts.list({ limit: 20 })),
});

export const alertPagesQuery = infiniteQueryOptions({
  queryKey: [...alertsKey, "pages"],
  queryFn: ({ pageParam }) =>
    call((client) =>
      client.alerts.list({ limit: 50, ...(pageParam === null ? {} : { before: pageParam }) }),
    ),
  initialPageParam: null as number | null,
  getNextPageParam: (page) => page.next_before,
});

export const limitsQuery = queryOptions({
  queryKey: limitsKey,
  queryFn: () => call((client) => client.limits.list()),
});

/** The plan and what the workspace's own limits follow from; begins with the key of the limits, which change with it. */
export const planQuery = queryOptions({
  queryKey: [...limitsKey, "plan"],
  queryFn: () => call((client) => client.plan()),
});

export const apiKeysQuery = queryOptions({
  queryKey: ["api-keys"],
  queryFn: async () => (await call((client) => client.apiKeys.list())).data,
});

export const taskQuery = (id: string) =>
  queryOptions({
    queryKey: taskKeys.detail(id),
    queryFn: () => call((client) => client.tasks.get(id)),
  });

const pageSize = 100;

export const taskListQuery = (filter: TaskFilter) =>
  infiniteQueryOptions({
    queryKey: [...taskKeys.lists, filter],
    queryFn: ({ pageParam }) =>
      call((client) =>
        client.tasks.list({
          limit: pageSize,
          ...(filter.state === undefined ? {} : { state: filter.state }),
          ...(filter.cause === undefined ? {} : { cause: filter.cause }),
          ...(filter.agent === undefined ? {} : { agent: filter.agent }),
          ...(pageParam === null ? {} : { cursor: pageParam }),
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });

/** The newest tasks of the whole workspace: what the office is drawn from. */
export const officeTasksQuery = queryOptions({
  queryKey: taskKeys.office,
  queryFn: async () => (await call((client) => client.tasks.list({ limit: 200 }))).data,
});
