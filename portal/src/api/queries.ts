// What pages ask, each under one key, so that what is known is shown at once and asked again behind it.
import { keepPreviousData, QueryClient, queryOptions, useQuery } from "@tanstack/react-query";
import { client, pages, ProblemError, take } from "./client";
import type { Host, Item, Machine } from "./types";

/** More machines than this are searched by the server, not in the page. */
export const MACHINES_MOST = 20_000;
/** More snapshots of a vault than this are not listed in the page. */
export const SNAPSHOTS_MOST = 10_000;
/** As the API allows. */
const PAGE = 1000;
const RETRIES = 2;
/** How often is asked for what somebody waits for. */
const WAITING_MS = 2_000;

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      // What the server refused it refuses again; what could not be reached may be there now.
      retry: (failures, error) =>
        failures < RETRIES && error instanceof ProblemError && error.problem.code === "unavailable",
    },
  },
});

export const me = queryOptions({ queryKey: ["me"], queryFn: () => take(client.GET("/v1/me")), staleTime: 60_000 });
export const version = queryOptions({
  queryKey: ["version"],
  queryFn: () => take(client.GET("/v1/version")),
  staleTime: Infinity,
});
export const overview = queryOptions({
  queryKey: ["overview"],
  queryFn: () => take(client.GET("/v1/overview")),
  refetchInterval: 15_000,
});
export const vaults = queryOptions({
  queryKey: ["vaults"],
  queryFn: async () =>
    (await pages((after) => take(client.GET("/v1/vaults", { params: { query: { after, limit: PAGE } } })), PAGE)).items,
});
/** Whether a host has not told of its machines yet. */
const isAwaited = (known?: Host[]) => known?.some((host) => !host.seen) ?? false;
export const hosts = queryOptions({
  queryKey: ["hosts"],
  // Whoever has just added one waits for it.
  refetchInterval: (query) => (isAwaited(query.state.data) ? WAITING_MS : false),
  queryFn: async () =>
    (await pages((after) => take(client.GET("/v1/hosts", { params: { query: { after, limit: PAGE } } })), 10 * PAGE)).items,
});
export const movers = queryOptions({
  queryKey: ["movers"],
  queryFn: async () => (await take(client.GET("/v1/movers"))).items,
});

export const machine = (id: string) =>
  queryOptions({
    queryKey: ["machine", id],
    queryFn: () => take(client.GET("/v1/machines/{machine}", { params: { path: { machine: id } } })),
  });

/** All machines, the first page shown before the last has come. */
export const machines = queryOptions({
  queryKey: ["machines"],
  staleTime: 30_000,
  // Whoever has just added a host waits for its machines.
  refetchInterval: (query) =>
    query.state.data?.items.length && !isAwaited(queries.getQueryData(["hosts"])) ? 60_000 : WAITING_MS,
  queryFn: () => {
    if (isAwaited(queries.getQueryData(["hosts"]))) void queries.prefetchQuery(hosts);
    const first = queries.getQueryData<{ items: Machine[]; more: boolean }>(["machines"]) === undefined;
    const told = (items: Machine[]) => first && queries.setQueryData(["machines"], { items, more: true });
    return pages(
      (after) => take(client.GET("/v1/machines", { params: { query: { after, limit: PAGE } } })),
      MACHINES_MOST,
      told,
    );
  },
});

export const items = (vault: string, state?: Item["state"]) =>
  queryOptions({
    queryKey: ["items", vault, state ?? "all"],
    queryFn: async () =>
      (
        await pages(
          (after) =>
            take(
              client.GET("/v1/vaults/{vault}/items", {
                params: { path: { vault }, query: { after, limit: PAGE, state } },
              }),
            ),
          MACHINES_MOST,
        )
      ).items,
  });

export const item = (vault: string, id: string) =>
  queryOptions({
    queryKey: ["item", vault, id],
    queryFn: () =>
      take(client.GET("/v1/vaults/{vault}/items/{item}", { params: { path: { vault, item: id } } })),
  });

export const points = (vault: string, id: string) =>
  queryOptions({
    queryKey: ["points", vault, id],
    queryFn: async () =>
      (
        await pages(
          (after) =>
            take(
              client.GET("/v1/vaults/{vault}/items/{item}/points", {
                params: { path: { vault, item: id }, query: { after, limit: PAGE } },
              }),
            ),
          10 * PAGE,
        )
      ).items,
  });

