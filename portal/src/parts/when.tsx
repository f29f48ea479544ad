// Instants as people say them; the exact one for whoever points at it.
import { Tooltip } from "@fluentui/react-components";
import { useSyncExternalStore } from "react";
import { ago, exactly, instant } from "../words";

const TICK_MS = 20_000;
let now = Date.now();
const listeners = new Set<() => void>();
setInterval(() => {
  now = Date.now();
  for (const listener of listeners) listener();
}, TICK_MS);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The time, as often as anybody can tell a difference. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

export function When({ at, none = "-" }: { at: string | null | undefined; none?: string }) {
  const time = useNow();
  if (!at) return <span className="faint">{none}</span>;
  return (
    <Tooltip content={exactly(at)} relationship="description">
      <time dateTime={at}>{ago(at, Math.max(time, Date.now()))}</time>
    </Tooltip>
  );
}

export function Instant({ at }: { at: string }) {
  return (
    <time dateTime={at} title={exactly(at)}>
      {instant(at)}
    </time>
  );
}
