// Who did what: a log in which nothing can be changed unseen.
import { Button, SearchBox } from "@fluentui/react-components";
import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { client, take } from "../api/client";
import type { AuditEntry } from "../api/types";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";
import { State } from "../parts/state";
import { Trouble } from "../parts/trouble";
import { Instant } from "../parts/when";
import { count, number } from "../words";

const PAGE = 500;

export default function Audit() {
  const [text, setText] = useState("");
  const list = useInfiniteQuery({
    queryKey: ["audit"],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => take(client.GET("/v1/audit", { params: { query: { after: pageParam, limit: PAGE } } })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const check = useMutation({ mutationFn: () => take(client.GET("/v1/audit/chain")) });
  const entries = list.data?.pages.flatMap((page) => page.items) ?? [];
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = entries.filter((entry) => words.every((word) => written(entry).includes(word))).reverse();
  return (
    <Page
      title="Audit"
      about="Each entry carries a hash over itself and the one before: one that is changed or taken out is found."
      actions={
        <Button onClick={() => check.mutate()} disabled={check.isPending}>
          {check.isPending ? "Reading all of it..." : "Check that it is whole"}
        </Button>
      }
    >
      {check.error && <Trouble error={check.error} />}
      {check.data && (
        <div className="section stack" role="status">
          <State of={check.data.whole ? [`Whole: ${count(check.data.entries, "entry", "entries")}`, "good"] : [`Changed behind entry ${number(check.data.entries)}`, "bad"]} />
          {check.data.head && (
            <p className="faint wrap">
              Keep this elsewhere, to see later whether the end was cut off: <code>{check.data.head}</code>
            </p>
          )}
        </div>
      )}
      <div className="filters">
        <SearchBox className="search" value={text} placeholder="Search what is loaded: who, what, on what" aria-label="Search the log" onChange={(_, data) => setText(data.value)} />
        <span className="faint" role="status">
          {count(shown.length, "entry", "entries")}
        </span>
        {list.hasNextPage && (
          <Button onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage}>
            {list.isFetchingNextPage ? "Loading..." : "Load newer ones"}
          </Button>
        )}
      </div>
      {list.error && <Trouble error={list.error} again={() => void list.refetch()} />}
      {list.data && shown.length === 0 ? (
        <Empty title="No entry fits">Other words may.</Empty>
      ) : (
        <div className="table-scroll">
          <table className="table">
            <thead>
              <tr>
                <th>When</th>
                <th>Who</th>
                <th>What</th>
                <th>On what</th>
                <th className="wide">More</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((entry) => (
                <tr key={entry.ordinal}>
                  <td className="nowrap">
                    <Instant at={entry.at} />
                  </td>
                  <td>{entry.actor}</td>
                  <td className="nowrap">{entry.action}</td>
                  <td className="wrap" title={entry.object}>
                    {named(entry)}
                  </td>
                  <td className="wide">
                    {detail(entry) && (
                      <details>
                        <summary>Entry {number(entry.ordinal)}</summary>
                        <pre className="wrap">{`${entry.object}\n${JSON.stringify(entry.detail, null, 2)}`}</pre>
                      </details>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Page>
  );
}

/** The name that it had, where the log tells one; whoever wants the id opens the entry. */
function named(entry: AuditEntry): string {
  const more = entry.detail as { name?: unknown } | null | undefined;
  return typeof more?.name === "string" ? more.name : entry.object;
}

function detail(entry: AuditEntry): string {
  const more: unknown = entry.detail;
  if (more === null || more === undefined || (typeof more === "object" && Object.keys(more).length === 0)) return "";
  return typeof more === "string" ? more : JSON.stringify(more);
}

const written = (entry: AuditEntry) => `${entry.actor} ${entry.action} ${entry.object} ${detail(entry)}`.toLowerCase();