export const snapshots = (vault: string) =>
  queryOptions({
    queryKey: ["snapshots", vault],
    queryFn: () =>
      pages(
        (after) =>
          take(client.GET("/v1/vaults/{vault}/snapshots", { params: { path: { vault }, query: { after, limit: PAGE } } })),
        SNAPSHOTS_MOST,
      ),
  });

/** What a vault's second store has of an item. */
export const copiesOf = (vault: string, item: string) =>
  queryOptions({
    queryKey: ["copies", vault, item],
    queryFn: async () =>
      (
        await pages(
          (after) => take(client.GET("/v1/vaults/{vault}/copies", { params: { path: { vault }, query: { item, after, limit: PAGE } } })),
          10 * PAGE,
        )
      ).items,
  });

export const prices = queryOptions({
  queryKey: ["prices"],
  queryFn: async () => (await take(client.GET("/v1/prices"))).items[0] ?? null,
});

export interface CostWanted {
  month: string;
  by: "machine" | "vault" | "tier" | "tag";
  tag?: string;
  vault?: string;
}

export const cost = (wanted: CostWanted) =>
  queryOptions({
    queryKey: ["cost", wanted.month, wanted.by, wanted.tag ?? "", wanted.vault ?? ""],
    queryFn: () => take(client.GET("/v1/cost", { params: { query: { ...wanted, tag: wanted.tag || undefined, vault: wanted.vault || undefined } } })),
    // What was used is measured once a day.
    staleTime: 300_000,
  });

export const usage = (vault: string) =>
  queryOptions({
    queryKey: ["usage", vault],
    queryFn: async () => (await take(client.GET("/v1/vaults/{vault}/usage", { params: { path: { vault } } }))).items,
    staleTime: 60_000,
  });

export const vault = (id: string) =>
  queryOptions({
    queryKey: ["vaults", id],
    queryFn: () => take(client.GET("/v1/vaults/{vault}", { params: { path: { vault: id } } })),
  });

export const policies = (vault: string) =>
  queryOptions({
    queryKey: ["policies", vault],
    queryFn: async () =>
      (
        await pages(
          (after) =>
            take(client.GET("/v1/vaults/{vault}/policies", { params: { path: { vault }, query: { after, limit: PAGE } } })),
          PAGE,
        )
      ).items,
  });

/** As often as somebody who waits for it wishes to hear of it. */
const SET_EVERY_MS = 2_000;

export const restoreSet = (vault: string, id: string) =>
  queryOptions({
    queryKey: ["restore-sets", vault, id],
    queryFn: () => take(client.GET("/v1/vaults/{vault}/restore-sets/{set}", { params: { path: { vault, set: id } } })),
    refetchInterval: (query) => (query.state.data?.ended ? false : SET_EVERY_MS),
  });

/** The newest of a vault. */
export const restoreSets = (vault: string) =>
  queryOptions({
    queryKey: ["restore-sets", vault],
    queryFn: async () => (await take(client.GET("/v1/vaults/{vault}/restore-sets", { params: { path: { vault }, query: { limit: 100 } } }))).items,
    refetchInterval: 15_000,
  });

export const job = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: () => take(client.GET("/v1/jobs/{job}", { params: { path: { job: id } } })),
  });

/** What happened to a job; asked again whenever it has changed. */
export const jobLog = (id: string, changed: string) =>
  queryOptions({
    queryKey: ["job-log", id, changed],
    queryFn: async () => (await take(client.GET("/v1/jobs/{job}/log", { params: { path: { job: id } } }))).items,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });

export const alerts = (all: boolean) =>
  queryOptions({
    queryKey: ["alerts", all],
    queryFn: async () =>
      (
        await pages((after) => take(client.GET("/v1/alerts", { params: { query: { after, limit: PAGE, all } } })), PAGE)
      ).items,
    refetchInterval: 30_000,
  });

export const forecast = (hours: number) =>
  queryOptions({
    queryKey: ["forecast", hours],
    queryFn: () => take(client.GET("/v1/forecast", { params: { query: { hours } } })),
    staleTime: 60_000,
  });

export function useMe() {
  return useQuery(me).data;
}

/** After something was done: what is shown of machines and their points is asked again. */
export function refresh(...keys: string[]): void {
  for (const key of keys) void queries.invalidateQueries({ queryKey: [key] });
}
