// Files by name, shown as they are found.
import { Spinner } from "@fluentui/react-components";
import { useEffect, useState } from "react";
import { stream } from "../../api/client";
import type { FilesEntry, FilesSession } from "../../api/types";
import { Empty } from "../../parts/empty";
import { Trouble } from "../../parts/trouble";
import { count } from "../../words";
import { Entries } from "../files";
import type { useDownloads } from "./download";

/** Somebody who sees more refines the search. */
const MOST = 500;

interface Props {
  session: FilesSession;
  place: string;
  name: string;
  go: (to: string) => void;
  downloads: ReturnType<typeof useDownloads>;
}

export function Found({ session, place, name, go, downloads }: Props) {
  const [entries, setEntries] = useState<FilesEntry[]>([]);
  const [state, setState] = useState<"goes" | "over">("goes");
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      for await (const entry of matches(session, place, name, stop.signal)) setEntries((list) => [...list, entry]);
    };
    read()
      .catch((cause: unknown) => !stop.signal.aborted && setError(cause))
      .finally(() => !stop.signal.aborted && setState("over"));
    return () => {
      stop.abort();
      setEntries([]);
    };
  }, [session, place, name]);
  return (
    <>
      {error != null && <Trouble error={error} />}
      <p className="faint" role="status">
        {state === "goes" ? <Spinner size="tiny" label={`Searching: ${count(entries.length, "file")} so far`} /> : `${count(entries.length, "file")} found${entries.length >= MOST ? ", and there may be more: search below a folder" : ""}`}
      </p>
      {entries.length > 0 && <Entries entries={entries} inside={(found) => found} go={go} downloads={downloads} />}
      {state === "over" && entries.length === 0 && error == null && (
        <Empty title="No file of this name">
          The whole name is compared: <code>*</code> stands for anything, as in <code>*.conf</code> or <code>*report*</code>.
        </Empty>
      )}
    </>
  );
}

async function* matches(session: FilesSession, place: string, name: string, signal: AbortSignal): AsyncGenerator<FilesEntry> {
  const asked = new URLSearchParams({ name: /[*?[]/.test(name) ? name : `*${name}*`, ignore_case: "true", limit: String(MOST) });
  if (place) asked.set("place", place);
  const response = await stream(`/v1/vaults/${session.vault}/files/${session.id}/matches?${asked}`, signal);
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) if (line.trim()) yield JSON.parse(line) as FilesEntry;
    if (done) return;
  }
}
